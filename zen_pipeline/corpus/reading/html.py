"""HTML to text: what a reader sees, with headings as Markdown and one blank line between blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from zen_pipeline.corpus.reading.mathml import formula, in_dollars

DEEPEST = 512  # open elements; browsers stop there too, and the parser's time grows with depth times length


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No text, or text that stands for what cannot be shown. Controls are left out, the form around them is not.
_NEVER_SEEN = _names(
    "script style template head iframe object embed svg audio video canvas select datalist textarea progress meter rp"
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = _names(
    """
    address article aside blockquote body caption center details dialog dir div dl dt fieldset figcaption figure footer
    form header hgroup hr legend main menu nav ol p search section summary table ul
    """
)
_PREFORMATTED = ("pre", "listing", "xmp", "plaintext")
# Elements that never hold others, or that are closed by the next of their kind.
_NOT_DEEP = _names(
    """
    area base br col embed hr img input link meta param source track wbr p li dt dd tr td th option thead tbody
    """
)
_INDENTED = 8  # lists in lists that are indented further
_CELL = 200  # characters: a longer cell is a column of a page, not a figure in a table
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_OWN_LINES = re.compile(r"\n\n|\n(?:- |\d+\. |#|```)")
_IMAGE_OF_TEXT = re.compile(r"\b(?:latex|tex|math|emoji)\b", re.IGNORECASE)
# Markup that closes itself, as XML may; HTML takes such a `<script/>` for one that is open to the page's end.
_XML = re.compile(r"\s*<(?:\?xml\b|!doctype\s[^>]*\bxhtml\b)", re.IGNORECASE)
_SELF_CLOSED = re.compile(
    r"<(script|style|title|textarea|iframe|object|a|div|span|p|t[dhr]|li|d[ltd]|h[1-6]|i|b|em|strong|[uo]l|table"
    r"|video|audio|canvas|noscript|select|option|button|template)(\s[^<>]*)?/>",
    re.IGNORECASE,
)
# Letters that are raised without being an exponent: 1st, 2nd, 3rd, 4th, 1er, Mme, ™.
_RAISED_WORDS = _names("st nd rd th er re ère ers ème eme ième de nde le lle mes me os as tm sm ® ™ © * † ‡")


class Page(NamedTuple):
    """The text of a page, and how many elements with content of their own it does not hold, by name."""

    text: str
    left_out: Counter[str]


def html_to_text(page: str) -> str:
    """The visible text of a page; see `read_page`."""
    return read_page(page).text


def read_page(page: str) -> Page:
    """The visible text of a page.

    Headings become Markdown headings, list items begin with `- ` or their number, cells of a row are separated by
    tabs, preformatted text keeps its lines between code fences, raised and lowered signs follow `^` and `_`, formulas
    are TeX between dollars where the page has it. Scripts, styles, menus, controls of forms and what stands for media
    are left out; what is for readers without scripts is read where a page has nothing else.

    Raises:
        ValueError: elements are nested more than `DEEPEST` deep.
    """
    from selectolax.lexbor import LexborHTMLParser

    if _depth(page) > DEEPEST:
        raise ValueError(f"elements are nested more than {DEEPEST} deep")
    if _XML.match(page):
        page = _SELF_CLOSED.sub(r"<\1\2></\1>", page)
    body = LexborHTMLParser(page).body
    if body is None:
        return Page("", Counter())
    found = _Writer(without_scripts=False).write(body)
    return found if found.text else _Writer(without_scripts=True).write(body)


def _depth(page: str) -> int:
    """The deepest nesting that the tags can mean, without parsing."""
    deepest = depth = 0
    for match in _TAG.finditer(page):
        if match[2].lower() not in _NOT_DEEP:
            depth = max(depth + (-1 if match[1] else 1), 0)
            deepest = max(deepest, depth)
    return deepest


class _Ends(NamedTuple):
    """What is done with the text of an element when it ends."""

    start: int
    change: Callable[[str], str]


class _Writer:
    """Writes the text of a tree in order; a stack instead of recursion, as tables nest four elements at a time."""

    def __init__(self, *, without_scripts: bool) -> None:
        self._without_scripts = without_scripts
        self._parts: list[str] = []
        self._left_out: Counter[str] = Counter()
        self._stack: list[Any] = []
        self._preformatted = 0
        self._lists = 0
        self._numbers: dict[int, int] = {}  # of the last item of each list

    def write(self, body: Any) -> Page:
        self._stack.append(body.child)
        while self._stack:
            node = self._stack.pop()
            if isinstance(node, _Ends):
                content = "".join(self._parts[node.start :])
                del self._parts[node.start :]
                self._append(node.change(content))
            elif isinstance(node, str):
                self._append(node)
            elif node is not None:
                self._stack.append(node.next)
                self._node(node, node.tag)
        lines = (line.rstrip() for line in "".join(self._parts).split("\n"))
        return Page(_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n"), self._left_out)

    def _append(self, text: str) -> None:
        if text:
            self._parts.append(text)

    def _node(self, node: Any, tag: str) -> None:
        if tag == "-text":
            self._text(node.text_content or "")
        elif tag == "br":
            self._append("\n")
        elif tag == "img":
            self._image(node.attributes)
        elif tag == "math":
            self._append(formula(node))
        elif tag == "script" and (node.attributes.get("type") or "").startswith("math/tex"):
            self._append(in_dollars(node.text()))
        elif tag.startswith(("-", "_", "!")):  # comments and the document type
            return
        elif self._is_left_out(node, tag):
            if tag not in ("rp", "head", "script", "style") and node.child is not None:
                self._left_out[tag] += 1
        else:
            self._element(node, tag)

    def _is_left_out(self, node: Any, tag: str) -> bool:
        if tag == "noscript":
            return not self._without_scripts
        if tag == "nav":
            return _is_menu(node)
        if tag == "button":
            return not _heads_something(node)
        # The drawing that goes with a formula's MathML.
        return tag in _NEVER_SEEN or (tag == "span" and "katex-html" in (node.attributes.get("class") or ""))

    def _element(self, node: Any, tag: str) -> None:
        """Put the content of an element on the stack, with what happens at its end."""
        change: Callable[[str], str] | None = None
        if tag in _HEADINGS:
            change = _heading(int(tag[1]))
        elif tag in _PREFORMATTED:
            self._preformatted += 1
            change = self._end_of_preformatted
        elif tag == "li":
            self._lists += 1
            change = self._item(node)
        elif tag in ("td", "th"):
            change = _cell
        elif tag in ("sup", "sub"):
            change = _raised("^" if tag == "sup" else "_", refers=node.css_first("a") is not None)
        elif tag in _CHANGES:
            change = _CHANGES[tag]
        if change is not None:
            self._stack += [_Ends(len(self._parts), change), node.child]
            return
        before, after = _around_block(tag, in_a_list=self._lists > 0)
        self._append(before)
        self._stack += [after, node.child]

    def _text(self, text: str) -> None:
        if self._preformatted:
            self._append(text)
            return
        words = _SPACES.sub(" ", text)
        if words.startswith(" ") and self._at_start():
            words = words[1:]
        self._append(words)

    def _at_start(self) -> bool:
        return not self._parts or self._parts[-1].endswith(("\n", " ", "\t"))

    def _image(self, attributes: dict[str, str | None]) -> None:
        """An image of text, such as a formula or a smiley, is read; one next to the formula that it shows is not."""
        name = attributes.get("class") or ""
        if _IMAGE_OF_TEXT.search(name) and "fallback" not in name:
            self._append(attributes.get("alt") or "")

    def _end_of_preformatted(self, text: str) -> str:
        self._preformatted -= 1
        text = text.strip("\n")
        if self._preformatted or not text.strip():
            return text
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        return f"\n\n{fence}\n{text}\n{fence}\n\n"

    def _item(self, node: Any) -> Callable[[str], str]:
        marker = self._number(node) if node.parent is not None and node.parent.tag == "ol" else "- "

        def change(text: str) -> str:
            self._lists -= 1
            content = text.strip("\n ")
            if not content:
                return ""
            indent = " " * len(marker) if self._lists < _INDENTED else ""
            return f"\n{marker}" + content.replace("\n", f"\n{indent}")

        return change

    def _number(self, item: Any) -> str:
        whole, own = item.parent, item.attributes.get("value")
        if whole.mem_id not in self._numbers:
            self._numbers[whole.mem_id] = _integer(whole.attributes.get("start"), 1) - 1
        self._numbers[whole.mem_id] = _integer(own, self._numbers[whole.mem_id] + 1)
        return f"{self._numbers[whole.mem_id]}. "


def _around_block(tag: str, *, in_a_list: bool) -> tuple[str, str]:
    """What stands before and after the content of an element that nothing else is done to."""
    if tag in ("tr", "dd"):
        return "\n", ""
    if tag == "dt":
        return "\n\n", ""
    if tag in ("ul", "ol", "menu", "dir") and in_a_list:
        return "", "\n"
    return ("\n\n", "\n\n") if tag in _BLOCKS else ("", "")


def _integer(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text) else otherwise


def _is_menu(nav: Any) -> bool:
    """True if it holds no more than links and single words: no paragraph has words of its own."""
    for paragraph in nav.css("p, pre, table, blockquote, dd"):
        linked = sum(len(link.text().split()) for link in paragraph.css("a"))
        if len(paragraph.text().split()) > 2 * linked:
            return False
    return True


def _heads_something(button: Any) -> bool:
    """True if a button is the heading of what it opens."""
    if button.css_first("h1, h2, h3, h4, h5, h6, p") is not None:
        return True
    if not {"aria-expanded", "aria-controls"}.isdisjoint(button.attributes):
        return True
    parent, steps = button.parent, 0
    while parent is not None and steps < 4:
        if parent.tag in (*_HEADINGS, "dt", "summary", "legend"):
            return len(parent.text().strip()) == len(button.text().strip())
        parent, steps = parent.parent, steps + 1
    return False


def _heading(level: int) -> Callable[[str], str]:
    def change(text: str) -> str:
        line = " ".join(text.split())
        return f"\n\n{'#' * level} {line}\n\n" if line else "\n\n"

    return change


def _cell(text: str) -> str:
    """A figure of a table in one line; a cell that holds paragraphs or lists lays out a page, and stays as it is."""
    content = text.strip("\n ")
    if "\n" in content and (len(content) > _CELL or _OWN_LINES.search(content)):
        return f"\n\n{content}\n\n"
    return content.replace("\n", " ") + "\t"


def _raised(mark: str, *, refers: bool) -> Callable[[str], str]:
    """What is raised or lowered must not become a part of the number or word before it."""

    def change(text: str) -> str:
        content = text.strip()
        if not content or "\n" in content or (content.startswith("[") and content.endswith("]")):
            return content
        if refers:
            return f"[{content}]"
        if content.lower() in _RAISED_WORDS or not any(map(str.isalnum, content)):
            return content if mark == "^" and content not in ("+", "-", "−", "±") else mark + content
        return mark + (content if re.fullmatch(r"[+\-−±]?[\w.,′]+[+\-−]?|\(.*\)", content) else f"({content})")

    return change


def _around(before: str, after: str) -> Callable[[str], str]:
    return lambda text: f"{before}{text.strip()}{after}" if text.strip() and "\n" not in text else text


_CHANGES = {
    "q": _around("“", "”"),
    "del": _around("~~", "~~"),
    "s": _around("~~", "~~"),
    "strike": _around("~~", "~~"),
    "rt": _around("(", ")"),
}
