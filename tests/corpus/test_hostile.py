"""Files that are broken, cut, mislabelled or made to do harm: what can be read is kept, the rest is set aside.

Every test that counts holds the same sum: what went in is what was kept and what was set aside.
"""

from __future__ import annotations

import bz2
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.hostile_files import ROW, SMALL, write, zipfile_of, zstd
from tests.corpus.reading_files import read_paths
from zen_pipeline.config import load_config
from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import read_records
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect
from zen_pipeline.workspace import Workspace

# --- bytes that are not text ------------------------------------------------------------------------------------------


def test_invalid_utf8_loses_only_its_row_in_every_format(tmp_path: Path) -> None:
    rows = [b"good one", b"b\xe4d", b"good two"]
    write(tmp_path / "a.jsonl", b"".join(b'{"text": "%s"}\n' % row for row in rows))
    write(tmp_path / "b.json", b"[%s]" % b",".join(b'{"text": "%s"}' % row for row in rows))
    write(tmp_path / "c.csv", b"text\n" + b"\n".join(rows))
    write(tmp_path / "d.tsv", b"text\tid\n" + b"\n".join(row + b"\t1" for row in rows))
    write(tmp_path / "e.tsv", b"".join(b"source %s\ttarget\n" % row for row in rows))
    read = read_paths(tmp_path)
    assert (len(read.records), len(read.aside)) == (10, 5)
    assert all("not valid" in reason for reason in read.reasons)


def test_a_nul_byte_far_into_a_text_loses_only_its_record(tmp_path: Path) -> None:
    words = "some words that fill it up. " * 100 + "\n\n"
    write(tmp_path / "a.txt", words * 500 + "x\0x\n\n" + words * 5)
    read = read_paths(tmp_path)
    assert [entry.reason for entry in read.aside] == ["NUL byte"]
    assert len(read.records) > 500


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "json", "html"])
def test_files_with_nul_bytes_at_their_head_are_binary(tmp_path: Path, suffix: str) -> None:
    read = read_paths(write(tmp_path / f"a.{suffix}", b"text\n\0\1\2"))
    assert read.reasons == ["binary file: NUL byte at offset 5"]


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "json", "html"])
def test_utf16_is_read_by_its_mark(tmp_path: Path, suffix: str) -> None:
    content = "text\n" + ROW if suffix == "csv" else ROW
    read = read_paths(write(tmp_path / f"a.{suffix}", content.encode("utf-16")))
    assert (len(read.records), read.aside) == (1, [])
    assert read.tally.charsets == {"utf-16 (byte order mark)": 1}


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    read = read_paths(write(tmp_path / "a.jsonl", ROW.encode("utf-16-le")))
    assert "UTF-16 without a byte order mark" in read.reasons[0]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("txt", "plain"),
        ("jsonl", ROW),
        ("json", ROW),
        ("csv", "text\nplain"),
        ("html", "<p>plain"),
        ("tsv", "a\tb\nc\td"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, suffix: str, content: str) -> None:
    read = read_paths(write(tmp_path / f"a.{suffix}", "\ufeff" + content))
    assert read.records
    assert not read.aside
    assert "\ufeff" not in "".join(record.text + record.meta for record in read.records)


