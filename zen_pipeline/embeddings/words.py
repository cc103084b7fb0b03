"""Text in any script as words, and a corpus as word ids.

A word is a run of letters, combining marks, digits and inner underscores that holds at least one letter; apostrophes
join letters (`don't`). Words are lower-cased and in NFC. Numbers are not words. Runs of Han characters are cut into
words by jieba's dictionary and its hidden Markov model. Scripts that write without spaces and are not Han (Thai, Lao,
Khmer, Japanese kana) stay in one piece between other characters.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
import warnings
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.phrases import PHRASE_THRESHOLD, join_phrases
from zen_pipeline.errors import DataError

# Documents are trained in pieces of at most so many words, so that a book in one record is shuffled and can be stopped.
_LONGEST_PIECE = 10_000

# The script Han with the iteration mark and the number zero, which belong to words.
_HAN = re.compile("([\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+)")


def segment(text: str) -> list[str]:
    """The words of a text, in order."""
    text = normalize(text)
    find = _finder(marked=not (text.isascii() or _marks().isdisjoint(text)))
    if _HAN.search(text) is None:
        return find(text)
    return list(_mixed(text, find))


def normalize(text: str) -> str:
    """The form in which words are kept: NFC, lower case, one kind of apostrophe."""
    return unicodedata.normalize("NFC", text.lower()).replace("\u2019", "'")


def _mixed(text: str, find: Callable[[str], list[str]]) -> Iterator[str]:
    cut = _han_segmenter()
    for index, part in enumerate(_HAN.split(text)):  # odd parts are the runs of Han characters
        if index % 2:
            yield from cut(part)
        elif part:
            yield from find(part)


@functools.cache
def _marks() -> frozenset[str]:
    """The combining marks, which `re` does not count as part of a word; most scripts of India need them."""
    return frozenset(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M")


@functools.cache
def _finder(*, marked: bool) -> Callable[[str], list[str]]:
    """Finds the words of a text; looking for combining marks after every letter costs five times the time."""
    letter, inside = r"[^\W\d_]", r"\w*"
    if marked:
        inside = rf"\w*(?:[{''.join(map(re.escape, sorted(_marks())))}]+\w*)*"
    return re.compile(rf"\b_*(\d*{letter}{inside}(?<!_)(?:'{letter}{inside}(?<!_))*)").findall


@functools.cache
def _han_segmenter() -> Callable[[str], Iterable[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own: old escape sequences, pkg_resources
        import jieba

    segmenter: Any = jieba.Tokenizer()
    # The same as `initialize`, without its cache file: it lies in the machine's shared temporary folder, where
    # anybody could have put it.
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    cut: Callable[[str], Iterable[str]] = segmenter.cut
    return cut


@dataclass(frozen=True)
class WordCorpus:
    """Documents as word ids.

    Attributes:
        words: the vocabulary, by falling count, equal counts in the order of their code points.
        counts: (words,) int64, occurrences of each.
        ids: int32, the documents one after the other; rare words are left out.
        offsets: int64, start of each piece of a document in `ids`, plus the end.
        total: words of the text, rare ones included.
    """

    words: list[str]
    counts: NDArray[np.int64]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    total: int


def encode_corpus(
    texts: Iterable[str],
    *,
    min_count: int,
    max_words: int | None = None,
    phrases: int = 0,
    phrase_threshold: float = PHRASE_THRESHOLD,
) -> WordCorpus:
    """Segment texts and give each word that occurs at least `min_count` times an id.

    Args:
        texts: the documents, in the order that decides what `max_words` leaves out.
        min_count: rarer words are dropped; their neighbours move together, as in word2vec.
        max_words: stop after so many words.
        phrases: passes of phrase detection; each joins two words (or phrases) with an underscore.
        phrase_threshold: score from which two words are a phrase.

    Raises:
        DataError: no words at all, or all of them rarer than `min_count`.
    """
    found: defaultdict[str, int] = defaultdict()
    found.default_factory = found.__len__  # the next free id
    number = found.__getitem__
    ids, sizes = array("i"), [0]
    for text in texts:
        before = len(ids)
        ids.extend(map(number, segment(text)))
        if max_words is not None and len(ids) >= max_words:
            del ids[max_words:]
            sizes.append(len(ids) - before)
            break
        sizes.append(len(ids) - before)
    if not ids:
        raise DataError("the text holds no words (runs of letters): add documents with running text")
    words, all_ids, offsets = list(found), np.frombuffer(ids, dtype=np.int32), np.cumsum(sizes)
    for _ in range(phrases):
        words, all_ids, offsets = join_phrases(words, all_ids, offsets, min_count, phrase_threshold)
    return ranked_corpus(words, all_ids, offsets, min_count)


def ranked_corpus(found: list[str], ids: NDArray[np.int32], offsets: NDArray[np.int64], min_count: int) -> WordCorpus:
    """A corpus without its rare words, the others numbered by falling count.

    Args:
        found: all words.
        ids: their numbers in the text.
        offsets: start of each document in `ids`, plus the end.
        min_count: rarer words are dropped.

    Raises:
        DataError: all words are rare.
    """
    counts = np.bincount(ids, minlength=len(found))
    frequent = [index for index, count in enumerate(counts.tolist()) if count >= min_count]
    if not frequent:
        top = int(counts.argmax())
        raise DataError(
            f"no word occurs {min_count} times or more among {len(ids)} words (the most frequent occurs "
            f"{counts[top]} times): add text or lower embed.min_count"
        )
    frequent.sort(key=lambda index: (-counts[index], found[index]))
    rank = np.full(len(found), -1, np.int32)
    rank[frequent] = np.arange(len(frequent), dtype=np.int32)
    ranked = rank[ids]
    kept = ranked >= 0
    before = np.concatenate(([0], np.cumsum(kept)))
    return WordCorpus(
        words=[found[index] for index in frequent],
        counts=counts[frequent].astype(np.int64),
        ids=ranked[kept],
        offsets=_in_pieces(before[offsets]),
        total=len(ids),
    )


def _in_pieces(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    starts, sizes = offsets[:-1], np.diff(offsets)
    if not len(sizes) or sizes.max() <= _LONGEST_PIECE:
        return offsets.astype(np.int64)
    pieces = [np.arange(s, s + n, _LONGEST_PIECE) for s, n in zip(starts, sizes, strict=True) if n]
    return np.concatenate([*pieces, offsets[-1:]]).astype(np.int64)
