"""Which language a text is in: naive Bayes over byte n-grams (Lui & Baldwin 2012), with the model of py3langid.

The model knows 140 languages. Offered all of them, it takes clear Chinese for Wu and clear English for Nigerian
Pidgin; so it is asked about `LANGUAGES` only (docs/experiments.md has the figures).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

UNKNOWN = "und"  # ISO 639-2: undetermined
SURE = 0.5  # least score of an answer that is given; see docs/experiments.md
_PIECE = 500  # characters looked at in the beginning, and again in the middle of a longer text

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
    """The language of a text, from 500 characters of its beginning and 500 of its middle.

    `und` with score 0 for a text without letters, and `und` with the score of the likeliest language where that is
    below `at_least`: mostly texts of one or two words, and code.
    """
    sample = _sample(text)
    if not any(map(str.isalpha, sample)):
        return Guess(UNKNOWN, 0.0)
    language, score = _identifier().classify(sample)
    return Guess(language if score >= at_least else UNKNOWN, score)


def guess_language(text: str) -> str:
    """The two-letter code of the language, or `und` where that is not sure."""
    return identify(text).language


def _sample(text: str) -> str:
    if len(text) <= 2 * _PIECE:
        return text
    middle = max(len(text) // 2, _PIECE)
    return text[:_PIECE] + "\n" + text[middle : middle + _PIECE]


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
