"""Whatever bytes a file holds, reading it raises nothing but our own error."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus.hostile_files import ROW, tarfile_of, write, zipfile_of, zstd
from tests.corpus.reading_files import read_paths
from zen_pipeline.errors import ZenError

SUFFIXES = [
    *("txt", "md", "html", "jsonl", "json", "csv", "tsv", "parquet", "zip", "tar"),
    *("txt.gz", "jsonl.zst", "csv.bz2", "tar.gz"),
]
_PARTS = st.sampled_from(
    [
        *(b'{"text": "', b'"}', b"[", b"]", b"{", b"}", b",", b":", b'"', b"\n", b"\r", b"\t", b"\0", b"\\u"),
        *(
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"text,label\n",
            b"# ",
            b" = T = \n",
            b"```\n",
            b"<div>",
            b"<pre>",
            b"</",
            b"<!--",
        ),
        *(b"messages", b"chosen", b"1e999", b"9" * 5000, b"NaN", b"PK\x03\x04", b"\x1f\x8b\x08\0", b"PAR1", b"BZh9"),
    ]
)
_CONTENT = st.one_of(
    st.binary(max_size=200), st.lists(st.one_of(_PARTS, st.binary(max_size=5)), max_size=30).map(b"".join)
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=_CONTENT)
def test_no_bytes_raise_anything_but_our_own_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = write(tmp_path / f"a.{suffix}", content)
    try:
        read = read_paths(path)
    except ZenError:
        return
    for record in read.records:
        assert isinstance(record.text.encode(), bytes)
        assert isinstance(json.loads(record.meta), dict)


def _valid() -> dict[str, bytes]:
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two", None], "label": [1, 2, 3]}), table)
    text = ROW.encode() * 3
    return {
        "parquet": table.getvalue(),
        "zip": zipfile_of({"a.jsonl": text, "b/c.txt": b"text"}),
        "tar": tarfile_of({"a.jsonl": text, "b/c.txt": b"text"}),
        "tar.gz": gzip.compress(tarfile_of({"a.jsonl": text})),
        "jsonl.gz": gzip.compress(text),
        "jsonl.zst": zstd(text),
        "jsonl.bz2": bz2.compress(text),
    }


@pytest.mark.parametrize("suffix", sorted(_valid()))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_to_valid_files_raises_nothing_but_our_own_error(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    content = bytearray(_valid()[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = write(tmp_path / f"a.{suffix}", bytes(content[: data.draw(st.integers(1, len(content)))]))
    with contextlib.suppress(ZenError):
        read_paths(path)
