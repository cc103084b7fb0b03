"""A formula in MathML as one line of text: its TeX where the page has that too, else `E=mc^2`."""

from __future__ import annotations

import re
from typing import Any

_DEEPEST = 100
_INVISIBLE = re.compile("[\u2061-\u2064\\s]+")  # function application, invisible times, separator and plus
_DISPLAY_STYLE = re.compile(r"\{\\displaystyle\s+(.*)\}", re.DOTALL)  # how Wikipedia wraps every formula
_UNSEEN = ("annotation", "annotation-xml", "mphantom", "mspace", "maligngroup", "malignmark")


def formula(math: Any) -> str:
    """The text of a `math` element: `$TeX$` where an annotation or `alttext` has it, else its symbols in order."""
    for node in math.css("annotation"):
        if "tex" in (node.attributes.get("encoding") or "").lower():
            return in_dollars(node.text())
    if tex := math.attributes.get("alttext"):
        return in_dollars(tex)
    return _symbols(math, 0)


def in_dollars(tex: str) -> str:
    """TeX as Markdown writes it."""
    wrapped = _DISPLAY_STYLE.fullmatch(tex.strip())
    inner = " ".join((wrapped[1] if wrapped else tex).split())
    return f"${inner}$" if inner else ""


def _symbols(node: Any, depth: int) -> str:
    tag = node.tag
    if tag == "-text":
        return _INVISIBLE.sub("", node.text_content or "") if depth else ""
    if tag in _UNSEEN or tag.startswith(("-", "_", "!")):
        return ""
    if tag == "mtext":
        return " ".join(node.text().split())
    if depth > _DEEPEST:
        return _INVISIBLE.sub("", node.text())
    parts = [_symbols(child, depth + 1) for child in node.iter(include_text=True)]
    if tag in ("mtable", "mtr", "mlabeledtr"):
        return ("; " if tag == "mtable" else ", ").join(part for part in parts if part)
    parts = [part for part in parts if part] if tag not in ("msub", "msup", "msubsup", "mfrac", "mroot") else parts
    return _joined(tag, [part for part in parts if part])


def _joined(tag: str, parts: list[str]) -> str:
    match tag, parts:
        case (("msup" | "mover"), [base, above]):
            return f"{base}^{_grouped(above)}"
        case (("msub" | "munder"), [base, below]):
            return f"{base}_{_grouped(below)}"
        case (("msubsup" | "munderover"), [base, below, above]):
            return f"{base}_{_grouped(below)}^{_grouped(above)}"
        case "mfrac", [above, below]:
            return f"{_grouped(above)}/{_grouped(below)}"
        case "mroot", [base, index]:
            return f"root{_grouped(index)}({base})"
        case "msqrt", _:
            return f"√({''.join(parts)})"
        case "mfenced", _:
            return f"({', '.join(parts)})"
        case _:
            return "".join(parts)


def _grouped(text: str) -> str:
    """In parentheses where it is more than one number or name."""
    return text if re.fullmatch(r"[+\-−]?[\w.]+|\W", text) else f"({text})"
