"""What reading finds out about files: what they were taken for, and what of their rows no record was made from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Seen:
    """Counts that grow while files are read.

    Attributes:
        taken_for: for each file how many of its rows were taken for what, and by which fields.
        unused: how many rows have a field that no record was made from.
    """

    taken_for: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unused: Counter[str] = field(default_factory=Counter)

    def row(self, file: str, kind: str, names: Sequence[str], unused: Iterable[str]) -> None:
        """Count a row of a known kind."""
        self.taken_for[file][f"{kind}, by {' and '.join(names)}"] += 1
        self.unused.update(unused)
