"""How near an answer is to its reference: token F1 and exact match, as SQuAD counts them.

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text": lower case, no punctuation, no
English articles, words at white space. Chinese, Japanese and Korean characters are words of their own, as in CMRC 2018
and MLQA, since those scripts do not put spaces between words.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

_ARTICLES = frozenset({"a", "an", "the"})
_CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))


def normalize(text: str) -> list[str]:
    """The words of `text` that are compared."""
    kept = []
    for character in unicodedata.normalize("NFKC", text).lower():
        if any(first <= ord(character) <= last for first, last in _CJK):
            kept.append(f" {character} ")
        elif unicodedata.category(character)[0] not in "PS":  # punctuation and symbols
            kept.append(character)
    return [word for word in "".join(kept).split() if word not in _ARTICLES]


def exact_match(answer: str, reference: str) -> float:
    """1.0 when the normalized texts are equal, else 0.0."""
    return float(normalize(answer) == normalize(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of the precision and recall of the answer's words, 0.0 to 1.0; two empty texts are equal."""
    given, wanted = Counter(normalize(answer)), Counter(normalize(reference))
    if not given or not wanted:
        return float(given == wanted)
    shared = (given & wanted).total()
    return 2.0 * shared / (given.total() + wanted.total())


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; 0.0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def most_frequent(answers: Iterable[str]) -> str:
    """The answer that occurs most often, the first in order among equals: what a model that learnt nothing else says.

    Raises:
        ValueError: there are no answers.
    """
    counts = Counter(answers)
    if not counts:
        raise ValueError("there are no answers to choose the most frequent from")
    return min(counts, key=lambda answer: (-counts[answer], answer))
