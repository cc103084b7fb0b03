"""Records on disk, excerpts, duplicates, measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zen_pipeline.corpus.deduplicate import SeenTexts
from zen_pipeline.corpus.measures import explain, measure
from zen_pipeline.corpus.records import Record, excerpt, read_records, record_writer
from zen_pipeline.settings.data import ValidateConfig


def record(text: str, identity: str = "a", **more: str) -> Record:
    return Record(identity, "g", text, "s", "en", **more)  # type: ignore[arg-type]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [
        Record(
            str(n), "g", f"text {n} 汉字 \0", "s", "zh", ["train", "test", None][n % 3], "chat" if n % 2 else "document"
        )
        for n in range(20_000)
    ]
    path = tmp_path / "records.parquet"
    with record_writer(path) as writer:
        for one in records:
            writer.write(one)
    assert list(read_records(path)) == records
    assert list(read_records(path, kind="chat", split="test")) == [
        r for r in records if r.kind == "chat" and r.split == "test"
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to ann.lee@example.co.uk now", "write to <e-mail> now"),
        ("call 030 1234 5678 9 today", "call <number> today"),
        ("in 2024, 12345 of them", "in 2024, 12345 of them"),
        ("two\nlines\x1b[0m", "two lines [0m"),
        ("\ud800", "?"),
    ],
)
def test_excerpts_are_masked_and_printable(text: str, shown: str) -> None:
    assert excerpt(text) == shown


def test_excerpts_are_masked_before_they_are_cut() -> None:
    shown = excerpt("x" * 76 + " somebody@example.com")
    assert len(shown) <= 80
    assert "somebody" not in shown
    assert shown.endswith("…")


def test_duplicates_are_found_across_case_spacing_and_unicode_form() -> None:
    seen = SeenTexts()
    assert seen.duplicate_of(record("Caf\u00e9  au lait", "first")) is None
    assert seen.duplicate_of(record("cafe\u0301 au\nLAIT", "second")) == "first"
    assert seen.duplicate_of(record("tea", "third")) is None


def test_the_same_docstring_under_another_name_is_a_duplicate() -> None:
    meta = json.dumps({"object": "function"})
    seen = SeenTexts()
    assert seen.duplicate_of(record("a.f(x)\n\nDo it.", "a.f", meta=meta)) is None
    assert seen.duplicate_of(record("b.f(x)\n\nDo it.", "b.f", meta=meta)) == "a.f"
    assert seen.duplicate_of(record("b.f(x)\n\nDo it.", "plain")) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("short", "too short: 5 characters, at least 32"),
        (" " * 99, "too short: 99 characters, at least 32"),
        ("x" * 201, "too long: 201 characters, at most 200"),
        ("\ufffd" * 5 + "x" * 95, "too many replacement characters: 5.0%"),
        ("\x00\x07" * 5 + "x" * 90, "too many control characters: 10.0%"),
    ],
)
def test_bad_records_get_a_reason_with_figures(text: str, reason: str) -> None:
    config = ValidateConfig(max_characters=200)
    measures = measure(record(text), duplicate_of=None, config=config)
    assert explain(measures, config) == reason


def test_tabs_and_line_ends_are_no_control_characters() -> None:
    assert measure(record("a\tb\r\n" * 20), duplicate_of=None, config=ValidateConfig()).control_share == 0


def test_duplicates_stay_when_they_are_wanted() -> None:
    text = "a text that is long enough to be kept"
    kept = measure(record(text), duplicate_of="x", config=ValidateConfig(deduplicate=False))
    gone = measure(record(text), duplicate_of="x", config=ValidateConfig())
    assert (kept.reason, gone.reason, kept.duplicate_of) == ("", "duplicate", "x")
