"""One record through all steps: counted, switchable, the same when it is done twice, and never an exception."""

from __future__ import annotations

import json
import pickle
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zen_pipeline.corpus.cleaning import Cleaned, Cleaner
from zen_pipeline.corpus.kinds.kinds import rendering
from zen_pipeline.corpus.records import Kind, Record
from zen_pipeline.settings.data import CleanSettings

DIRTY = "\ufeffIt\x92s\r\nopen e\u0301very day\x07; write to bob@firm.com, or call +41 44 668 18 00."
PROSE = "The weather was fine, and so we walked along the river until it was dark. "
OFF: dict[str, Any] = dict.fromkeys(["encoding", "line_ends", "control", "invisible", "nfc"], False)
OFF["personal_data"] = "ignore"


def record(text: str, kind: Kind = "document", /, **meta: Any) -> Record:
    if kind != "document":
        text = rendering(kind, meta)
    return Record("id", "group", text, "file.txt", "und", kind=kind, meta=json.dumps(meta, ensure_ascii=False))


def clean(text: str, **changed: Any) -> Cleaned:
    return Cleaner(CleanSettings(**changed)).clean(record(text))


def test_every_step_is_counted() -> None:
    cleaned = clean(DIRTY)
    assert cleaned.record.text == "It’s\nopen évery day; write to <EMAIL>, or call <PHONE>."
    steps = {"encoding": 1, "line_ends": 1, "control": 1, "invisible": 1, "nfc": 1, "personal data": 2}
    assert cleaned.changes == steps
    assert cleaned.personal == {"email": 1, "phone": 1}
    assert cleaned.reason == ""
    assert (cleaned.record.language, cleaned.record.id) == ("en", "id")


@pytest.mark.parametrize("step", ["encoding", "line_ends", "control", "invisible", "nfc"])
def test_every_step_can_be_switched_off(step: str) -> None:
    assert step not in clean(DIRTY, **{step: False}).changes


def test_with_everything_off_nothing_is_changed_and_the_language_is_still_told() -> None:
    cleaned = clean(DIRTY, **OFF)
    assert cleaned.record.text == DIRTY
    assert (cleaned.changes, cleaned.personal) == ({}, {})
    assert cleaned.record.language == "en"


def test_a_clean_record_comes_back_as_it_was() -> None:
    cleaned = clean(PROSE)
    assert cleaned.record.text is PROSE
    assert (cleaned.changes, cleaned.personal, cleaned.reason, cleaned.failed) == ({}, {}, "", ())
    assert cleaned.language_score > 0.9


# --- language ---------------------------------------------------------------------------------------------------------


def test_records_in_other_languages_are_set_aside_with_the_language() -> None:
    french = "Il faisait beau, et nous avons marché le long de la rivière jusqu'à la nuit."
    assert clean(french, languages=["en", "zh"]).reason == "language: fr"
    assert clean(PROSE, languages=["en", "zh"]).reason == ""
    assert clean(french).reason == ""


def test_texts_too_short_to_say_are_kept_only_when_that_is_asked_for() -> None:
    assert clean("42 + 1", languages=["en"]).reason == "language: und"
    assert clean("42 + 1", languages=["en", "und"]).reason == ""


# --- personal data ----------------------------------------------------------------------------------------------------


def test_personal_data_is_replaced_reported_dropped_or_ignored() -> None:
    text = PROSE + "Write to bob@firm.com."
    assert clean(text).record.text == PROSE + "Write to <EMAIL>."
    reported, dropped, ignored = (clean(text, personal_data=action) for action in ("report", "drop", "ignore"))
    assert [c.record.text for c in (reported, dropped, ignored)] == [text] * 3
    assert [c.personal for c in (reported, dropped, ignored)] == [{"email": 1}, {"email": 1}, {}]
    assert [c.reason for c in (reported, dropped, ignored)] == ["", "personal data: email", ""]


def test_a_type_can_have_an_action_of_its_own() -> None:
    cleaned = clean("Write to bob@firm.com from 93.184.216.34.", personal_types={"ip": "report"})
    assert cleaned.record.text == "Write to <EMAIL> from 93.184.216.34."
    assert cleaned.personal == {"email": 1, "ip": 1}


# --- quality ----------------------------------------------------------------------------------------------------------


