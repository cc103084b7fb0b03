"""The published quality rules of Gopher and C4, with their thresholds and their names.

Gopher: Rae et al. 2021, "Scaling Language Models", appendix A1.1. C4: Raffel et al. 2020, section 2.2, with the limits
of its reference code (TensorFlow Datasets, `c4_utils.py`). They were made for English pages of the web. Here they know
three things more: scripts without spaces, in which every character counts as a word; stop words of other languages;
CJK punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property

from zen_pipeline.corpus.cleaning.repetition import failed_repetition

WITHOUT_SPACES = frozenset({"zh", "ja", "th"})

# The eight words of Gopher, and as many of the most frequent function words of other languages.
STOP_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the be to of and that have with",
        "de": "der die und in den von zu das",
        "fr": "de la le et les des en un",
        "es": "de la que el en y los del",
        "it": "di e il la che in a per",
        "pt": "de a o que e do da em",
        "nl": "de en van het een in is dat",
        "zh": "的 是 了 在 不 和 有 这",
        "ja": "の は に を た が で と",
    }.items()
}

_UNITS = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\\W_]+|[^\\w\\s]+|_+")
_PUNCTUATION = re.compile(r"[\W_]+")
_ALPHABETIC = re.compile(r"[^\W\d_]")
_BULLETS = ("•", "-", "*", "‣", "●", "◦")
_ELLIPSES = ("...", "…")

_END_MARKS = (".", "?", "!", '"', "”", "。", "！", "？", "」", "』", "｡")
_SENTENCE_END = re.compile(r"""[.?!]["'”’)\]]*(?=\s|$)|[。！？｡]""")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class Profile:
    """A text as the rules look at it; what only some rules need is made when it is asked for."""

    def __init__(self, text: str, language: str) -> None:
        self.text = text
        self.language = language
        self.spaced = language not in WITHOUT_SPACES

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, without spaces around them."""
        return [stripped for line in self.text.split("\n") if (stripped := line.strip())]

    @cached_property
    def words(self) -> list[str]:
        """What stands between spaces; in scripts without spaces every character, and runs of anything else."""
        return self.text.split() if self.spaced else _UNITS.findall(self.text)

    @cached_property
    def real_words(self) -> list[str]:
        """The words that are more than punctuation."""
        return [word for word in self.words if word.isalnum() or not _PUNCTUATION.fullmatch(word)]


def failed_gopher_quality(text: str, language: str) -> list[str]:
    """Names of the rules of "Quality filtering" that the text does not meet."""
    page = Profile(text, language)
    words, lines = max(len(page.words), 1), max(len(page.lines), 1)
    counted = len(page.real_words)
    failed = []
    if counted < 50:
        failed.append("gopher: too few words")
    if counted > 100_000:
        failed.append("gopher: too many words")
    if page.spaced and counted:
        mean = sum(map(len, page.real_words)) / counted
        if not 3 <= mean <= 10:
            failed.append(f"gopher: words too {'short' if mean < 3 else 'long'}")
    if text.count("#") / words > 0.1:
        failed.append("gopher: too many hash signs")
    if sum(map(text.count, _ELLIPSES)) / words > 0.1:
        failed.append("gopher: too many ellipses")
    if sum(line.startswith(_BULLETS) for line in page.lines) / lines > 0.9:
        failed.append("gopher: too many bullet points")
    if sum(line.endswith(_ELLIPSES) for line in page.lines) / lines > 0.3:
        failed.append("gopher: too many lines ending in an ellipsis")
    alphabetic = sum(word.isalpha() or bool(_ALPHABETIC.search(word)) for word in page.words)
    if alphabetic / words < 0.8:
        failed.append("gopher: too few alphabetic words")
    stop_words = STOP_WORDS.get(language)
    if stop_words and len(stop_words.intersection(page.words)) < 2:
        failed.append("gopher: too few stop words")
    return failed


def failed_gopher_repetition(text: str, language: str) -> list[str]:
    """Names of the rules of "Repetition removal" (table A1) that the text does not meet."""
    return failed_repetition(text, Profile(text, language).words)


def c4_lines(text: str, language: str) -> tuple[str, int]:
    """The text without the lines that C4 removes, and how many those were.

    They end in no terminal punctuation mark, end in an ellipsis, have fewer than 5 words, a word of more than 1,000
    characters, the word "javascript", or a phrase about cookies and terms of use. Citation marks such as `[1]` go too.
    """
    kept, removed = [], 0
    for line in text.split("\n"):
        cleaned = _CITATION.sub("", line).strip() if "[" in line else line.strip()
        if _keeps(cleaned, language):
            kept.append(cleaned)
        else:
            removed += bool(cleaned)
    return "\n".join(kept), removed


def _keeps(line: str, language: str) -> bool:
    if not line.endswith(_END_MARKS) or line.endswith("..."):
        return False
    words = line.split() if language not in WITHOUT_SPACES else _UNITS.findall(line)
    if len(words) < 5 or max(map(len, words)) > 1000:
        return False
    lower = line.lower()
    return "javascript" not in lower and not any(phrase in lower for phrase in _POLICIES)


def failed_c4(text: str, language: str) -> list[str]:
    """Names of the rules about whole pages that the text, after `c4_lines`, does not meet."""
    failed = []
    if "{" in text:
        failed.append("c4: curly bracket")
    if "lorem ipsum" in text.lower():
        failed.append("c4: lorem ipsum")
    if len(_SENTENCE_END.findall(c4_lines(text, language)[0])) < 3:
        failed.append("c4: too few sentences")
    return failed


RULES: dict[str, Callable[[str, str], Sequence[str]]] = {
    "gopher_quality": failed_gopher_quality,
    "gopher_repetition": failed_gopher_repetition,
    "c4": failed_c4,
}
