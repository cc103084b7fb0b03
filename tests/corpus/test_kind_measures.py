"""What is measured of each kind of record."""

from __future__ import annotations

from typing import Any

import pytest

from zen_pipeline.corpus.kinds.kind_measures import KIND_COLUMNS, measure_kind


def say(role: str, content: str = "words") -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "turns", "alternate"),
    [
        ([say("user"), say("assistant")], 1, 1),
        ([say("system"), say("user"), say("assistant"), say("user"), say("assistant")], 2, 1),
        ([say("user"), say("user"), say("assistant")], 1, 0),
        ([say("assistant"), say("user")], 1, 0),
        ([say("user"), say("system"), say("assistant")], 1, 0),
        ([], 0, 1),
    ],
)
def test_chats(messages: list[dict[str, str]], turns: int, alternate: int) -> None:
    found = measure_kind("chat", {"messages": messages}, "")
    assert (found["chat.turns"], found["chat.roles_alternate"]) == (turns, alternate)
    assert found["chat.answer_characters"] == 5 * turns


def test_preferences_are_compared_without_case_and_spacing() -> None:
    found = measure_kind("preference", {"chosen": "Yes,  it is", "rejected": "yes, it IS "}, "")
    assert found["preference.chosen_equals_rejected"] == 1
    assert (found["preference.chosen_characters"], found["preference.rejected_characters"]) == (11, 10)
    assert measure_kind("preference", {"chosen": "a", "rejected": "b"}, "")["preference.chosen_equals_rejected"] == 0


def test_translations() -> None:
    pair = {"source": "good day", "target": "你好", "source_language": "en", "target_language": "zh"}
    assert measure_kind("translation", pair, "") == {
        "translation.source_characters": 8,
        "translation.target_characters": 2,
        "translation.length_ratio": 4,
        "translation.same_text": 0,
        "translation.same_language": 0,
    }
    empty = measure_kind("translation", {"source": "a side", "target": " "}, "")
    assert empty["translation.length_ratio"] == float("inf"), "no limit is met when one side is empty"
    copied = measure_kind("translation", {"source": "Hi", "target": "hi ", "source_language": "und"}, "")
    assert copied["translation.same_text"] == 1
    assert "translation.same_language" not in copied, "nobody said which languages they are"


@pytest.mark.parametrize(
    ("meta", "in_context", "offset_right"),
    [
        ({"answers": ["café"], "answer_starts": [4]}, 1, 1),
        ({"answers": ["café"], "answer_starts": [5]}, 1, 0),
        ({"answers": ["café"], "answer_starts": [-9]}, 1, 0),
        ({"answers": ["café", "tea"], "answer_starts": [4, 0]}, 0, 0),
        ({"answers": ["café"], "answer_starts": [4, 4]}, 1, 0),
        ({"answers": ["café"], "answer_starts": []}, 1, None),
        ({"answers": [], "answer_starts": []}, 0, None),
        ({"answers": [], "answer_starts": [], "impossible": True}, None, None),
    ],
)
def test_questions(meta: dict[str, Any], in_context: int | None, offset_right: int | None) -> None:
    found = measure_kind("qa", {"question": "where?", "context": "the café is", **meta}, "")
    assert found.get("qa.answer_in_context") == in_context
    assert found.get("qa.answer_offset_right") == offset_right


def test_a_question_without_a_context_has_no_answer_in_it() -> None:
    found = measure_kind("qa", {"question": "where?", "answers": ["here"]}, "")
    assert "qa.answer_in_context" not in found


def test_labels_are_kept_as_text() -> None:
    found = measure_kind("classification", {"label": 3, "text": " abc "}, "a rendering")
    assert found == {"classification.label": "3", "classification.characters": 3}
    assert measure_kind("classification", {"label": "x"}, "abcd")["classification.characters"] == 4


@pytest.mark.parametrize("kind", ["document", "chat", "preference", "translation", "qa", "classification"])
def test_fields_that_are_missing_count_as_empty_and_all_columns_are_known(kind: str) -> None:
    found = measure_kind(kind, {}, "text")
    assert set(found) <= set(KIND_COLUMNS)
    assert all(name.startswith(f"{kind}.") for name in found)
    for name, value in found.items():
        assert isinstance(value, str if KIND_COLUMNS[name] == "text" else float)
