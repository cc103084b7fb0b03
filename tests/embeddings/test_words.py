from __future__ import annotations

import numpy as np
import pytest

from zen_pipeline.embeddings.words import encode_corpus, segment
from zen_pipeline.errors import DataError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don\u2019t PANIC, reader's!", ["don't", "panic", "reader's"]),
        ("os.path __init__ max_iter foo_ 'quoted'", ["os", "path", "init", "max_iter", "foo", "quoted"]),
        ("in 1990 the 2nd 3D x86 12.5", ["in", "the", "2nd", "3d", "x86"]),
        ("L'ÉTÉ Straße Жизнь", ["l'été", "straße", "жизнь"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("हिन्दी में लिखना", ["हिन्दी", "में", "लिखना"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("北京大学的Python课程很好", ["北京大学", "的", "python", "课程", "很", "好"]),
        ("３月 … 42 !?", ["月"]),
        ("", []),
    ],
)  # fmt: skip
def test_words_of_many_scripts(text: str, words: list[str]) -> None:
    assert segment(text) == words


def test_a_text_with_marks_is_cut_like_one_without() -> None:
    plain = "Don't stop_me _private_ 2nd 1990 b__c"
    assert segment(plain + " में") == [*segment(plain), "में"]


def test_the_vocabulary_is_ordered_by_count_then_word() -> None:
    corpus = encode_corpus(["b a c b", "rare d c d b"], min_count=2)
    assert corpus.words == ["b", "c", "d"]
    assert corpus.counts.tolist() == [3, 2, 2]
    assert [corpus.words[i] for i in corpus.ids] == ["b", "c", "b", "d", "c", "d", "b"]
    assert corpus.offsets.tolist() == [0, 3, 7]
    assert corpus.total == 9


def test_ids_are_those_of_a_plain_count(shared_data) -> None:
    from collections import Counter

    text = (shared_data("tinyshakespeare") / "input.txt").read_text(encoding="utf-8")
    corpus = encode_corpus(text.split("\n\n"), min_count=5)
    counts = Counter(segment(text))
    expected = sorted((w for w in counts if counts[w] >= 5), key=lambda w: (-counts[w], w))
    assert corpus.words == expected
    assert corpus.counts.tolist() == [counts[w] for w in expected] == np.bincount(corpus.ids).tolist()
    kept = [w for w in segment(text) if counts[w] >= 5]
    assert [corpus.words[i] for i in corpus.ids] == kept


def test_max_words_stops_in_the_middle_of_a_document() -> None:
    corpus = encode_corpus(["a b", "a b a b a b", "c c c"], min_count=1, max_words=5)
    assert corpus.total == 5
    assert corpus.offsets.tolist() == [0, 2, 5]


def test_a_book_is_trained_in_pieces() -> None:
    corpus = encode_corpus(["a b " * 12_000, "", "a b"], min_count=1)
    assert corpus.offsets.tolist() == [0, 10_000, 20_000, 24_000, 24_002]


def test_no_words_and_only_rare_words_are_errors() -> None:
    with pytest.raises(DataError, match="holds no words"):
        encode_corpus(["123 456", "…"], min_count=1)
    with pytest.raises(DataError, match="no word occurs 5 times or more among 4 words") as error:
        encode_corpus(["one two", "two three"], min_count=5)
    assert "embed.min_count" in str(error.value)
