"""The same content gives the same records, however it is packed and wherever it lies."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.hostile_files import tarfile_of, zipfile_of, zstd
from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.plain_text import Mode

TEXTS = ["The first text, which is long enough.", "第二篇文字，也够长。"]


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS}), sink)
    return sink.getvalue()


FORMATS: dict[str, bytes] = {
    "txt": "\n\n".join(TEXTS).encode(),
    "md": "\n\n".join(f"# {n}\n\n{text}" for n, text in enumerate(TEXTS)).encode(),
    "html": "".join(f"<h1>{n}</h1><p>{text}</p>" for n, text in enumerate(TEXTS)).encode(),
    "jsonl": "".join(f'{{"text": "{text}"}}\n' for text in TEXTS).encode(),
    "json": json.dumps([{"text": text} for text in TEXTS]).encode(),
    "csv": ("text\n" + "\n".join(f'"{text}"' for text in TEXTS)).encode(),
    "tsv": ("text\tn\n" + "\n".join(f"{text}\t1" for text in TEXTS)).encode(),
    "parquet": _parquet(),
}
PACKINGS: dict[str, Callable[[str, bytes], tuple[str, bytes]]] = {
    "gz": lambda name, content: (f"{name}.gz", gzip.compress(content)),
    "two gz members": lambda name, content: (
        f"{name}.gz",
        gzip.compress(content[:20]) + gzip.compress(content[20:]),
    ),
    "zst": lambda name, content: (f"{name}.zst", zstd(content)),
    "bz2": lambda name, content: (f"{name}.bz2", bz2.compress(content)),
    "zip": lambda name, content: ("a.zip", zipfile_of({f"folder/{name}": content})),
    "tar": lambda name, content: ("a.tar", tarfile_of({f"folder/{name}": content})),
    "tar.gz": lambda name, content: ("a.tar.gz", gzip.compress(tarfile_of({f"folder/{name}": content}))),
    "tgz": lambda name, content: ("a.tgz", gzip.compress(tarfile_of({f"folder/{name}": content}))),
    "tar.zst": lambda name, content: ("a.tar.zst", zstd(tarfile_of({f"folder/{name}": content}))),
    "gz in zip": lambda name, content: ("a.zip", zipfile_of({f"folder/{name}.gz": gzip.compress(content)})),
    "zst in tar": lambda name, content: ("a.tar", tarfile_of({f"folder/{name}.zst": zstd(content)})),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_packing_changes_no_record(tmp_path: Path, suffix: str, packing: str) -> None:
    plain = tmp_path / f"a.{suffix}"
    plain.write_bytes(FORMATS[suffix])
    expected = [(r.text, r.kind, r.language) for r in read_paths(plain).records]
    assert all(any(text in got for got, _, _ in expected) for text in TEXTS)
    name, content = PACKINGS[packing](f"a.{suffix}", FORMATS[suffix])
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / name).write_bytes(content)
    read = read_paths(folder)
    assert [(r.text, r.kind, r.language) for r in read.records] == expected
    assert not read.aside
    assert {r.source.split("/")[1] for r in read.records} == {name}


def test_members_have_the_role_of_their_name_else_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(zipfile_of({"a.txt": b"text", "x/test.txt": b"text"}))
    assert [(r.source.split("/")[-1], r.split) for r in read_paths(tmp_path).records] == [
        ("a.txt", "train"),
        ("test.txt", "test"),
    ]


def test_about_files_and_hidden_ones_in_archives_are_left_out_and_counted(tmp_path: Path) -> None:
    members = {"a.txt": b"text", "README.md": b"x", "_about.txt": b"x", "__MACOSX/._a.txt": b"x", "b.pdf": b"x"}
    (tmp_path / "a.tar").write_bytes(tarfile_of(members))
    read = read_paths(tmp_path)
    assert len(read.records) == 1
    assert read.left_out == {"README LICENSE SOURCE": 2, "hidden files": 1, "other formats": 1}


CUT_TEXT = "".join(f"Paragraph {n} has some words of its own, {n * n} of them.\n\n" for n in range(3000))
CUT_ROWS = [f"row {n} with {n * n} of something" for n in range(3000)]
CUT: dict[str, str] = {
    "txt": CUT_TEXT,
    "md": CUT_TEXT,
    "jsonl": "".join(json.dumps({"text": row}) + "\n" for row in CUT_ROWS),
    "json": json.dumps([{"text": row} for row in CUT_ROWS]),
    "csv": "text,label\n" + "".join(f'"{row}",{n % 2}\n' for n, row in enumerate(CUT_ROWS)),
    "tsv": "text\tlabel\n" + "".join(f"{row}\t{n % 2}\n" for n, row in enumerate(CUT_ROWS)),
}


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
@pytest.mark.parametrize(("form", "mode"), [*((form, "auto") for form in CUT), ("txt", "file")])
def test_what_stands_before_the_damage_is_read_and_the_damage_is_said(
    tmp_path: Path, form: str, mode: Mode, suffix: str
) -> None:
    compress: Callable[[bytes], bytes] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd}[suffix]
    content = CUT[form].encode()
    whole = b"".join(compress(content[start : start + 9000]) for start in range(0, len(content), 9000))
    path = tmp_path / f"a.{form}.{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    read = read_paths(path, split_text=mode)
    said = re.search(r"after ([\d,]+) bytes", " ".join(read.reasons))
    assert said is not None
    damaged_at = int(said[1].replace(",", ""))
    assert damaged_at > len(content) / 3
    last = read.records[-1].text.split("\n\nLabel")[0]
    assert damaged_at - CUT[form].rindex(last[-30:]) < 700
