"""Characters: encodings read wrongly, line ends, control and invisible characters, and Unicode's composed form (NFC).

Each step takes a text and returns it with the number of places that it changed; a text that needs nothing comes back
as the same object. `repair` runs them until nothing changes, since one can uncover work for another.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

Step = Callable[[str], tuple[str, int]]

_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029]")
# Escape sequences of terminals (ECMA-48), then what is left of C0 and C1, and code points that are no characters.
# A form feed stays: it divides pages.
_CONTROL = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]"
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
_ENCODINGS = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso-8859-2", "mac-roman", "cp437")
_C1 = re.compile("[\x80-\x9f]")
_WINDOWS = {code: shown for code in range(0x80, 0xA0) if (shown := bytes([code]).decode("cp1252", "ignore"))}
_UTF8 = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_NO_BREAK = re.compile("(\xc3)( )|(?<=\xc2) ")  # `Ã la`: the second byte of `à` was a no-break space once
_OPENED, _CLOSED = re.compile("[\"'`][^\"'`\n]{0,24}$"), re.compile("[^\"'`\n]{0,24}[\"'`]")
_ABOUT_ENCODINGS = re.compile(
    r"utf-?8|latin-?1|iso[- _]?8859|windows-?125|cp-?125\d|mojibake|unicode|charset|encod|code ?page|kodier|"
    r"zeichensatz|codific|кодиров|乱码|亂碼|编码|編碼|文字化け",
    re.IGNORECASE,
)


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
    """A text whose UTF-8 was decoded as something else (`CafÃ©`) decoded again, and C1 controls as Windows-1252.

    Only where it is certain: every character beyond ASCII of the whole text must belong to such an accident, which no
    right text achieves by chance. One right letter, a typographic quotation mark next to it, a sentence about encodings
    or an accident in quotation marks leaves all of it as it is.

    C1 controls (0x80 to 0x9F) are never text; they come from Windows-1252 that was read as Latin-1. Surrogates are
    paired, and lone ones become U+FFFD: no file can hold them. Counted are lines, controls and surrogates.
    """
    if text.isascii():
        return text, 0
    count = 0
    if found := len(_SURROGATES.findall(text)):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        count += found
    if _accidents().search(text) and (again := _decoded_again(text)) is not None:
        count += sum(one != other for one, other in zip(text.split("\n"), again.split("\n"), strict=False)) or 1
        text = again
    if found := len(_C1.findall(text)):
        text = text.translate(_WINDOWS)
        count += found
    return text, count


def _decoded_again(text: str) -> str | None:
    """The text that was decoded wrongly; None where that is not certain."""
    if _ABOUT_ENCODINGS.search(text):
        return None
    for encoding in _ENCODINGS:
        shown = text.translate(_bytes_of(encoding))  # each byte as the character of its number
        if max(shown) > "\xff":
            continue
        for raw in (shown, _NO_BREAK.sub("\\1\xa0\\2", shown)):
            try:
                again = raw.encode("latin-1").decode("utf-8")
            except UnicodeDecodeError:
                continue
            found = list(_UTF8.finditer(shown))
            enough = len(_UTF8.findall(raw)) >= 3
            telling = encoding == "cp1252" and raw is shown and any(_is_telling(text, s) for s in found)
            return again if (enough or telling) and _is_plausible(text, found) else None
    return None


def _is_telling(text: str, sequence: re.Match[str]) -> bool:
    """Three bytes; a capital behind a small letter or a sign before one: `fÃ©`, `Ã©t`, but not the end of `IRMÃ…`."""
    start, end = sequence.span()
    before, first, second, behind = text[start - 1 : start], text[start], text[start + 1], text[end : end + 1]
    inside = (before.islower() and first.isupper()) or (not second.isalpha() and behind.islower())
    return end - start > 2 or inside or second <= "\xa0"


def _is_plausible(text: str, found: Sequence[re.Match[str]]) -> bool:
    """What comes out are characters that are written, and not all of what goes in stands in quotation marks."""
    codes = [ord(sequence[0].encode("latin-1").decode("utf-8")) for sequence in found]
    rare = any(code < 0x250 and not (0xA0 <= code <= 0x17F or 0x218 <= code <= 0x21B) for code in codes)
    others = sum(0x250 <= code < 0x800 for code in codes)  # Greek, Cyrillic, Hebrew, Arabic: words have several
    return not rare and not 0 < others < 3 and not all(_is_quoted(text, *sequence.span()) for sequence in found)


def _is_quoted(text: str, start: int, end: int) -> bool:
    return bool(_OPENED.search(text[max(start - 30, 0) : start]) and _CLOSED.match(text, end, end + 30))


@cache
def _bytes_of(encoding: str) -> dict[int, int]:
    """From each character of a single-byte encoding to its byte; what it leaves out is a control of the same number."""
    table = {}
    for byte in range(0x80, 0x100):
        try:
            table[ord(bytes([byte]).decode(encoding))] = byte
        except UnicodeDecodeError:
            table[byte] = byte
    if encoding == "cp1252":  # which Latin-1 is within, but for its controls
        return table | {byte: byte for byte in range(0x80, 0xA0)}
    return table | {code: 0x100 for code in range(0x80, 0x100) if code not in table}


@cache
def _accidents() -> re.Pattern[str]:
    """A first byte of UTF-8 and then a later one, as single-byte encodings show them."""
    first, later = set[str](), set[str]()
    for encoding in ("latin-1", *_ENCODINGS):
        first.update(bytes(range(0xC2, 0xF5)).decode(encoding, "ignore"))
        later.update(bytes(range(0x80, 0xC0)).decode(encoding, "ignore"))
    return re.compile(f"[{re.escape(''.join(sorted(first)))}][{re.escape(''.join(sorted(later)))} ]")


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
