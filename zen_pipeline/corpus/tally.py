"""Counts of what becomes of files, so that files found = files read + files left out, each with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from zen_pipeline.corpus.charset import UTF_8, Charset


@dataclass
class Tally:
    """What became of files and members of archives.

    Attributes:
        read: files from which a record or a set-aside entry came.
        left_out: the others, by reason.
        charsets: files that are not in UTF-8, by charset and what names it.
        elements: elements of pages whose content is no text for readers, by name.
    """

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    charsets: Counter[str] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)

    def add_charset(self, charset: Charset) -> None:
        """Count a file by its charset."""
        if charset.codec != UTF_8:
            self.charsets[f"{charset.codec} ({charset.by})"] += 1

    def summary(self) -> dict[str, dict[str, int]]:
        """The counts for the summary of a stage; what is empty is missing."""
        files = {"found": self.read + self.left_out.total(), "read": self.read, "left_out": self.left_out.total()}
        counts = {"left_out": self.left_out, "charsets": self.charsets, "page_elements_left_out": self.elements}
        return {"files": files} | {name: dict(sorted(c.items())) for name, c in counts.items() if c}
