"""Bias of word vectors: the Word Embedding Association Test (Caliskan, Bryson and Narayanan 2017).

Two sets of target words X and Y, two sets of attribute words A and B. The association of a word is its mean cosine with
A less that with B; the effect size is the difference of the mean associations of X and Y in standard deviations of all
of them (at most 2), and the p-value is the share of equal partitions of X and Y whose difference is as large.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors

_FEWEST = 4  # words of each set with a vector; with fewer, no partition is rarer than 1 in 35
_EXACT = 200_000  # partitions that are all looked at; else as many are drawn


@dataclass(frozen=True)
class WordSets:
    """One test: targets x and y, attributes a and b."""

    name: str
    x: str
    y: str
    a: str
    b: str

    def sets(self) -> tuple[list[str], ...]:
        """The four sets as words."""
        return tuple(words.split() for words in (self.x, self.y, self.a, self.b))


_MALE = "male man boy brother he him his son"
_FEMALE = "female woman girl sister she her hers daughter"
_PLEASANT = (
    "caress freedom health love peace cheer friend heaven loyal pleasure diamond gentle honest lucky rainbow diploma "
    "gift honor miracle sunrise family happy laughter paradise vacation"
)
_UNPLEASANT = (
    "abuse crash filth murder sickness accident death grief poison stink assault disaster hatred pollute tragedy "
    "divorce jail poverty ugly cancer kill rotten vomit agony prison"
)

# The word lists of the paper's supplement, tests 1 and 6 to 8.
ENGLISH = (
    WordSets(
        "flowers and insects",
        "aster clover hyacinth marigold poppy azalea crocus iris orchid rose bluebell daffodil lilac pansy tulip "
        "buttercup daisy lily peony violet carnation gladiola magnolia petunia zinnia",
        "ant caterpillar flea locust spider bedbug centipede fly maggot tarantula bee cockroach gnat mosquito termite "
        "beetle cricket hornet moth wasp blackfly dragonfly horsefly roach weevil",
        _PLEASANT,
        _UNPLEASANT,
    ),
    WordSets(
        "names and careers",
        "John Paul Mike Kevin Steve Greg Jeff Bill",
        "Amy Joan Lisa Sarah Diana Kate Ann Donna",
        "executive management professional corporation salary office business career",
        "home parents children family cousins marriage wedding relatives",
    ),
    WordSets(
        "mathematics and arts",
        "math algebra geometry calculus equations computation numbers addition",
        "poetry art dance literature novel symphony drama sculpture",
        _MALE,
        _FEMALE,
    ),
    WordSets(
        "science and arts",
        "science technology physics chemistry Einstein NASA experiment astronomy",
        "poetry art Shakespeare dance literature novel symphony drama",
        "brother father uncle grandfather son he his him",
        "sister mother aunt grandmother daughter she hers her",
    ),
)


@dataclass(frozen=True)
class Weat:
    """The outcome of one test.

    Attributes:
        name: of the test, which says what X and Y (or A and B) are.
        effect_size: in standard deviations, positive when X goes with A and Y with B; None without enough words.
        p_value: one-sided; None without enough words.
        covered: words with a vector in X, Y, A, B.
        words: words in X, Y, A, B.
    """

    name: str
    effect_size: float | None
    p_value: float | None
    covered: tuple[int, ...]
    words: tuple[int, ...]

    def entry(self) -> dict[str, Any]:
        """For JSON."""
        size = None if self.effect_size is None else round(self.effect_size, 3)
        p = None if self.p_value is None else float(f"{self.p_value:.3g}")
        return {"effect_size": size, "p_value": p, "covered": list(self.covered), "words": list(self.words)}


def weat(vectors: WordVectors, test: WordSets, *, seed: int = 0) -> Weat:
    """One test on these vectors; without an outcome when fewer than four words of a set have a vector."""
    rows = [[row for word in words if (row := vectors.find(word)) is not None] for words in test.sets()]
    covered, words = tuple(map(len, rows)), tuple(map(len, test.sets()))
    if min(covered) < _FEWEST:
        return Weat(test.name, None, None, covered, words)
    x, y, a, b = (vectors.matrix[r].astype(np.float64) / vectors.lengths[r, None] for r in rows)
    targets = np.concatenate([x, y])
    association = (targets @ a.T).mean(axis=1) - (targets @ b.T).mean(axis=1)
    difference = association[: len(x)].mean() - association[len(x) :].mean()
    spread = association.std(ddof=1)
    effect = float(difference / spread) if spread > 0 else 0.0
    return Weat(test.name, effect, _p_value(association, len(x), seed), covered, words)


def _p_value(association: NDArray[np.float64], size: int, seed: int) -> float:
    """The share of the partitions into `size` and the rest whose first part has a sum as large as the real one."""
    n = len(association)
    observed = association[:size].sum() - 1e-12  # the real partition is one of them, whatever the rounding
    if math.comb(n, size) <= _EXACT:
        chosen = np.array(list(itertools.combinations(range(n), size)))
        return float((association[chosen].sum(axis=1) >= observed).mean())
    random = np.random.Generator(np.random.PCG64([seed, 8]))
    above = 0
    for _ in range(10):
        order = random.random((_EXACT // 10, n)).argpartition(size, axis=1)[:, :size]
        above += int((association[order].sum(axis=1) >= observed).sum())
    return (above + 1) / (_EXACT + 1)  # the real partition counts as drawn, so that p is never 0


def english(vectors: WordVectors, *, seed: int = 0) -> list[Weat]:
    """All four tests, without those that too few words have a vector for."""
    found = [weat(vectors, test, seed=seed) for test in ENGLISH]
    return [outcome for outcome in found if outcome.effect_size is not None]
