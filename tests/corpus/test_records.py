"""Records on disk, excerpts."""

from __future__ import annotations

from pathlib import Path

import pytest

from zen_pipeline.corpus.records import Record, excerpt, read_records, record_writer


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