def test_quality_rules_are_off_by_default_and_set_aside_or_report_when_named() -> None:
    assert clean("Too short.").failed == ()
    found = clean("Too short.", quality=["gopher_quality", "c4"])
    assert found.reason == "gopher: too few words"
    assert {"gopher: too few words", "c4: too few sentences"} <= set(found.failed)
    reported = clean("Too short.", quality=["gopher_quality"], quality_action="report")
    assert (reported.reason, reported.failed[0]) == ("", "gopher: too few words")


def test_the_lines_that_c4_removes_are_gone_and_counted_unless_it_only_reports() -> None:
    text = f"Home | About\n{PROSE}\nIt rained in the evening. We went home and slept.\n"
    cleaned = clean(text, quality=["c4"])
    assert cleaned.record.text == f"{PROSE.strip()}\nIt rained in the evening. We went home and slept."
    assert (cleaned.changes, cleaned.reason) == ({"c4 lines": 1}, "")
    assert clean(text, quality=["c4"], quality_action="report").record.text == text


def test_quality_rules_judge_documents_only() -> None:
    cleaner = Cleaner(CleanSettings(quality=["gopher_quality", "c4"]))
    assert cleaner.clean(record("", "classification", text="Nice.", label="good")).reason == ""


# --- markup -----------------------------------------------------------------------------------------------------------

HTML = "<!DOCTYPE html>\n<html><head><title>T</title></head><body><h1>News</h1><p>It &amp; that.</p></body></html>"


def test_whole_pages_become_text_only_when_that_is_asked_for() -> None:
    assert clean(HTML).record.text == HTML
    cleaned = clean(HTML, markup=True)
    assert cleaned.record.text == "# News\n\nIt & that."
    assert cleaned.changes == {"markup": 1}


@pytest.mark.parametrize(
    "text", ["# A heading\n\n<b>bold</b> in Markdown", "if a < b and c > d: pass", "```html\n<html></html>\n```"]
)
def test_markdown_and_code_are_no_pages(text: str) -> None:
    assert clean(text, markup=True).record.text == text


def test_a_page_too_deep_to_parse_stays_as_it_is() -> None:
    page = "<html>" + "<div>" * 600 + "text"
    assert clean(page, markup=True).record.text == page


# --- structured records -----------------------------------------------------------------------------------------------


def test_the_messages_of_a_chat_are_cleaned_and_its_text_follows() -> None:
    messages = [{"role": "user", "content": "CafÃ©?"}, {"role": "assistant", "content": "Ask bob@firm.com\r\nnow"}]
    cleaned = Cleaner(CleanSettings()).clean(record("", "chat", messages=messages))
    meta = json.loads(cleaned.record.meta)
    assert [message["content"] for message in meta["messages"]] == ["Café?", "Ask <EMAIL>\nnow"]
    assert cleaned.record.text == rendering("chat", meta)
    assert cleaned.personal == {"email": 1}


def test_preferences_pairs_and_labelled_texts_are_cleaned_field_by_field() -> None:
    cleaner = Cleaner(CleanSettings())
    prompt = [{"role": "user", "content": "a\x00b"}]
    found = cleaner.clean(record("", "preference", prompt=prompt, chosen="c\x00", rejected="d\x00"))
    assert json.loads(found.record.meta) == {
        "prompt": [{"role": "user", "content": "ab"}],
        "chosen": "c",
        "rejected": "d",
    }
    pair = {"source": "Ja\r\n", "target": "Yes\r\n", "source_language": "de", "target_language": "en"}
    found = cleaner.clean(record("", "translation", **pair))
    assert json.loads(found.record.meta) == {**pair, "source": "Ja\n", "target": "Yes\n"}
    found = cleaner.clean(record("", "classification", text="cafÃ©", label="Ã©"))
    assert json.loads(found.record.meta) == {"text": "café", "label": "Ã©"}  # a label is a name, not a text


def test_the_language_of_a_pair_is_the_one_that_its_data_names() -> None:
    pair = {"source": "Ja", "target": "Yes, it is.", "source_language": "de", "target_language": "en"}
    named = Record("id", "g", rendering("translation", pair), "f", "de", kind="translation", meta=json.dumps(pair))
    assert Cleaner(CleanSettings()).clean(named).record.language == "de"


def question(context: str, answers: list[str], starts: list[int]) -> Record:
    fields = {"question": "Where?", "context": context, "answers": answers, "answer_starts": starts}
    return record("", "qa", **fields, impossible=False)


