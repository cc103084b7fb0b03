"""The profile of a data set: how long its records are, in which languages, from where, and with which words.

It is counted while the records stream by, is small, and is stored with them, so that the next data set can be
compared with this one without reading it again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import StoreError

PROFILE_FILE = "profile.json"

_HEAD = 1000  # characters of each record whose words are counted: bounds the time for long records
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W\d_{_HAN}]+")  # each Han character counts as a word
_MOST_WORDS = 400_000  # different ones in memory; then the rarer half is forgotten
_KEPT_WORDS = 2_000  # in the file
_MOST_SOURCES = 200  # in the file; the rest is counted as one


@dataclass
class Profile:
    """Counts of one data set.

    Attributes:
        records: how many were added.
        lengths: records by the power of two below their length in characters.
        languages: records by language.
        sources: records by the folder of their file, or the module.
        kinds: records by kind.
        words: how often each word occurs in the heads of the records.
        word_total: how many words were counted, forgotten ones included.
    """

    records: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    word_total: int = 0

    def add(self, record: Record) -> None:
        """Count one record."""
        self.records += 1
        self.lengths[max(len(record.text), 1).bit_length() - 1] += 1
        self.languages[record.language] += 1
        self.sources[record.source.rpartition("/")[0] or record.source] += 1
        self.kinds[record.kind] += 1
        found = _WORD.findall(record.text[:_HEAD].casefold())
        self.words.update(found)
        self.word_total += len(found)
        self._forget()

    def merge(self, other: Profile) -> None:
        """Add the counts of another part of the data set."""
        self.records += other.records
        for name in ("lengths", "languages", "sources", "kinds", "words"):
            getattr(self, name).update(getattr(other, name))
        self.word_total += other.word_total
        self._forget()

    def _forget(self) -> None:
        if len(self.words) > _MOST_WORDS:
            self.words = Counter(dict(self.words.most_common(_MOST_WORDS // 2)))

    def distributions(self) -> dict[str, dict[str, int]]:
        """The counts by distribution and bin, the most frequent first."""
        by_length = {f"{2**power}": count for power, count in sorted(self.lengths.items())}
        words = dict(_ordered(self.words)[:_KEPT_WORDS])
        return {
            "length": by_length,
            "language": dict(_ordered(self.languages)),
            "source": _folded(self.sources, _MOST_SOURCES),
            "kind": dict(_ordered(self.kinds)),
            "vocabulary": {**words, "": self.word_total - sum(words.values())},
        }

    def save(self, folder: Path) -> None:
        """Write `profile.json`."""
        held: dict[str, Any] = {"records": self.records, "word_total": self.word_total}
        held["lengths"] = {str(power): count for power, count in sorted(self.lengths.items())}
        held["languages"] = dict(_ordered(self.languages))
        held["sources"] = _folded(self.sources, _MOST_SOURCES)
        held["kinds"] = dict(_ordered(self.kinds))
        held["words"] = dict(_ordered(self.words)[:_KEPT_WORDS])
        (folder / PROFILE_FILE).write_text(json.dumps(held, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Profile:
        """The profile in a folder.

        Raises:
            StoreError: it is missing or not of this form.
        """
        path = folder / PROFILE_FILE
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                records=int(held["records"]),
                lengths=Counter({int(power): count for power, count in held["lengths"].items()}),
                languages=Counter(held["languages"]),
                sources=Counter(held["sources"]),
                kinds=Counter(held["kinds"]),
                words=Counter(held["words"]),
                word_total=int(held["word_total"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is not a profile that can be read: {error}") from error


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """By frequency, then by name: the same file for the same data, in whatever order its parts were merged."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _folded(counts: Counter[str], most: int) -> dict[str, int]:
    ordered = _ordered(counts)
    rest = sum(count for _, count in ordered[most:])
    return {**dict(ordered[:most]), **({"": rest} if rest else {})}
