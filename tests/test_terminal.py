"""What is not ours reaches a terminal as text only: no escape sequence, no control, no direction mark, no markup."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.zen_command import Zen
from zen_pipeline import terminal

ROOT = Path(__file__).resolve().parents[1]
# Colours, a window title (OSC), a C1 sequence, reversed text, a separator, a mark, half a pair, and markup of rich.
HOSTILE = "a\x1b[31mred\x1b]0;owned\x07 \x9b2J \u202egnp.exe\u2066 \u2028 \ufeff\u200f \udc80 "
HOSTILE += "[/] [bold red]b[/bold red] :smile:"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m\r\x00\x7f", r"\x1b[31m\x0d\x00\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\u202e\u2066\u200f\u061c", r"\u202e\u2066\u200f\u061c"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
        ("tab\tand\nlines", "tab\tand\nlines"),
        ("é 中文 עברית می\u200cخواهم 👩\u200d🔬 [bold]", "é 中文 עברית می\u200cخواهم 👩\u200d🔬 [bold]"),
    ],
)
def test_what_a_terminal_obeys_is_shown_as_an_escape_and_letters_stay(text: str, shown: str) -> None:
    assert terminal.visible(text) == shown


def test_a_table_shows_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(HOSTILE, ["[/]"], [(HOSTILE,), (None,)])
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert out.count("[bold red]b[/bold red] :smile:") == 2
    assert r"\x1b[31mred" in out


@pytest.mark.parametrize(
    ("printed", "read"),
    [(terminal.print_json, json.loads), (terminal.print_yaml, yaml.safe_load)],
    ids=["json", "yaml"],
)
def test_values_read_back_as_they_were(printed: Any, read: Any, capsys: pytest.CaptureFixture[str]) -> None:
    value = {HOSTILE.replace("\udc80", ""): [HOSTILE.replace("\udc80", ""), "é 中文", "[/]"]}
    printed(value)
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert read(out) == value


def test_a_log_line_is_one_record(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(terminal.VisibleLines())
    log = logging.getLogger("tests.terminal")
    log.addHandler(handler)
    try:
        log.warning("read %s", HOSTILE + "\n12:00:00 ERROR forged")
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("failed")
    finally:
        log.removeHandler(handler)
    lines = capsys.readouterr().err
    assert not OBEYED.search(lines)
    assert "\n12:00:00" not in lines


def test_commands_show_hostile_records_names_and_mistakes_as_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"na\x1b[31mme\xff.jsonl")
    record = {"text": HOSTILE.replace("\udc80", "") + " The boats went out before the light came over the hills."}
    (tmp_path / name).write_text(json.dumps(record) + "\n{broken\x1b[2J\n")
    zen = Zen(tmp_path)
    shown = [
        zen("data", "show", name),
        zen("data", "show", name, "--json"),
        zen("data", "show", "\x1b[31mabsent\u202e"),
        zen("--\x1b[31moption\u202e"),
    ]
    assert [done.returncode for done in shown] == [0, 0, 2, 2]
    for done in shown:
        assert not OBEYED.search(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
        assert r"\x1b[31m" in done.stdout + done.stderr or r"\u001b[31m" in done.stdout
    assert json.loads(shown[1].stdout)["records"][0]["text"].startswith("a\x1b[31mred")


def test_every_command_prints_through_the_terminal_module() -> None:
    """A `print`, or a console of its own, would let through what the module holds back."""
    found = []
    for path in [*(ROOT / "zen_pipeline" / "cli").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.func if isinstance(node, ast.Call) else None
            called = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
            written = isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("sys.stdout.", "sys.stderr."))
            if called in ("print", "echo", "secho", "Console") or (called == "write" and written):
                found.append(f"{path.name}:{node.lineno}")
    assert not found
