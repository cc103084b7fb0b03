"""How one text becomes records and groups."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.reading_files import text_file
from zen_pipeline.corpus.reading.plain_text import GROUP, LIMIT, Mode, Piece, heading_kind, read_plain_text
from zen_pipeline.corpus.reading.plain_text import pieces as cut
from zen_pipeline.corpus.records import Aside, Record


def read(path: Path, mode: Mode = "auto") -> tuple[list[Record], list[Aside]]:
    entries = list(read_plain_text(text_file(path), mode))
    return [e for e in entries if isinstance(e, Record)], [e for e in entries if isinstance(e, Aside)]


def pieces(text: str, mode: Mode) -> list[Piece]:
    lines = text.split("\n")
    return list(cut(lines, heading_kind(lines, mode)))


def paragraphs(count: int) -> str:
    return "\n\n".join(f"Paragraph {n}. " + "Some words that fill it up. " * 12 for n in range(count))


def test_paragraphs_are_joined_until_a_record_is_long_enough() -> None:
    text = paragraphs(60)
    found = [p.text for p in pieces(text, "blank_lines")]
    assert "\n\n".join(found) == text
    assert all(2000 <= len(p) <= LIMIT for p in found[:-1])


def test_text_without_blank_lines_is_cut_at_line_ends_and_loses_nothing() -> None:
    text = "\n".join(f"line {n} of a long log file without any blank line" for n in range(1000))
    found = [p.text for p in pieces(text, "auto")]
    assert len(found) > 10
    assert "\n".join(found) == text


def test_one_endless_line_is_cut_and_loses_nothing() -> None:
    text = "汉字" * 10_000
    found = [p.text for p in pieces(text, "auto")]
    assert max(map(len, found)) <= LIMIT
    assert "".join(p for p in found) == text


def test_a_whole_file_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(paragraphs(60))
    records, _ = read(path, "file")
    assert [r.text for r in records] == [paragraphs(60)]


def test_markdown_begins_a_record_at_each_first_level_heading() -> None:
    text = "# One\n\nText of one.\n\n## Part\n\nMore.\n\n# Two\n\nText of two.\n"
    found = [p.text for p in pieces(text, "auto")]
    assert found == ["# One\n\nText of one.\n\n## Part\n\nMore.", "# Two\n\nText of two."]


def test_a_heading_stays_with_the_text_below_it() -> None:
    text = "# Top\n\n" + "".join(f"## Section {n}\n\n{'word ' * 150}\n\n" for n in range(20))
    for piece in pieces(text, "auto"):
        assert not piece.text.rstrip().splitlines()[-1].startswith("#")


def test_a_comment_in_a_code_block_is_no_heading() -> None:
    text = "# Title\n\n```sh\n# a comment\n\nls\n```\n\nEnd.\n"
    assert [p.text for p in pieces(text, "auto")] == [text.strip()]


def test_line_numbers_point_at_the_first_line_of_a_record() -> None:
    text = "\n\n# One\n\nText.\n\n# Two\n\nText.\n"
    assert [p.line for p in pieces(text, "auto")] == [3, 7]


def test_appended_text_moves_no_record_to_another_group(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(paragraphs(300))
    before, _ = read(path)
    path.write_text(paragraphs(700))
    after, _ = read(path)
    groups = {r.text: r.group for r in after}
    assert len({r.group for r in before}) > 3
    assert all(groups[r.text] == r.group for r in before[:-1])  # the last one grew
    assert before[-1].group == after[len(before) - 1].group


def test_a_small_file_is_one_group(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_text(paragraphs(20))
    records, _ = read(path)
    assert len(records) > 2
    assert path.stat().st_size < GROUP
    assert {r.group for r in records} == {"small.txt"}


def test_byte_order_mark_and_line_ends_are_normalized(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbffirst\r\nsecond\rthird\nfourth")
    records, aside = read(path)
    assert [r.text for r in records] == ["first\nsecond\nthird\nfourth"]
    assert not aside


def test_invalid_utf8_loses_only_the_record_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"# One\n\nGood.\n\n# Two\n\nB\xe4d.\n\n# Three\n\nGood again.\n")
    records, aside = read(path)
    assert [r.text.split("\n")[0] for r in records] == ["# One", "# Three"]
    assert [(a.where, a.reason) for a in aside] == [("line 7", "not valid UTF-8 (byte 0xE4)")]
    assert "B\ufffdd" in aside[0].excerpt


def test_a_binary_file_is_set_aside_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x7fELF\x02\x01\x00\x00")
    assert read(path) == ([], [Aside("a.txt", "file", "binary file: NUL byte at offset 6", "")])


@pytest.mark.parametrize("content", ["", "\n\n  \n", "\ufeff"])
def test_an_empty_file_gives_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content, encoding="utf-8")
    assert read(path) == ([], [])


def test_tinyshakespeare_is_kept_whole_in_records_of_a_few_thousand_characters(
    shared_data: Callable[[str], Path],
) -> None:
    path = shared_data("tinyshakespeare") / "input.txt"
    records, aside = read(path)
    assert not aside
    without_gaps = re.sub(r"\n{3,}", "\n\n", path.read_text().strip("\n"))  # several blank lines count as one
    assert "\n\n".join(r.text for r in records) == without_gaps
    assert max(len(r.text) for r in records) <= LIMIT
    assert 40 < len({r.group for r in records}) < 100


def test_wikitext_has_one_record_and_one_group_per_article(shared_data: Callable[[str], Path]) -> None:
    records, _ = read(shared_data("wikitext-2") / "test.txt")
    articles = [r for r in records if r.text.startswith(" = ")]
    assert len({r.group for r in records}) == len(records)
    assert len(articles) == len(records)
    assert any(r.group == "test.txt/Robert <unk>" for r in records)
    assert all("\n = = " in r.text or len(r.text) < 20_000 for r in records)
