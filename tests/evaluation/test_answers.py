from __future__ import annotations

import pytest

from zen_pipeline.evaluation.answers import exact_match, most_frequent, normalize, token_f1


def test_case_punctuation_and_articles_do_not_count() -> None:
    assert normalize("The  Cat, sat; on A `mat`!") == ["cat", "sat", "on", "mat"]
    assert exact_match("Return an iterator.", "return the iterator") == 1.0
    assert exact_match("Return an iterator.", "return iterators") == 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("return the path", "Return the path.", 1.0),
        ("return the path", "close the file", 0.0),
        ("return path", "return path as string again", 4 / 7),  # precision 1, recall 2/5
        ("path path path", "path name", 2 / 5),  # a repeated word counts once: precision 1/3, recall 1/2
        ("", "path", 0.0),
        ("", "", 1.0),
        ("the", "a", 1.0),
    ],
)
def test_f1_is_the_harmonic_mean_over_words(answer: str, reference: str, f1: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(f1)
    assert token_f1(reference, answer) == pytest.approx(f1)


def test_chinese_is_compared_character_by_character() -> None:
    assert normalize("打开文件。open") == ["打", "开", "文", "件", "open"]
    assert token_f1("打开文件", "关闭文件") == pytest.approx(0.5)


def test_the_most_frequent_answer_does_not_depend_on_their_order() -> None:
    assert most_frequent(["b", "a", "b", "c"]) == "b"
    assert most_frequent(["b", "a"]) == most_frequent(["a", "b"]) == "a"
    with pytest.raises(ValueError, match="no answers"):
        most_frequent([])
