"""Delimited text: quotes, delimiters and headers are found by what the file holds; no line melts into another."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import DataError


def records(tmp_path: Path, name: str, content: str, shape: Shape | None = None) -> list[Record]:
    """Of a file in which nothing may be set aside."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    read = read_paths(path, shape=shape)
    assert read.reasons == []
    return read.records


def fields(found: list[Record], *names: str) -> list[tuple[object, ...]]:
    return [tuple(json.loads(record.meta)[name] for name in names) for record in found]


SENTENCES = [
    ('"Come in, he said.', "Komm herein, sagte er."),
    ("The tea is cold.", "Der Tee ist kalt."),
    ('She said "no".', 'Sie sagte "nein".'),
    ('"Go!', "Geh!"),
    ('"Stop!" he cried.', '"Halt!" rief er.'),
    ('We wait for the "end', 'Wir warten auf das "Ende"'),
    ('"Now', "Jetzt"),
    ('or never"', "oder nie"),
]


@pytest.mark.parametrize("header", ["en\tde\n", ""])
@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
def test_quotes_in_sentences_between_tabs_are_characters(tmp_path: Path, name: str, header: str) -> None:
    content = header + "".join(f"{source}\t{target}\n" for source, target in SENTENCES)
    found = records(tmp_path, name, content)
    assert fields(found, "source", "target") == SENTENCES
    assert {record.kind for record in found} == {"translation"}


def test_an_unclosed_quote_in_one_column_takes_no_other_line(tmp_path: Path) -> None:
    lines = [
        '"Quoted well, with a comma"',
        '"An unclosed quote',
        "and, with a comma,",
        'a "word" in quotes',
        "the last",
    ]
    found = records(tmp_path, "a.csv", "text\n" + "\n".join(lines))
    assert [record.text for record in found] == [lines[0].strip('"'), *lines[1:]]


def test_an_unclosed_quote_between_commas_takes_no_other_line(tmp_path: Path) -> None:
    found = records(tmp_path, "a.csv", 'text,label\ngood,1\n"never closed,2\nthe next,3\n')
    assert fields(found, "text", "label") == [("good", "1"), ('"never closed', "2"), ("the next", "3")]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_csv_writer_has_written_is_read_back(
    tmp_path: Path, delimiter: str, line_end: str, quoting: int
) -> None:
    chosen = random.Random(7)
    parts = [
        "plain words",
        "a, comma",
        "semi; colon",
        "pi|pe",
        "ta\tb",
        'say "no"',
        "two\nlines",
        "blank\n\nline",
        '"',
        "",
    ]
    rows = [("x" + "".join(chosen.choices(parts, k=3)), f"label{n % 3}") for n in range(200)]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([("text", "label"), *rows])
    assert fields(records(tmp_path, "a.csv", out.getvalue()), "text", "label") == rows


def test_quotes_that_are_escaped_by_a_backslash_are_quotes(tmp_path: Path) -> None:
    content = 'id,text\n1,"He said \\"no\\", and left\n for good"\n2,"C:\\temp"\n3,plain\n'
    found = records(tmp_path, "a.csv", content)
    assert [record.text for record in found] == ['He said "no", and left\n for good', "C:\\temp", "plain"]


def test_cells_beyond_the_header_cost_their_row_unless_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,y,,\nc,x,more\nd\n")
    read = read_paths(tmp_path / "a.csv")
    assert len(read.records) == 2
    assert [entry.where for entry in read.aside] == ["line 4", "line 5"]


def test_columns_of_the_same_name_keep_the_first(tmp_path: Path) -> None:
    found = records(tmp_path, "a.csv", "text,text,\nfirst,second,\n")
    assert [record.text for record in found] == ["first"]


PAIRS = [("Hi.", "嗨。"), ("Hi.", "你好。"), ("Run!", "快跑！"), ("Who is he?", "他是谁？"), ("I see.", "我知道了。")]
ABOUT = "CC-BY 2.0 (France) Attribution: tatoeba.org #538123 (CM) & #891077 (Martha)"
TICKETS = [
    "My invoice is wrong again.",
    "The app crashes at once.",
    "Where is my parcel now?",
    "I cannot log in today.",
]


@pytest.mark.parametrize("row", ["{0}\t{1}", f"{{0}}\t{{1}}\t{ABOUT}", "{n}\t{0}\t{m}\t{1}", "{0}\t{1}\t{n}"])
def test_pairs_without_a_header_are_translations_whatever_stands_beside_them(tmp_path: Path, row: str) -> None:
    content = "".join(row.format(*pair, n=1200 + n, m=7000 + n) + "\n" for n, pair in enumerate(PAIRS))
    found = records(tmp_path, "cmn.tsv", content)
    assert fields(found, "source", "target") == PAIRS
    assert {json.loads(record.meta)["target_language"] for record in found} == {"zh"}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("a.tsv", "{label}\t{text}\n"),
        ("a.txt", "{label}\t{text}\n"),
        ("a.tsv", "{text}\t{number}\n"),
        ("a.csv", '"{number}","{text}"\n'),
        ("a.csv", "{id};{number};{text}\n"),
        ("a.tsv", "gj{id}\t{number}\t\t{text}\n"),
    ],
)
def test_labels_without_a_header_are_labels(tmp_path: Path, name: str, row: str) -> None:
    rows = [
        {"id": 70 + n, "label": "spam" if n % 3 else "ham", "number": n % 2, "text": t} for n, t in enumerate(TICKETS)
    ]
    found = records(tmp_path, name, "".join(row.format(**values) for values in rows))
    expected = [(r["text"], r["label"] if "label}" in row else str(r["number"])) for r in rows]
    assert fields(found, "text", "label") == expected


@pytest.mark.parametrize("row", ["{text}\n", "{n}\t{text}\n", "{n}\tdeu\t{text}\n"])
def test_texts_without_a_header_are_documents(tmp_path: Path, row: str) -> None:
    content = "".join(row.format(n=n, text=text) for n, text in enumerate(TICKETS))
    found = records(tmp_path, "a.tsv", content)
    assert [(record.kind, record.text) for record in found] == [("document", text) for text in TICKETS]


@pytest.mark.parametrize("content", ["title,body\nt,b\n", "wort;satz_lang\nHund;Der Hund bellt.\n", "name\nAnn\nBob\n"])
def test_a_header_of_unknown_names_is_an_error_and_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=r"a\.csv has no column 'text'"):
        read_paths(tmp_path / "a.csv")


def test_the_user_says_that_there_is_no_header_and_which_column_is_which(tmp_path: Path) -> None:
    shape = Shape(text_column="3", fields={"label": "2"}, header=False)
    content = "text,label,body\n1,good,a day at the sea\n"
    found = records(tmp_path, "a.csv", content, shape)
    assert [record.kind for record in found] == ["classification"] * 2
    assert fields(found, "text", "label") == [("body", "label"), ("a day at the sea", "good")]


def test_two_texts_in_one_language_are_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(
        "".join(f"{text}\tThat is answered by somebody, {n}.\n" for n, text in enumerate(TICKETS))
    )
    with pytest.raises(DataError, match="two columns hold texts in one language"):
        read_paths(tmp_path / "a.tsv")


def test_lines_and_rows_are_compared_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "zen_pipeline"):
        records(tmp_path, "a.csv", 'text\n"one, on\ntwo lines"\nanother\n')
    assert "4 lines, 2 rows, 1 of them on 2 lines" in caplog.text
