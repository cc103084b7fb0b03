"""Exact duplicates, after normalization: the first in the order of the corpus stays."""

from __future__ import annotations

import hashlib
import json
import unicodedata

from zen_pipeline.corpus.records import Record

_DOCUMENTED = ("module", "class", "function")


class SeenTexts:
    """Remembers the texts of a corpus, 16 bytes each, and tells which earlier record has the same one."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def duplicate_of(self, record: Record) -> str | None:
        """The id of the first record with this text, or None when this is the first."""
        first = self._first.setdefault(_key(record), record.id)
        return None if first == record.id else first


def _key(record: Record) -> bytes:
    """A digest of the text without differences in case, spacing and Unicode form."""
    text = unicodedata.normalize("NFKC", _without_heading(record)).casefold()
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _without_heading(record: Record) -> str:
    """The docstring alone: the same one under another name says nothing new."""
    if '"object"' in record.meta and json.loads(record.meta).get("object") in _DOCUMENTED:
        return record.text.partition("\n\n")[2] or record.text
    return record.text
