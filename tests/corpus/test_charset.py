"""Text in the charset that it is written in; what cannot be decoded is set aside, and no letter is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.charset import charset_of_text, decode_page
from zen_pipeline.errors import ConfigError

MILL = "<p>Café naïve at the mill of Arn</p>"
RUSSIAN = "<p>Мельница стоит у реки</p>"
CHINESE = "<p>磨坊在河边的树林里</p>"


@pytest.mark.parametrize(
    ("content", "text", "charset"),
    [
        (MILL.encode(), MILL, ("utf-8", "")),
        (MILL.encode("utf-16"), MILL, ("utf-16", "byte order mark")),
        (MILL.encode("utf-16-le"), MILL, ("utf-16-le", "page")),
        (b"<meta charset=iso-8859-1>" + MILL.encode("latin-1"), MILL, ("cp1252", "page")),
        (b"<META http-equiv='Content-Type' content='text/html; charset=windows-1251'>" + RUSSIAN.encode("cp1251"),
         RUSSIAN, ("cp1251", "page")),
        (b"<?xml version='1.0' encoding='ISO-8859-15'?>" + "<p>5 €</p>".encode("iso8859-15"), "<p>5 €</p>",
         ("iso8859-15", "page")),
        (b"<meta charset='gb2312'>" + CHINESE.encode("gbk"), CHINESE, ("gb18030", "page")),
        (b"<meta charset=shift_jis>" + "<p>①水車</p>".encode("cp932"), "<p>①水車</p>", ("cp932", "page")),
        # what takes any bytes proves nothing; what is declared in a comment, or cannot be, is not declared
        (b"<meta charset=iso-8859-1>" + MILL.encode(), MILL, ("utf-8", "")),
        (b"<!-- <meta charset=utf-16> --><meta charset=utf-16>" + MILL.encode(), MILL, ("utf-8", "")),
        (b"<meta charset=nothing-known>" + MILL.encode(), MILL, ("utf-8", "page")),
    ],
)  # fmt: skip
def test_a_page_is_read_in_the_charset_that_it_declares(content: bytes, text: str, charset: tuple[str, str]) -> None:
    decoded, found = decode_page(content)
    assert decoded.endswith(text)
    assert found == charset


def test_what_the_server_says_comes_before_what_the_page_says_and_after_a_mark() -> None:
    page = b"<meta charset=windows-1251>" + MILL.encode("latin-1")
    assert decode_page(page, header=lambda: "ISO-8859-1")[0].endswith(MILL)
    assert decode_page(MILL.encode("utf-16"), header=lambda: "ISO-8859-1")[0] == MILL
    assert charset_of_text("Zürich".encode(), header=lambda: "latin1").codec == "utf-8"


@pytest.mark.parametrize("head", [b"", b"<meta charset=utf-8>", b"<meta charset=rot13>"])
def test_a_page_that_is_not_in_its_charset_is_set_aside_whole(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.html").write_bytes(head + MILL.encode("latin-1"))
    found = read_paths(tmp_path)
    assert found.records == []
    assert "UTF-8 (byte 0xE9 at offset" in found.reasons[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Мельница стоит у реки.\n"),
        ("a.md", "# Мельница\n\nстоит у реки.\n"),
        ("a.csv", "text\nМельница стоит у реки.\n"),
        ("a.jsonl", '{"text": "Мельница стоит у реки."}\n'),
        ("a.json", '[{"text": "Мельница стоит у реки."}]'),
        ("a.html", "<p>Мельница стоит у реки.</p>"),
    ],
)
def test_the_charset_of_any_text_can_be_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode("cp1251"))
    (record,) = (found := read_paths(tmp_path, charset="windows-1251")).records
    assert "Мельница" in record.text
    assert "стоит у реки" in record.text
    assert found.tally.charsets == {"cp1251 (setting)": 1}
    assert not read_paths(tmp_path).records  # and is not guessed


def test_bytes_that_mean_nothing_in_the_charset_set_their_record_aside(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n{"text": "bad \x81"}\n')
    found = read_paths(tmp_path, charset="cp1252")
    assert [r.text for r in found.records] == ["good"]
    assert found.reasons == ["not valid UTF-8 (byte 0x81)"]


def test_a_charset_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for name in ("klingon", "rot13", "unicode_escape"):
        with pytest.raises(ConfigError, match=r"collect\.sources\.charset"):
            read_paths(tmp_path, charset=name)


def test_a_page_without_text_is_set_aside_and_an_empty_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html><body><script>draw()</script></body></html>")
    (tmp_path / "b.html").write_text("")
    (tmp_path / "c.txt").write_text("\n")
    (tmp_path / "d.txt").write_text("words")
    found = read_paths(tmp_path)
    assert found.reasons == ["a page without text"]
    assert found.left_out == {"empty files": 2}
    assert found.tally.read == 2
