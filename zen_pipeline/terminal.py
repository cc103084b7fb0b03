"""The border to the terminal: everything that `zen` prints or logs passes here.

Texts of records, names of files and what a model says may hold anything. Escape sequences could rewrite the screen or
the clipboard, direction marks could reorder what is read, rich's markup (`[/]`, `[bold]`) could vanish or fail. So
what a terminal would obey is shown as an escape such as `\\x1b`, and no text is taken for markup.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zen_pipeline.masking import masked, rewrite_record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn

# C0 without tab and line feed, DEL, C1; the bidirectional controls of Unicode (UAX 9); line and paragraph separators;
# byte order marks; interlinear and tag characters, which can hide text; halves of surrogate pairs, which no encoding
# can print. Joiners stay: emoji, Persian and Indic scripts need them.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0001-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with what a terminal would obey as escapes: `\\x1b`, `\\u202e`; tabs and line feeds stay."""
    return _OBEYED.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(text: str = "", *, end: str = "\n") -> None:
    """Text on stdout; at once, so that a growing text is seen growing."""
    print(visible(text), end=end, flush=True)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(visible(masked(text)), file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON object on stdout; it reads back as it was."""
    text = json.dumps(value, ensure_ascii=False, indent=1, default=str, allow_nan=False)
    print(_OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text))


def print_yaml(value: Any) -> None:
    """A value as YAML on stdout; it reads back as it was."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes every text in which something must be escaped."""

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if _OBEYED.search(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, quoted)
    print(visible(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True)), end="")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()
) -> None:
    """A table on stdout; the columns numbered in `right` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    numeric = set(right)
    table = Table(title=Text(visible(title)), title_justify="left", header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(Text(visible(name)), justify="right" if index in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else visible(str(cell))) for cell in row))
    shown = console()
    if not shown.is_terminal:
        shown.width = 160
    shown.print(table)


def console(*, stderr: bool = False) -> Console:
    """A console of rich that takes no text for markup or emoji."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def plain_column(format: str) -> TextColumn:
    """A column of a progress bar that shows texts as they are; give it `visible` ones."""
    from rich.progress import TextColumn

    return TextColumn(format, markup=False)


class VisibleLines(logging.Filter):
    """Makes log records fit for a terminal; further lines are indented, so that none passes for another record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; True."""
        rewrite_record(record, visible)
        record.msg = re.sub("\n(?!  )", "\n  ", record.msg)
        return True
