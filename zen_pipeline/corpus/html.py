"""HTML to text: what a reader sees, with headings as Markdown and one blank line between blocks."""

from __future__ import annotations

import re
from typing import Any

DEEPEST = 512  # open elements; browsers stop there too, and the parser's time grows with depth times length

_HIDDEN = "script style noscript template iframe object svg math head nav form button select textarea"
_BLOCKS = frozenset(
    """
    address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer
    h1 h2 h3 h4 h5 h6 header hr li main ol p pre section summary table tbody tfoot thead tr ul
    """.split()  # noqa: SIM905 - reads better than thirty quoted names
)
# Elements that never hold others, or that are closed by the next of their kind.
_NOT_DEEP = frozenset(
    """
    area base br col embed hr img input link meta param source track wbr p li dt dd tr td th option thead tbody
    """.split()  # noqa: SIM905
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def html_title(page: str) -> str:
    """The page's title, or the empty string."""
    from selectolax.lexbor import LexborHTMLParser

    title = LexborHTMLParser(page).css_first("title")
    return "" if title is None else _SPACES.sub(" ", title.text()).strip()


def html_to_text(page: str) -> str:
    """The visible text of a page.

    Scripts, styles, forms and navigation are left out. Headings become Markdown headings, list items begin with `- `,
    cells of a row are separated by tabs, and preformatted text keeps its lines between code fences.

    Raises:
        ValueError: elements are nested more than `DEEPEST` deep.
    """
    from selectolax.lexbor import LexborHTMLParser

    if _depth(page) > DEEPEST:
        raise ValueError(f"elements are nested more than {DEEPEST} deep")
    tree = LexborHTMLParser(page)
    tree.strip_tags(_HIDDEN.split())
    parts: list[str] = []
    if tree.body is not None:
        _write(tree.body, parts)
    lines = (line.rstrip() for line in "".join(parts).split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def _depth(page: str) -> int:
    """The deepest nesting that the tags can mean, without parsing."""
    deepest = depth = 0
    for match in _TAG.finditer(page):
        if match[2].lower() not in _NOT_DEEP:
            depth = max(depth + (-1 if match[1] else 1), 0)
            deepest = max(deepest, depth)
    return deepest


def _write(body: Any, parts: list[str]) -> None:
    """The text of the tree in order; a stack instead of recursion, as tables nest four elements at a time."""
    stack: list[Any] = [body.child]
    while stack:
        node = stack.pop()
        if node is None or isinstance(node, str):
            parts.append(node or "")
            continue
        stack.append(node.next)
        tag = node.tag
        if tag == "-text":
            _write_words(node.text_content or "", parts)
        elif tag == "br":
            parts.append("\n")
        elif tag == "pre":
            text = node.text().strip("\n")
            parts.append(f"\n\n```\n{text}\n```\n\n" if text.strip() else "")
        elif not tag.startswith(("-", "_")):  # comments and the document type
            before, after = _around(tag)
            parts.append(before)
            stack += [after, node.child]


def _around(tag: str) -> tuple[str, str]:
    """What stands before and after the text of an element."""
    if tag == "li":
        return "\n- ", ""
    if tag in ("tr", "dd"):
        return "\n", ""
    if tag in ("td", "th"):
        return "", "\t"
    if tag not in _BLOCKS:
        return "", ""
    heading = len(tag) == 2 and tag[1].isdigit()
    return "\n\n" + ("#" * int(tag[1]) + " " if heading else ""), "\n\n"


def _write_words(text: str, parts: list[str]) -> None:
    words = _SPACES.sub(" ", text)
    if words.startswith(" ") and _at_start(parts):
        words = words[1:]
    if words:
        parts.append(words)


def _at_start(parts: list[str]) -> bool:
    last = next((part for part in reversed(parts) if part), "\n")
    return last.endswith(("\n", " ", "\t"))
