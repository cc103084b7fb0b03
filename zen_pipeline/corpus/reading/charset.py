"""The charset of a text: its byte order mark, what the user or the server says, what a page declares, else UTF-8.

Nothing is guessed, with one exception: where every byte has a meaning in the named charset (all of those with one byte
a letter), decoding proves nothing, so a text that is valid UTF-8 beyond ASCII is taken for that.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

UTF_8 = "utf-8"
_HEAD = 4096  # bytes of a page in which it may declare its charset; browsers look at 1,024
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Labels that mean more than they say, as browsers read them (https://encoding.spec.whatwg.org/#names-and-labels).
_MEANT = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs",
    "utf-8-sig": UTF_8,
}  # fmt: skip
_LABELS = {"windows-874": "cp874", "windows-31j": "cp932", "x-sjis": "cp932", "x-euc-jp": "euc_jp", "x-gbk": "gb18030"}
_LABELS |= {"ks_c_5601-1987": "cp949", "x-mac-roman": "mac_roman", "x-mac-cyrillic": "mac_cyrillic", "x-big5": "big5"}
_NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "mbcs", "oem")

_XML = re.compile(rb"""^\s*<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)""")
_META = re.compile(rb"""<meta\s(?:[^>]*?[\s;"'])?charset\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)


class Charset(NamedTuple):
    """A charset and what names it.

    Attributes:
        codec: Python's name.
        by: what names it: `byte order mark`, `setting`, `server`, `page`, or "" for UTF-8 where nothing does.
    """

    codec: str
    by: str


def codec_of(label: str) -> str:
    """Python's codec for a charset's label as browsers understand it; "" for one that is unknown."""
    wanted = label.strip().lower()
    try:
        name = codecs.lookup(_LABELS.get(wanted, wanted)).name
        "a".encode(name)  # some codecs of Python are for no text at all
    except (LookupError, ValueError, UnicodeError):
        return ""
    return "" if name.replace("-", "_") in _NO_CHARSETS or name in _NO_CHARSETS else _MEANT.get(name, name)


def charset_of_text(head: bytes, given: str = "", header: Callable[[], str] | None = None) -> Charset:
    """The charset of a text that begins with `head`, whatever the text says.

    Args:
        head: its first bytes.
        given: the label that the user gives.
        header: asks for the label that the server gives; called only where nothing before it decides.
    """
    for mark, codec in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return Charset(codec, "byte order mark" if codec != UTF_8 else "")
    if given:
        return Charset(codec_of(given), "setting")
    label = header() if header is not None else ""
    return _believed(head, Charset(codec_of(label), "server")) if label else Charset(UTF_8, "")


def decode_page(content: bytes, given: str = "", header: Callable[[], str] | None = None) -> tuple[str, Charset]:
    """The text of an HTML page, and the charset that it is written in.

    Raises:
        ValueError: it is not valid in that charset, nor in UTF-8; the message says where.
    """
    charset = charset_of_text(content, given, header)
    if not charset.by and not content.startswith(codecs.BOM_UTF8):
        charset = _declared(content)
    for each in dict.fromkeys((charset, Charset(UTF_8, charset.by))):
        try:
            return content.decode(each.codec).removeprefix("\ufeff"), each
        except UnicodeDecodeError as error:
            where = f"byte 0x{content[error.start]:02X} at offset {error.start:,}"
    named = f"neither {charset.codec}, which its {charset.by} names, nor" if charset.by else "not valid"
    raise ValueError(f"{named} UTF-8 ({where}): name its charset with collect.sources.charset")


def _declared(content: bytes) -> Charset:
    """What the page itself says; UTF-16 without a mark shows by the zeros next to its first sign."""
    head = content[:_HEAD]
    for zeros, codec in ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):
        if head.lstrip(b" \t\r\n").startswith(zeros):
            return Charset(codec, "page")
    named = _XML.match(head.removeprefix(codecs.BOM_UTF8)) or _META.search(_COMMENT.sub(b"", head))
    if named is None:
        return Charset(UTF_8, "")
    codec = codec_of(named[1].decode("ascii"))
    if codec.startswith(("utf-16", "utf-32")):  # it could not have been read as ASCII
        return Charset(UTF_8, "")
    return _believed(content, Charset(codec, "page"))


def _believed(content: bytes, named: Charset) -> Charset:
    """The named charset, unless it takes any bytes and these are UTF-8."""
    if named.codec in ("", UTF_8):
        return Charset(UTF_8, named.by)
    proves_nothing = len(bytes(range(128, 256)).decode(named.codec, "replace")) == 128
    if proves_nothing and not content.isascii() and _is_utf_8(content):
        return Charset(UTF_8, "")
    return named


def _is_utf_8(content: bytes) -> bool:
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(content)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return True


class Transcoded:
    """A stream of some charset as UTF-8; bytes that mean nothing in it come as they are, which is no UTF-8 either."""

    def __init__(self, stream: BinaryIO, codec: str) -> None:
        wide = codec.startswith(("utf-16", "utf-32"))  # whose bytes say nothing one by one
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)("strict" if wide else "surrogateescape")
        self._ready = b""

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._ready:
            block = self._stream.read(1 << 16)
            text = self._decoder.decode(block, final=not block)
            self._ready = text.encode(UTF_8, "surrogateescape")
            if not block:
                break
        size = len(self._ready) if size < 0 else size
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
