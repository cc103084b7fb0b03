"""How well personal data is found in texts whose personal data is labelled.

The format is that of presidio-research: a JSON list of objects with `full_text` and `spans`, each span with
`entity_type`, `start_position` and `end_position`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zen_pipeline.corpus.cleaning.personal import DETECTORS, find_personal
from zen_pipeline.errors import DataError

# What presidio calls our types. Its other labels (names, places, dates, titles) need a model.
LABELS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "US_SSN": "ssn",
}


@dataclass
class Score:
    """Counts for one type. A label counts as found when a finding of the type overlaps it.

    Attributes:
        labelled: spans with this label.
        found: those of them that were found.
        exact: those of them that were found from the first character to the last.
        findings: all findings of the type.
        right: those of them that overlap a label of the type.
        missed: the labelled texts that were not found, each with what stands before it.
        wrong: findings without a label, each with what stands before it and the labels that it overlaps.
    """

    labelled: int = 0
    found: int = 0
    exact: int = 0
    findings: int = 0
    right: int = 0
    missed: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Share of the labels that were found; 1 when there are none."""
        return self.found / self.labelled if self.labelled else 1.0

    @property
    def precision(self) -> float:
        """Share of the findings that are labelled; 1 when there are none."""
        return self.right / self.findings if self.findings else 1.0


def evaluate(path: Path) -> dict[str, Score]:
    """Scores by type for one file of labelled texts.

    Raises:
        DataError: the file is not in this format.
    """
    scores: dict[str, Score] = defaultdict(Score)
    for number, entry in enumerate(_entries(path)):
        try:
            labels = [(s["start_position"], s["end_position"], s["entity_type"]) for s in entry["spans"] or ()]
            _count(entry["full_text"], labels, scores)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}, entry {number}: expected full_text and spans with start_position, end_position and "
                f"entity_type; missing or wrong: {error}"
            ) from None
    return {kind: scores[kind] for kind in DETECTORS if kind in scores}


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"the labelled texts {path} cannot be read as JSON: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a JSON list of labelled texts, found {type(entries).__name__}")
    return entries


def _count(text: str, labels: list[tuple[int, int, str]], scores: dict[str, Score]) -> None:
    findings = find_personal(text, DETECTORS)
    for start, end, label in labels:
        if label not in LABELS:
            continue
        kind = LABELS[label]
        score = scores[kind]
        score.labelled += 1
        same = [f for f in findings if f.type == kind and f.start < end and start < f.end]
        score.found += bool(same)
        score.exact += any((f.start, f.end) == (start, end) for f in same)
        if not same:
            score.missed.append((text[max(start - 30, 0) : start], text[start:end]))
    for finding in findings:
        score = scores[finding.type]
        score.findings += 1
        over = Counter(label for start, end, label in labels if finding.start < end and start < finding.end)
        if finding.type in {LABELS.get(label) for label in over}:
            score.right += 1
        else:
            before = text[max(finding.start - 30, 0) : finding.start]
            score.wrong.append((before, text[finding.start : finding.end], ", ".join(over) or "no label"))
