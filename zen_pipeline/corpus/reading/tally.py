"""Counts of what becomes of files, so that files found = files read + files left out, each with its reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zen_pipeline.corpus.reading.charset import UTF_8, Charset
from zen_pipeline.corpus.reading.opening import TextFile

_NAMED = 200  # files whose roles are named, and unused fields


@dataclass
class Tally:
    """What became of files and members of archives.

    Attributes:
        read: files from which a record or a set-aside entry came.
        left_out: the others, by reason.
        charsets: files that are not in UTF-8, by charset and what names it.
        roles: files that train, validate or test by their names: the split, and what in the name gives it.
        elements: elements of pages whose content is no text for readers, by name.
        taken_for: for each file how many of its rows were taken for what, and by what they were told.
        unused: how many rows have a field that no record was made from.
    """

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    charsets: Counter[str] = field(default_factory=Counter)
    roles: dict[str, str] = field(default_factory=dict)
    elements: Counter[str] = field(default_factory=Counter)
    taken_for: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unused: Counter[str] = field(default_factory=Counter)

    def add_row(self, file: str, kind: str, told_by: Sequence[str], unused: Iterable[str] = ()) -> None:
        """Count a row that was taken for one of a kind."""
        self.taken_for[file][f"{kind}, by {' and '.join(told_by)}"] += 1
        self.unused.update(unused)

    def forms(self) -> Counter[str]:
        """What rows were taken for, of all files together."""
        return sum(self.taken_for.values(), Counter[str]())

    def add_charset(self, charset: Charset) -> None:
        """Count a file by its charset."""
        if charset.codec != UTF_8:
            self.charsets[f"{charset.codec} ({charset.by})"] += 1

    def add_role(self, file: TextFile) -> None:
        """Note the split that a file's name gives."""
        if file.split is not None and len(self.roles) < _NAMED:
            self.roles[file.name] = f"{file.split}, by {file.role}"

    def summary(self) -> dict[str, Any]:
        """The counts for the summary of a stage; what is empty is missing.

        Of unused fields the most frequent ones are named: where ids are names of fields, there can be millions.
        """
        files = {"found": self.read + self.left_out.total(), "read": self.read, "left_out": self.left_out.total()}
        counts = {
            "left_out": self.left_out,
            "charsets": self.charsets,
            "page_elements_left_out": self.elements,
            "taken_for": self.forms(),
            "unused_fields": Counter(dict(self.unused.most_common(_NAMED))),
        }
        found: dict[str, Any] = {name: dict(sorted(c.items())) for name, c in counts.items() if c}
        return {"files": files} | found | ({"roles": self.roles} if self.roles else {})
