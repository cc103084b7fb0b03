"""Program text within a text: what is a number or an operator there is no card, telephone or e-mail address."""

from __future__ import annotations

import re

# Beginnings and ends that a line of a program has and a sentence has not.
_CODE = re.compile(
    r"\s{0,60}(?:>>> |\.\.\. |\$ |# |// )?(?:"
    r"[\w.\[\]\"'()*&]{1,80}(?:, ?[\w.\[\]*]{1,80}){0,8}(?:: ?[\w.\[\], |]{1,80})? ?(?:[-+*/@%|&^]|//|<<|>>|:)?=(?!=)"
    r"|(?:return|def|class|import|from|assert|print|let|const|var|static|public|private|int|float|double|auto|elif|"
    r"for|while|if|yield|await|raise|case|func|fn)\b.{0,200}[(){}\[\]:;]\s{0,9}$"
    r"|.{0,200}[;{]\s{0,9}$)"
)
_LONGEST = 240  # characters of a line that are looked at, before and behind


def is_bare_code(text: str, start: int, end: int) -> bool:
    """The place is in a line of code, and not inside a string or a comment of it."""
    first = text.rfind("\n", max(start - _LONGEST, 0), start) + 1 or max(start - _LONGEST, 0)
    last = text.find("\n", end, end + _LONGEST)
    line = text[first : last if last >= 0 else end + _LONGEST]
    if not _CODE.match(line):
        return False
    before = line[: start - first]
    return not any(before.count(mark) % 2 for mark in "\"'`") and "#" not in before and "//" not in before
