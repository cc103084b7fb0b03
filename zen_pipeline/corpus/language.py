"""A cheap guess of a text's language from its head: enough to count, not to filter by."""

from __future__ import annotations

import re

_HEAD = 2000  # characters that are looked at
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_LETTERS = re.compile(r"[^\W\d_]")
_WORDS = re.compile(r"[a-z]+")
# The function words that no English text of a few sentences does without.
_ENGLISH_WORDS = """
    the of and a to in is it that for be are or with as by if on this not an from at was you
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())


def guess_language(text: str) -> str:
    """`zh`, `en`, or `und` when it is neither, or too short to say.

    Chinese: at least 30 % of the letters are Han characters and hardly any are kana or hangul. English: at least 8 %
    of the words are frequent English function words.
    """
    head = text[:_HEAD]
    if not head.isascii():
        letters = len(_LETTERS.findall(head)) or 1
        if len(_CJK.findall(head)) / letters >= 0.3:
            return "zh" if len(_KANA_HANGUL.findall(head)) / letters < 0.05 else "und"
    words = _WORDS.findall(head.lower())
    common = sum(word in _ENGLISH for word in words)
    return "en" if words and common / len(words) >= 0.08 else "und"
