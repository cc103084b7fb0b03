"""How texts are compared: their normal form, and the units (words, or single characters) that it consists of."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_TABLE = 0x33480  # every letter, mark, digit and space of Unicode 16 below the tag characters is below this
# Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han. Hangul has spaces.
_ALONE = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, _TABLE - 1),
)  # fmt: skip
_DOCUMENTED = ("module", "class", "function")


class Texts(NamedTuple):
    """Texts as the compiled loops want them: their UTF-8 bytes, and where each begins and ends."""

    data: Bytes
    starts: Integers
    ends: Integers

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """The bytes of some strings; a lone surrogate, which no UTF-8 has, becomes `?`."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        sizes = np.array([len(e) for e in encoded], np.int64)
        ends = np.cumsum(sizes)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends - sizes, ends)


@cache
def code_point_classes() -> npt.NDArray[np.uint8]:
    """For every code point below 0x33480 its class in `text_kernels`: WORD, ALONE, SPACE, NUMBER, or 0 for others."""
    from zen_pipeline.corpus.duplicates.text_kernels import ALONE, NUMBER, SPACE, WORD

    classes = np.zeros(_TABLE, np.uint8)
    for code in range(_TABLE):
        category = unicodedata.category(chr(code))[0]
        if category in "LMN":
            classes[code] = NUMBER if category == "N" else WORD
        elif chr(code).isspace():
            classes[code] = SPACE
    for first, last in _ALONE:
        part = classes[first : last + 1]
        part[(part == WORD) | (part == NUMBER)] = ALONE
    return classes


def normal_form(text: str) -> str:
    """The text without differences of case and of Unicode form (NFKC)."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def compared_text(text: str, meta: str) -> str:
    """What makes a record a duplicate: its text; of Python documentation the docstring alone.

    The same docstring under another name says nothing new.
    """
    if '"object"' in meta and json.loads(meta).get("object") in _DOCUMENTED:
        return text.partition("\n\n")[2] or text
    return text
