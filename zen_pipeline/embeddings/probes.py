"""Probes of word vectors: agreement with people's similarity scores, analogies, and effects of word frequency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import DataError

_BATCH = 256  # questions whose scores are in memory at a time
_EPSILON = 1e-3  # of 3CosMul, as in the paper
ANSWERS = 300_000  # an analogy is answered with one of the so many most frequent words, as other programs do
_FREQUENCY_WORDS = 2000

Rule = Literal["add", "mul"]


@dataclass(frozen=True)
class Similarity:
    """Agreement of cosines with people's scores of word pairs.

    Attributes:
        name: of the file.
        pairs: in the file.
        covered: pairs whose words both have a vector; the others are left out.
        spearman: rank correlation on the covered pairs; None for fewer than three.
        skipped: lines that are no pair with a score.
    """

    name: str
    pairs: int
    covered: int
    spearman: float | None
    skipped: int

    def entry(self) -> dict[str, Any]:
        """For JSON."""
        rho = None if self.spearman is None else round(self.spearman, 4)
        return {"spearman": rho, "pairs": self.pairs, "covered": self.covered, "skipped": self.skipped}


@dataclass
class Analogies:
    """Answers to the questions "a is to b as c is to?" of one file.

    Attributes:
        name: of the file.
        skipped: lines that are no question of four words.
        sections: for each section questions, covered (all four words have a vector), right by 3CosAdd, by 3CosMul.
    """

    name: str
    skipped: int = 0
    sections: dict[str, dict[str, int]] = field(default_factory=dict)

    def total(self, what: str) -> int:
        """Over all sections."""
        return sum(section[what] for section in self.sections.values())

    def accuracy(self, rule: Rule) -> float | None:
        """Share of the covered questions; None when none is."""
        return self.total(rule) / self.total("covered") if self.total("covered") else None

    def entry(self) -> dict[str, Any]:
        """For JSON."""
        shares = {f"accuracy_{rule}": self.accuracy(rule) for rule in ("add", "mul")}
        return {
            **{name: None if share is None else round(share, 4) for name, share in shares.items()},
            "questions": self.total("questions"),
            "covered": self.total("covered"),
            "skipped": self.skipped,
            "sections": self.sections,
        }


def probe(vectors: WordVectors, path: Path) -> Similarity | Analogies:
    """The probe that a file is made for: two words and a score on each line, or four words.

    Raises:
        DataError: the file is missing or holds neither.
    """
    for line in _lines(path):
        if line.startswith(":") or len(line.split()) == 4:
            return analogies(vectors, path)
        if len(_fields(line)) == 3:
            return similarity(vectors, path)
    raise DataError(f"{path}: expected lines `word word score` or `word word word word` (below `: section`)")


def similarity(vectors: WordVectors, path: Path) -> Similarity:
    """Spearman's correlation between cosines and the scores of a file.

    Args:
        vectors: to probe.
        path: two words and a number on each line, between tabs, commas or spaces; other lines are counted.

    Raises:
        DataError: no line holds a pair.
    """
    from scipy.stats import spearmanr

    cosines, scores, pairs, skipped = [], [], 0, 0
    for line in _lines(path):
        fields = _fields(line)
        try:
            first, second, score = fields[0], fields[1], float(fields[2])
        except (IndexError, ValueError):
            skipped += 1
            continue
        pairs += 1
        rows = vectors.find(first), vectors.find(second)
        if rows[0] is not None and rows[1] is not None:
            product = float(vectors.matrix[rows[0]] @ vectors.matrix[rows[1]])
            cosines.append(product / float(vectors.lengths[rows[0]] * vectors.lengths[rows[1]]))
            scores.append(score)
    if not pairs:
        raise DataError(f"{path}: expected two words and a score on each line, found no such line")
    usable = len(scores) >= 3 and len(set(scores)) > 1 and len(set(cosines)) > 1
    rho = float(spearmanr(cosines, scores).statistic) if usable else None
    return Similarity(path.stem, pairs, len(scores), rho, skipped)


def analogies(vectors: WordVectors, path: Path) -> Analogies:
    """The share of right answers by 3CosAdd and 3CosMul (Levy and Goldberg 2014), section by section.

    Args:
        vectors: to probe.
        path: lines of four words; `: name` begins a section, as in questions-words.txt and CA8. A file without
            sections is one section.

    Raises:
        DataError: no line holds a question.
    """
    result = Analogies(path.stem)
    section = path.stem
    questions: dict[str, list[list[str]]] = {}
    for line in _lines(path):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip() or path.stem
        elif len(words) == 4:
            questions.setdefault(section, []).append(words)
        else:
            result.skipped += 1
    if not questions:
        raise DataError(f"{path}: expected four words on each line, found no such line")
    for name, asked in questions.items():
        found = [[vectors.find(word) for word in words] for words in asked]
        rows = np.array([row for row in found if None not in row], np.int64).reshape(-1, 4)
        right = {rule: sum(_right(vectors, rows, rule)) for rule in ("add", "mul")}
        result.sections[name] = {"questions": len(asked), "covered": len(rows), **right}
    return result


def answer(
    vectors: WordVectors, first: str, second: str, third: str, n: int, rule: Rule = "add"
) -> list[tuple[str, float]]:
    """The `n` best answers to "first is to second as third is to?", with their scores.

    Raises:
        DataError: one of the words has no vector.
    """
    rows = np.array([[vectors.row(word) for word in (first, second, third)]], np.int64)
    scores = _scores(vectors, rows, rule)[0]
    best = np.argsort(-scores, kind="stable")[: min(n, int(np.isfinite(scores).sum()))]
    return [(vectors.words[i], float(scores[i])) for i in best]


def _right(vectors: WordVectors, rows: NDArray[np.int64], rule: Rule) -> Iterator[int]:
    for first in range(0, len(rows), _BATCH):
        some = rows[first : first + _BATCH]
        yield int((_scores(vectors, some[:, :3], rule).argmax(axis=1) == some[:, 3]).sum())


def _scores(vectors: WordVectors, rows: NDArray[np.int64], rule: Rule) -> NDArray[np.float32]:
    """(questions, words) float32, minus infinity for the words of the question; rows (questions, 3)."""
    answers = vectors.unit[:ANSWERS]
    a, b, c = (vectors.unit[rows[:, i]] for i in range(3))
    if rule == "add":
        scores = (b - a + c) @ answers.T
    else:  # cosines are moved to 0 … 1, so that products keep their order
        near_a, near_b, near_c = ((side @ answers.T + 1) / 2 for side in (a, b, c))
        scores = near_b * near_c / (near_a + np.float32(_EPSILON))
    for i in range(3):
        inside = rows[:, i] < len(answers)
        scores[np.flatnonzero(inside), rows[inside, i]] = -np.inf
    return np.asarray(scores, np.float32)


def frequency_effects(vectors: WordVectors) -> dict[str, float]:
    """Effects of how often a word occurs on its vector; 0 is best for each.

    Returns:
        length: Spearman's correlation of a vector's length with its word's count.
        neighbours: Spearman's correlation of the log count of a word with the mean log count of its ten nearest words.
        common_direction: length of the mean of all unit vectors (0: they point everywhere, 1: all the same way).

    The most frequent 2,000 words are looked at; empty where they have no or equal counts.
    """
    from scipy.stats import spearmanr

    n = min(_FREQUENCY_WORDS, len(vectors.words))
    logs = np.log(np.maximum(vectors.counts[:n], 1).astype(np.float64))
    if n < 20 or logs.min() == logs.max():
        return {}
    unit = vectors.unit[:n]
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argpartition(-cosines, 10, axis=1)[:, :10]
    return {
        "length": round(float(spearmanr(logs, vectors.lengths[:n]).statistic), 4),
        "neighbours": round(float(spearmanr(logs, logs[near].mean(axis=1)).statistic), 4),
        "common_direction": round(float(np.linalg.norm(unit.mean(axis=0))), 4),
    }


def _fields(line: str) -> list[str]:
    """Cut at tabs where there are some, else at commas, else at spaces; more than three fields stay."""
    for separator in ("\t", ",", ";"):
        if separator in line:
            return [field.strip() for field in line.split(separator)]
    return line.split()


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            yield from (line.strip() for line in file if line.strip() and not line.startswith("#"))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path} is no file: name a file of word pairs or of analogies") from None
