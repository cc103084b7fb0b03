"""Characters: encodings read wrongly, line ends, control and invisible characters, and Unicode's composed form (NFC).

Each step takes a text and returns it with the number of places that it changed; a text that needs nothing comes back
as the same object. `repair` runs them until nothing changes, since one can uncover work for another.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache

Step = Callable[[str], tuple[str, int]]

_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
# Escape sequences of terminals (ECMA-48), then what is left of C0 and C1, and code points that are no characters.
# A form feed stays: it divides pages.
_CONTROL = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]"
)
# Soft hyphen, byte order mark, word joiner, Mongolian vowel separator; zero-width spaces, except in scripts where
# they divide words (Thai, Lao, Myanmar, Khmer); tag characters, except in flags. Joiners and direction marks stay:
# emoji, Persian, Indic scripts, Arabic and Hebrew need them.
_INVISIBLE = re.compile(
    "[\u00ad\ufeff\u2060\u180e]"
    "|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"
)
_MAYBE_INVISIBLE = re.compile("[\u00ad\u180e\u200b\u2060\ufeff\U000e0000-\U000e007f]")  # three times as fast
_ENCODINGS = ("latin-1", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso-8859-2", "mac-roman", "cp437")


def repair(text: str, steps: dict[str, Step], changes: Counter[str]) -> str:
    """Run the steps in order until none of them changes anything; counts go to `changes`."""
    while True:
        before = text
        for name, step in steps.items():
            text, count = step(text)
            if count:
                changes[name] += count
        if text is before or text == before:
            return text


def fix_encoding(text: str) -> tuple[str, int]:
    """Lines of UTF-8 that were decoded as something else (`Ã©` for `é`) made right by ftfy, and surrogates paired.

    Lone surrogates become U+FFFD: no file can hold them. ftfy is asked only about lines with a pair of characters that
    such an accident makes; it leaves alone what it does not find improbable.
    """
    if text.isascii():
        return text, 0
    count = 0
    if found := len(_SURROGATES.findall(text)):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        count += found
    if not _accidents().search(text):
        return text, count
    import ftfy

    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.isascii() and _accidents().search(line):
            lines[number] = ftfy.fix_encoding(line)
            count += lines[number] != line
    return "\n".join(lines), count


@cache
def _accidents() -> re.Pattern[str]:
    """A first byte of UTF-8 and then a later one, as single-byte encodings show them."""
    first, later = set[str](), set[str]()
    for encoding in _ENCODINGS:
        first.update(bytes(range(0xC2, 0xF5)).decode(encoding, "ignore"))
        later.update(bytes(range(0x80, 0xC0)).decode(encoding, "ignore"))
    return re.compile(f"[{re.escape(''.join(sorted(first)))}][{re.escape(''.join(sorted(later)))}]")


def fix_line_ends(text: str) -> tuple[str, int]:
    """Every line end becomes `\\n`."""
    if text.isascii() and "\r" not in text:
        return text, 0
    return _LINE_ENDS.subn("\n", text)


def remove_control(text: str) -> tuple[str, int]:
    """Control characters, terminal escapes and noncharacters go; tab, line feed and form feed stay."""
    return _CONTROL.subn("", text)


def remove_invisible(text: str) -> tuple[str, int]:
    """Characters that show nothing and mean nothing go."""
    if text.isascii() or not _MAYBE_INVISIBLE.search(text):
        return text, 0
    return _INVISIBLE.subn("", text)


def compose(text: str) -> tuple[str, int]:
    """Unicode NFC; counted once for a text that was not."""
    if unicodedata.is_normalized("NFC", text):
        return text, 0
    return unicodedata.normalize("NFC", text), 1
