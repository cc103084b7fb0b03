"""What is measured of a text, and the limits beyond which it is set aside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zen_pipeline.corpus.duplicates.normal_form import Texts
from zen_pipeline.corpus.validating.measures import explain, measure, reasons
from zen_pipeline.settings.data import ValidateConfig


def of(*texts: str) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in measure(Texts.of(texts)).items()}


_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\t\u3000\x85\x1c\ufffd\x007汉"))


@settings(max_examples=200, deadline=None)  # the first call compiles
@given(st.lists(_TEXT, max_size=5))
def test_the_compiled_counts_are_those_of_python(texts: list[str]) -> None:
    found = of(*texts)
    assert found["characters"] == [len(t) for t in texts]
    assert found["bytes"] == [len(t.encode()) for t in texts]
    assert found["visible"] == [len(t.strip()) for t in texts]
    assert found["words"] == [len(t.split()) for t in texts]
    assert found["longest_line"] == [max(map(len, t.split("\n"))) for t in texts]
    assert found["replacement_share"] == pytest.approx([t.count("\ufffd") / max(len(t), 1) for t in texts])
    assert found["digit_share"] == pytest.approx([sum(c in "0123456789" for c in t) / max(len(t), 1) for t in texts])


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("document", "short", "too short: 5 characters, at least 32"),
        ("document", " " * 99, "too short: 99 characters, at least 32"),
        ("translation", "Hi.\n嗨。", ""),
        ("chat", "嗨", ""),
        ("classification", "ok", ""),
        ("qa", " ", "too short: 1 characters, at least 1"),
        ("document", "x" * 201, "too long: 201 characters, at most 200"),
        ("document", "\ufffd" * 5 + "x" * 95, "too many replacement characters: 5.0%"),
        ("document", "\x00\x07" * 5 + "x" * 90, "too many control characters: 10.0%"),
    ],
)
def test_bad_records_get_a_reason_with_figures(kind: str, text: str, reason: str) -> None:
    config = ValidateConfig(max_characters=200)
    measures = {
        **measure(Texts.of([text, "a text that is long enough to be kept"])),
        "kind": np.array([kind, "document"], object),
    }
    why = reasons(measures, config)
    assert explain(why[0], {name: column[0] for name, column in measures.items()}, config) == reason
    assert why[1] == ""


def test_tabs_and_line_ends_are_no_control_characters() -> None:
    assert of("a\tb\r\n\f" * 20, "\x7f\x1b")["control_share"] == [0, 1]


def test_control_characters_that_cleaning_removed_count_as_if_they_were_there() -> None:
    before = measure(Texts.of(["a\x00b\x01", "text"]))["control_share"]
    after = measure(Texts.of(["ab", "text"]), np.array([2, 0]))["control_share"]
    assert after.tolist() == before.tolist() == [0.5, 0.0]


def test_one_limit_is_for_all_kinds_and_several_are_each_for_their_own() -> None:
    assert ValidateConfig(min_characters=5).shortest("chat") == 5
    several = ValidateConfig(min_characters={"document": 100, "chat": 8})
    assert [several.shortest(kind) for kind in ("document", "chat", "qa")] == [100, 8, 1]
