"""Contamination: which training texts share runs of words with protected ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zen_pipeline.corpus.duplicates.contamination import Evidence, Protected, Verdicts, Window, run_in, window_hashes
from zen_pipeline.corpus.duplicates.normal_form import Texts, normal_form
from zen_pipeline.settings.data import ContaminationConfig


def of(*texts: str) -> Texts:
    return Texts.of([normal_form(text) for text in texts])


def judge(protected: list[str], training: list[str], folder: Path | None = None, **options: object) -> Verdicts:
    config = ContaminationConfig.model_validate(options)
    window = Window.of(config)
    hashes, counts = window_hashes(of(*protected), window)
    known = Protected.build([(hashes, np.repeat(np.arange(len(protected)), counts))])
    if folder is not None:
        known.save(folder)
        known = Protected.open(folder)
    evidence = Evidence(known, config)
    for row, text in enumerate(training):
        evidence.add(known.look_up(of(text), window), np.array([row]))
    return evidence.verdicts()


def prose(seed: int, count: int) -> str:
    random = np.random.Generator(np.random.PCG64(seed))
    return " ".join(f"w{n}" for n in random.integers(0, 10_000, count))


def test_a_run_of_thirteen_words_is_found_and_one_of_twelve_is_not(tmp_path: Path) -> None:
    leak = prose(1, 13).split()
    training = [
        f"{prose(2, 50)} {' '.join(leak)} {prose(3, 50)}",
        f"{prose(4, 50)} {' '.join(leak[:12])} {prose(5, 50)}",
    ]
    found = judge([prose(6, 40), f"{prose(7, 30)} {' '.join(leak)} {prose(8, 30)}"], training, tmp_path)
    assert (found.rows.tolist(), found.shared.tolist(), found.windows.tolist()) == ([0], [1], [101])
    assert found.owners.tolist() == [1]


NUMBERS = "1 2 1 1 1 6 0 0 0 4 2 0 0 0 1 3 1 0"


@pytest.mark.parametrize(
    ("protected", "training"),
    [
        (f"你好，今天怎么样？\t{NUMBERS}", f"Wie geht es dir heute? Danke, sehr gut.\t{NUMBERS}"),
        (f"{NUMBERS} thanks fine", f"{NUMBERS} thanks fine"),
        ("2019-01-02 10:30 3.5 4.25 7 8 9", "2019-01-02 10:30 3.5 4.25 7 8 9"),
    ],
)
def test_rows_of_numbers_are_no_evidence(protected: str, training: str) -> None:
    assert judge([protected], [training, prose(1, 50)]).rows.tolist() == []


def test_numbers_within_a_run_of_words_are_part_of_it() -> None:
    leak = "in 1903 they sold 12 boats to the harbour of the town for 300 crowns each"
    assert judge([leak], [leak, leak.replace("1903", "1904").replace("12", "13")]).rows.tolist() == [0]


def test_the_run_that_is_shared_is_shown() -> None:
    leak = prose(1, 13)
    text = f"{prose(2, 20)} {leak.upper()}! {prose(3, 20)}"
    found = judge([f"{prose(4, 9)} {leak}"], [text])
    assert run_in(text, found.runs[0], Window.of(ContaminationConfig())) == leak
    assert run_in("another text", found.runs[0], Window.of(ContaminationConfig())) == ""


def test_case_spacing_and_punctuation_hide_nothing() -> None:
    leak = prose(1, 20)
    hidden = "  ".join(f"“{word.upper()}”," for word in leak.split()) + "\n"
    assert judge([leak], [prose(2, 30), hidden]).rows.tolist() == [1]


def test_scripts_without_spaces_are_compared_by_fifty_characters() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    text = "".join(chr(0x4E00 + n) for n in random.integers(0, 3000, 150))
    training = [f"他说，{text[20:70]}。好", f"他说，{text[20:69]}。好"]
    assert judge([text], training).rows.tolist() == [0]


def test_runs_of_words_and_characters_mixed_are_found_wherever_they_stand() -> None:
    mixed = "训练 the model 用 these words 然后测试 how well it reads 中文 and english 混合的文本 in one line of text"
    training = [f"{prose(3, 20)} 前面 {mixed.upper()} 后面 {prose(4, 20)}", prose(5, 60)]
    assert judge([mixed], training).rows.tolist() == [0]


def test_phrases_that_many_training_documents_share_are_no_leak() -> None:
    licence, leak = prose(1, 20), prose(2, 20)
    training = [f"{prose(seed, 10)} {licence}" for seed in range(10, 21)] + [leak]
    assert judge([licence, leak], training).rows.tolist() == [11]
    assert judge([licence, leak], training[1:]).rows.tolist() == list(range(11))  # ten documents are not too many
    assert judge([licence, leak], training, boilerplate_documents=None).rows.tolist() == list(range(12))


def test_a_share_may_be_allowed() -> None:
    leak = prose(1, 20)
    training = [f"{leak} {prose(2, 380)}", f"{leak} {prose(3, 20)}"]  # 8 of 388 runs, and 8 of 28
    assert judge([leak], training, max_overlap=0.1).rows.tolist() == [1]
    assert judge([leak], training).rows.tolist() == [0, 1]


def test_the_text_that_shares_most_is_named() -> None:
    first, second = prose(1, 40), prose(2, 40)
    training = [f"{' '.join(first.split()[:14])} {second}"]
    found = judge([first, second], training)
    assert (found.owners.tolist(), found.shared.tolist()) == ([1], [30])


def test_nothing_protected_and_nothing_long_enough_is_no_error() -> None:
    assert len(judge(["too short to hold a run"], [prose(1, 50), ""]).rows) == 0


_WORD = st.sampled_from(["a", "b", "of", "汉", "字", "แ", "x1", "été"])


@settings(deadline=None, max_examples=100)
@given(st.lists(_WORD, max_size=80), st.lists(_WORD, max_size=10), st.lists(_WORD, max_size=10))
def test_every_run_of_a_text_is_found_inside_any_other(run: list[str], before: list[str], after: list[str]) -> None:
    window = Window(5, 2, 10)  # runs of two words, five characters, or both in proportion
    alone, _ = window_hashes(of(" ".join(run)), window)
    inside, _ = window_hashes(of(" ".join([*before, *run, *after])), window)
    assert set(alone.tolist()) <= set(inside.tolist())


@settings(deadline=None, max_examples=100)
@given(st.lists(_WORD, max_size=60))
def test_windows_are_the_shortest_runs_of_enough_weight(units: list[str]) -> None:
    window = Window(5, 2, 10)
    weights = [2 if unit in "汉字แ" else 5 for unit in units]
    expected = []
    for end in range(1, len(units) + 1):
        starts = [s for s in range(end) if sum(weights[s:end]) >= 10]
        if starts:
            expected.append(tuple(units[max(starts) : end]))
    hashes, counts = window_hashes(of(" ".join(units)), window)
    assert counts.tolist() == [len(expected)]
    assert len(set(hashes.tolist())) == len(set(expected))
    assert len({*zip(hashes.tolist(), expected, strict=True)}) == len(set(expected))