def test_answers_are_found_again_in_a_context_that_has_moved() -> None:
    context = "\ufeffBob (bob@firm.com) met Bob in Ko\u0308ln;\r\nBob likes Köln."
    third, city = context.rindex("Bob"), context.index("Ko")
    asked = question(context, ["Bob", "Ko\u0308ln"], [third, city])
    cleaned = Cleaner(CleanSettings()).clean(asked)
    # The decomposed Köln becomes the first of two, so its number no longer says which one it is.
    assert cleaned.reason == "cleaning: an answer is not found again in its context"
    assert cleaned.record == asked
    cleaned = Cleaner(CleanSettings()).clean(question(context, ["Bob"], [third]))
    fields = json.loads(cleaned.record.meta)
    assert fields["context"] == "Bob (<EMAIL>) met Bob in Köln;\nBob likes Köln."
    assert fields["answer_starts"] == [fields["context"].rindex("Bob")]


def test_an_answer_that_is_hidden_stays_an_answer() -> None:
    context = "Write to bob@firm.com."
    fields = json.loads(Cleaner(CleanSettings()).clean(question(context, ["bob@firm.com"], [9])).record.meta)
    assert (fields["answers"], fields["answer_starts"]) == (["<EMAIL>"], [9])


def test_an_answer_that_stands_nowhere_still_does() -> None:
    fields = json.loads(Cleaner(CleanSettings()).clean(question("a\r\nb", ["c"], [-1])).record.meta)
    assert (fields["context"], fields["answer_starts"]) == ("a\nb", [-1])


def test_a_wrong_place_is_not_touched_where_nothing_has_changed() -> None:
    asked = question("Bob met Bob.", ["Bob"], [3])
    cleaned = Cleaner(CleanSettings()).clean(asked)
    assert (cleaned.record.meta, cleaned.reason) == (asked.meta, "")


@pytest.mark.parametrize(
    ("kind", "meta"),
    [("chat", {}), ("chat", {"messages": [1]}), ("qa", {"context": 1}), ("preference", {"prompt": None})],
)
def test_fields_of_another_kind_are_a_reason_and_no_exception(kind: Kind, meta: dict[str, Any]) -> None:
    broken = Record("id", "g", "text", "f", "en", kind=kind, meta=json.dumps(meta))
    assert Cleaner(CleanSettings()).clean(broken).reason.startswith("cleaning: the fields are not those of a")


def test_a_text_of_which_nothing_is_left_is_a_reason() -> None:
    found = Cleaner(CleanSettings()).clean(record("", "classification", text="\x00\x01", label="x"))
    assert found.reason == "cleaning: nothing is left of one of its texts"


# --- what holds for any text ------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "Ã©",
        "\r\n",
        "\x00",
        "\u200b",
        "e\u0301",
        "bob@firm.com",
        "+41 44 668 18 00",
        "4111 1111 1111 1111",
        "phone ",
        "…",
        "93.184.216.34",
        "<html>",
        "password=x7Gq2Lw9ZrT4",
        "The end of it all was near.\n",
        "今天天气很好。",
        "\u0338",
        "#",
    ]
)
TEXTS = st.lists(PIECES | st.text(st.characters(exclude_categories=()), max_size=8), max_size=12).map("".join)
EVERYTHING = Cleaner(CleanSettings(markup=True, quality=["gopher_quality", "gopher_repetition", "c4"]))


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    for cleaner in (Cleaner(CleanSettings()), EVERYTHING):
        once = cleaner.clean(record(text))
        twice = cleaner.clean(once.record)
        assert twice.record == once.record
        assert (twice.changes, twice.personal) == ({}, {})
        assert twice.reason == once.reason
        assert unicodedata.is_normalized("NFC", once.record.text)


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS, st.integers(0, 20))
def test_the_answer_stands_where_it_is_said_to_or_the_record_is_set_aside(before: str, answer: str, rest: int) -> None:
    context = before + answer + before[:rest]
    cleaned = EVERYTHING.clean(question(context, [answer], [len(before)]))
    if not cleaned.reason:
        fields = json.loads(cleaned.record.meta)
        start = fields["answer_starts"][0]
        assert fields["context"][start:].startswith(fields["answers"][0])
        assert EVERYTHING.clean(cleaned.record).record == cleaned.record


def test_a_cleaner_can_be_sent_to_another_process() -> None:
    cleaner = pickle.loads(pickle.dumps(EVERYTHING))  # noqa: S301 - our own bytes
    assert cleaner.clean(record(DIRTY)) == EVERYTHING.clean(record(DIRTY))