def test_mixed_line_ends_are_line_ends(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one\r\ntwo\rthree\nfour")
    write(tmp_path / "b.csv", "text\r\none\ntwo\r\n")
    write(tmp_path / "c.tsv", "one\teins\rtwo\tzwei\rthree\tdrei\r")
    read = read_paths(tmp_path)
    assert not read.aside
    assert [r.text for r in read.records if r.source.endswith(".txt")] == ["one\ntwo\nthree\nfour"]
    assert [r.text for r in read.records if r.source.endswith(".csv")] == ["one", "two"]
    assert [json.loads(r.meta)["target"] for r in read.records if r.kind == "translation"] == ["eins", "zwei", "drei"]


# --- too long, too large, too deep ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "txt", "csv", "tsv"])
def test_a_line_beyond_the_limit_is_passed_over_and_its_neighbours_are_kept(tmp_path: Path, suffix: str) -> None:
    rows = ["first", "x" * 5000, "last"]
    content = {
        "jsonl": "".join(f'{{"text": "{row}"}}\n' for row in rows),
        "txt": "\n\n".join(rows),
        "csv": "text\n" + "\n".join(rows),
        "tsv": "".join(f"{row}\t{row}\n" for row in rows),
    }[suffix]
    read = read_paths(write(tmp_path / f"a.{suffix}", content), limits=SMALL)
    text = "".join(record.text for record in read.records)
    assert "first" in text
    assert "last" in text
    assert "xxx" not in text
    assert len(read.aside) == 1
    assert "longer than 1,000" in read.reasons[0]


def test_a_json_value_beyond_the_limit_ends_the_file_there(tmp_path: Path) -> None:
    rows = [{"text": "first"}, {"text": "x" * 200_000}, {"text": "last"}]
    read = read_paths(write(tmp_path / "a.json", json.dumps(rows)), limits=SMALL)
    assert [record.text for record in read.records] == ["first"]
    assert [(a.where, a.reason) for a in read.aside] == [
        ("after item 1", "not JSON from here on: a value longer than 1,000 characters")
    ]


def test_a_page_and_a_whole_file_beyond_the_limit_are_set_aside(tmp_path: Path) -> None:
    write(tmp_path / "a.html", "<p>" + "words " * 500)
    write(tmp_path / "b.txt", "words " * 500)
    read = read_paths(tmp_path, limits=SMALL, split_text="file")
    assert (read.records, len(read.aside)) == ([], 2)


_MEASURE = """
import resource, sys
from tests.corpus.hostile_files import ROW, SMALL, write, zipfile_of, zstd
from tests.corpus.reading_files import read_paths
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
import pyarrow.parquet, zen_pipeline.corpus.reading.html
before = peak()
read = read_paths(*sys.argv[1:])
print(len(read.records), len(read.aside), peak() - before)
"""


def measured(*paths: Path) -> tuple[int, int, int]:
    """Records, set-aside entries, and by how many MiB the peak of memory grew, in a process of its own."""
    command = [sys.executable, "-c", _MEASURE, *map(str, paths)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    records, aside, grown = map(int, done.stdout.split())
    return records, aside, grown


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz", "a.json"])
def test_a_line_of_200_mb_is_never_held(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    block = b"0123456789 abcdefghij " * 47_663  # 1 MiB that gzip shortens less than 200 times
    with gzip.open(path, "wb", 1) if name.endswith("gz") else path.open("wb") as file:
        file.write(ROW.encode() if name != "a.json" else b"[" + ROW.encode() + b",")
        file.write(b'{"text": "')
        for number in range(200):
            file.write(block[number:])
        file.write(b'"}\n' + ROW.encode())
    records, aside, grown = measured(path)
    assert aside == 1
    # After a value that is too long, a .json file is no longer read; in a .txt file both rows are one record.
    assert records == (2 if "jsonl" in name else 1)
    assert grown < 150, f"{grown} MiB"


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("9" * 5000, "a number of 5,000 digits"),
        ("1e999999999", "a number beyond the largest one (1e999999999)"),
        ("-1" + "0" * 400 + ".5", "a number beyond the largest one"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    ],
)
def test_numbers_and_nesting_that_do_harm_are_set_aside(tmp_path: Path, suffix: str, value: str, reason: str) -> None:
    rows = ['{"text": "first"}', f'{{"text": "x", "n": {value}}}', '{"text": "last"}']
    content = "\n".join(rows) if suffix == "jsonl" else f"[{', '.join(rows)}]"
    read = read_paths(write(tmp_path / f"a.{suffix}", content))
    assert [record.text for record in read.records] == ["first", "last"]
    assert len(read.aside) == 1
    assert reason in read.reasons[0]


def test_a_number_of_a_billion_digits_is_a_line_that_is_too_long(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW + '{"text": "x", "n": ')
    with path.open("ab") as file:
        file.truncate(file.tell() + 1_000_000_000)  # a hole: nothing is written
        file.seek(0, os.SEEK_END)
        file.write(b"}\n" + ROW.encode())
    read = read_paths(path)
    assert len(read.records) == 2
    assert read.reasons == ["a line of 1,000,000,021, longer than 16,777,216"]


def test_a_page_that_is_nested_too_deeply_is_set_aside(tmp_path: Path) -> None:
    read = read_paths(write(tmp_path / "a.html", "<div>" * 100_000 + "text"))
    assert read.reasons == ["elements are nested more than 512 deep"]
    assert read_paths(write(tmp_path / "a.html", "<table><tr><td>" * 500 + "text")).records[0].text == "text"


def test_memory_does_not_grow_with_the_number_of_records(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = write(tmp_path / "a.jsonl", ('{"text":"a"}' + " " * 100 + "\n") * rows)
        tracemalloc.start()
        count = sum(1 for _ in FilesReader(Shape(), "auto").read(find_files([str(path)]).files))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == rows
        return most

    peak(100)  # imports
    assert peak(40_000) < peak(10_000) + 100_000  # both are longer than the buffer of the reader


# --- cut, mislabelled -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["txt", "md", "html", "json", "jsonl", "csv", "tsv"])
def test_an_empty_file_gives_nothing(tmp_path: Path, suffix: str) -> None:
    read = read_paths(write(tmp_path / f"a.{suffix}", b""))
    assert (read.records, read.aside) == ([], [])


@pytest.mark.parametrize("suffix", ["parquet", "zip", "tar"])
def test_an_empty_container_is_no_container(tmp_path: Path, suffix: str) -> None:
    read = read_paths(write(tmp_path / f"a.{suffix}", b""))
    assert (read.records, len(read.aside)) == ([], 1)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", zstd)])
def test_what_was_read_of_cut_compressed_data_is_kept(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    rows = "".join(json.dumps({"text": os.urandom(40).hex()}) + "\n" for _ in range(40_000)).encode()
    packed = pack(rows)
    read = read_paths(write(tmp_path / f"a.jsonl.{suffix}", packed[: len(packed) // 2]))
    assert 0 < len(read.records) < 40_000
    assert len(read.aside) == 1
    assert "the compressed data is cut" in read.reasons[0]
    for content in (b"no compressed data at all", packed[:3]):
        read = read_paths(write(tmp_path / f"a.jsonl.{suffix}", content))
        assert (read.records, len(read.aside)) == ([], 1)


def test_a_cut_parquet_file_a_png_a_gzip_and_a_text_under_wrong_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["some text"] * 1000}), tmp_path / "cut.parquet")
    write(tmp_path / "cut.parquet", (tmp_path / "cut.parquet").read_bytes()[:-10])
    write(tmp_path / "photo.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    write(tmp_path / "packed.txt", gzip.compress(b"text"))
    write(tmp_path / "packed.jsonl", zstd(b"text"))
    write(tmp_path / "table.csv", zipfile_of({"a.txt": b"text"}))
    write(tmp_path / "text.parquet", "some text")
    write(tmp_path / "text.zip", "some text")
    write(tmp_path / "text.tar", "some text")
    read = read_paths(tmp_path)
    assert not read.records
    reasons = {Path(entry.source).name: entry.reason for entry in read.aside}
    assert len(reasons) == len(read.aside) == 8
    assert "NUL byte" in reasons["photo.txt"]
    assert reasons["packed.txt"] == "gzip data under a name that does not say so"
    assert reasons["packed.jsonl"] == "zstd data under a name that does not say so"
    assert reasons["table.csv"] == "a zip archive under a name that does not say so"
    assert "not a readable parquet file" in reasons["text.parquet"]
    assert "damaged" in reasons["text.zip"]
    assert "not a readable tar archive" in reasons["text.tar"]


# --- links on disk ----------------------------------------------------------------------------------------------------


def test_links_that_go_in_circles_are_not_followed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    write(data / "a.txt", "text")
    (data / "deep" / "up").symlink_to(data)
    (data / "one.txt").symlink_to(data / "two.txt")
    (data / "two.txt").symlink_to(data / "one.txt")
    (data / "same.txt").symlink_to(data / "a.txt")
    assert len(read_paths(data).records) == 1
    with pytest.raises(ConfigError, match="does not exist"):
        read_paths(data / "one.txt")


def test_what_is_no_file_in_a_folder_is_counted_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "nowhere.txt").symlink_to("gone.txt")
    read = read_paths(tmp_path)
    assert len(read.records) == 1
    assert sorted(read.left_out.values()) == [1, 2]
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        read_paths(tmp_path / "pipe.txt")


def test_names_that_are_no_text_or_hold_line_ends_are_read(workspace: Workspace, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in (b"a\nb.txt", b"bad\xff.txt", b"star*[x].txt"):
        Path(os.fsdecode(os.fsencode(data) + b"/" + name)).write_text(f"text of {name!r}")
    ref = collect.STAGE.run(load_config(data=[str(data)]), {}, StageContext(workspace, "run"))
    names = {record.source for record in read_records(ref.path / "records.parquet")}
    assert names == {"data/a\nb.txt", "data/bad\\xff.txt", "data/star*[x].txt"}


def test_a_file_that_is_written_to_meanwhile_is_one_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW * 10)
    entries = FilesReader(Shape(), "auto").read(find_files([str(path)]).files)
    next(entries)
    with path.open("a") as file:
        file.write(ROW)
    with pytest.raises(DataError, match="changed while it was read"):
        list(entries)
