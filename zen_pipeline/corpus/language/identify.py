"""Which language a text is in: naive Bayes over byte n-grams (Lui & Baldwin 2012), with the model of py3langid.

The model knows 140 languages. Offered all of them, it takes clear Chinese for Wu and clear English for Nigerian
Pidgin; so it is asked about `LANGUAGES` only (docs/experiments.md has the figures).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from threading import Lock
from typing import NamedTuple

import numpy as np

UNKNOWN = "und"  # ISO 639-2: undetermined
SURE = 0.5  # least score of an answer that is given; see docs/experiments.md
_PIECE = 300  # characters looked at in the beginning, and again in the middle of a longer text

# ISO 639-1. The languages with the most text in mC4 (Xue et al. 2021), without those too close to one of them.
LANGUAGES = tuple(
    """
    ar az bg bn ca cs da de el en es et eu fa fi fr gl he hi hr hu hy id is it ja ka kk ko lt lv ms ne nl no pl pt ro ru
    sk sl sr sv sw ta te th tl tr uk ur vi zh
    """.split()  # noqa: SIM905 - reads better than fifty quoted codes
)


class Guess(NamedTuple):
    """The likeliest language and its share of the probability, tempered by the length of the text; 0 to 1."""

    language: str
    score: float


def identify(text: str, at_least: float = SURE) -> Guess:
    """The language of a text, from 300 characters of its beginning and 300 of its middle.

    `und` with score 0 for a text without letters, and `und` with the score of the likeliest language where that is
    below `at_least`: mostly texts of one or two words, and code.
    """
    sample = _sample(text)
    if not any(map(str.isalpha, sample)):
        return Guess(UNKNOWN, 0.0)
    language, score = _classifier().classify(sample)
    return Guess(language if score >= at_least else UNKNOWN, score)


def guess_language(text: str) -> str:
    """The two-letter code of the language, or `und` where that is not sure."""
    return identify(text).language


def _sample(text: str) -> str:
    if len(text) <= 2 * _PIECE:
        return text
    middle = max(len(text) // 2, _PIECE)
    return text[:_PIECE] + "\n" + text[middle : middle + _PIECE]


class _Classifier:
    """py3langid's model with a compiled loop, which answers as the library does in a third of its time."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        from zen_pipeline.corpus.language.language_kernel import classify

        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        model.set_languages(LANGUAGES)
        self._names = list(dict.fromkeys(model.nb_classes))
        features = len(model.nb_ptc)
        self._kernel = classify
        self._arguments = (
            np.asarray(model.tk_nextmove),
            np.asarray(model.tk_row, np.int32),
            np.asarray(model.tk_output, np.int32),
            np.ascontiguousarray(model.nb_ptc, np.float32),  # the weights of a feature next to each other
            np.asarray(model.nb_pc, np.float32),
            np.array([self._names.index(name) for name in model.nb_classes]),
        )
        self._room = np.zeros(features, np.int32), np.empty(features, np.int32)
        self._lock = Lock()  # one text at a time is in that room

    def classify(self, text: str) -> tuple[str, float]:
        """The likeliest language, and its share of the probability."""
        if text.isupper():
            text = text.lower()
        data = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
        with self._lock:
            best, score = self._kernel(np.frombuffer(data, np.uint8), *self._arguments, *self._room)
        return self._names[best], float(score)


@cache
def _classifier() -> _Classifier:
    return _Classifier()
