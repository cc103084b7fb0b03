from __future__ import annotations

import numpy as np
import pytest

from zen_pipeline.embeddings.words import encode_corpus


def texts(seed: int = 0) -> list[str]:
    """Texts in which "new york" and "new york times" stand together more often than chance."""
    random = np.random.default_rng(seed)
    filler = [f"f{chr(97 + i)}" for i in range(20)]
    found = []
    for _ in range(300):
        words = list(random.choice(filler, 20))
        words[3:3] = ["new", "york"] if random.random() < 0.5 else ["new", "york", "times"]
        found.append(" ".join(words))
    return found


def test_words_that_belong_together_become_one() -> None:
    corpus = encode_corpus(texts(), min_count=5, phrases=1, phrase_threshold=10)
    assert "new_york" in corpus.words
    assert corpus.counts[corpus.words.index("new_york")] == 300
    assert "new" not in corpus.words
    assert sum("_" in word for word in corpus.words) == 1


def test_a_second_pass_joins_phrases() -> None:
    corpus = encode_corpus(texts(), min_count=5, phrases=2, phrase_threshold=10)
    assert {"new_york", "new_york_times"} <= set(corpus.words)


def test_the_score_is_the_original_programs() -> None:
    lines = texts()
    words = " ".join(lines).split()
    together = sum("new york" in line for line in lines)
    score = (together - 5) / words.count("new") / words.count("york") * len(words)
    for threshold, found in ((score * 0.999, True), (score * 1.001, False)):
        corpus = encode_corpus(lines, min_count=5, phrases=1, phrase_threshold=threshold)
        assert ("new_york" in corpus.words) == found


def test_phrases_are_taken_from_left_to_right_and_do_not_cross_documents() -> None:
    corpus = encode_corpus(["aa aa aa", *["aa"] * 5, "bb cc"] * 3, min_count=1, phrases=1, phrase_threshold=0)
    ids = [corpus.words[i] for i in corpus.ids]
    documents = [ids[a:b] for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)]
    assert documents[:2] == [["aa_aa", "aa"], ["aa"]]
    assert documents[6] == ["bb_cc"]
    assert [len(d) for d in documents] == [2, 1, 1, 1, 1, 1, 1] * 3


def test_a_phrase_that_is_written_as_a_word_is_that_word() -> None:
    corpus = encode_corpus([*["new_york"] * 7, *["new york x y z"] * 50], min_count=1, phrases=1, phrase_threshold=1)
    assert corpus.counts[corpus.words.index("new_york")] == 57


@pytest.mark.parametrize("text", ["a", "a b"])
def test_texts_without_phrases_stay_as_they_are(text: str) -> None:
    assert "_" not in "".join(encode_corpus([text], min_count=1, phrases=2).words)
