"""Archives and compressed files that are made to do harm: nothing is written, and growth has a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.hostile_files import ROW, SMALL, link, tarfile_of, write, zipfile_of, zstd
from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.opening import MEBIBYTE, Limits


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_names_that_climb_out_of_an_archive_are_set_aside_and_nothing_is_written(tmp_path: Path, suffix: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    members = {"../../evil.txt": b"evil", "/etc/evil.txt": b"evil", "a/../../evil.txt": b"evil", "good.txt": b"good"}
    packed = zipfile_of(members) if suffix == "zip" else tarfile_of(members)
    write(data / f"a.{suffix}", gzip.compress(packed) if suffix.endswith("gz") else packed)
    before = sorted(tmp_path.rglob("*"))
    read = read_paths(data)
    assert [record.text for record in read.records] == ["good"]
    assert sorted(read.reasons) == ["its name climbs out of the archive"] * 2 + ["its name is absolute"]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_devices_in_archives_are_set_aside(tmp_path: Path) -> None:
    special = [
        link("soft.txt", "/etc/passwd", tarfile.SYMTYPE),
        link("hard.txt", "good.txt", tarfile.LNKTYPE),
        link("null.txt", "", tarfile.CHRTYPE),
    ]
    write(tmp_path / "a.tar", tarfile_of({"good.txt": b"good"}, *special))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("soft.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    write(tmp_path / "b.zip", packed.getvalue())
    read = read_paths(tmp_path)
    assert [record.text for record in read.records] == ["good"]
    assert read.reasons == ["a link or a device, not a file"] * 4


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.zip", "a.tar.gz", "a.tar.zst"])
def test_a_bomb_is_left_where_it_grows_beyond_its_ratio(tmp_path: Path, name: str) -> None:
    bomb = ROW.encode() * 200_000  # 9 MB of the same
    if name.startswith("a.zip"):
        packed = zipfile_of({"first.jsonl": ROW.encode(), "bomb.jsonl": bomb})
    else:
        content = tarfile_of({"bomb.jsonl": bomb}) if ".tar" in name else bomb
        pack = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}[name.rsplit(".", 1)[1]]
        packed = pack(content)
    limits = Limits(free=MEBIBYTE, ratio=100)
    read = read_paths(write(tmp_path / name, packed), limits=limits)
    assert 0 < len(read.records) < 200_000
    assert "it becomes more than 100 times its compressed size" in read.reasons[0]
    total = read_paths(tmp_path / name, limits=Limits(free=MEBIBYTE, ratio=10**6, total=2 * MEBIBYTE))
    assert "it becomes more than" in total.reasons[0]


def test_too_many_members_archives_in_archives_and_encrypted_members(tmp_path: Path) -> None:
    inner = zipfile_of({"a.txt": b"text"})
    write(tmp_path / "many.zip", zipfile_of({f"{n}.txt": b"text %d" % n for n in range(9)}))
    write(tmp_path / "nested.zip", zipfile_of({"inner.zip": inner, "x/.hidden.txt": b"x", "photo.png": b"x"}))
    locked = bytearray(zipfile_of({"a.txt": b"text"}))
    locked[6] |= 1  # the flag of encryption, in the member's header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    write(tmp_path / "locked.zip", bytes(locked))
    read = read_paths(tmp_path, limits=SMALL)
    assert len(read.records) == 5
    assert sorted(read.reasons) == ["it is encrypted", "more than 5 members"]
    assert read.left_out == {"archives in archives": 1, "hidden files": 1, "other formats": 1}


def test_a_damaged_member_costs_no_other_member(tmp_path: Path) -> None:
    packed = bytearray(zipfile_of({"a.txt": os.urandom(300).hex().encode(), "b.txt": b"good"}))
    packed[60:64] = b"\xff\xff\xff\xff"
    read = read_paths(write(tmp_path / "a.zip", bytes(packed)))
    assert [record.text for record in read.records] == ["good"]
    assert len(read.aside) == 1


def test_a_parquet_file_in_an_archive_is_held_up_to_a_limit(tmp_path: Path) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"text": [os.urandom(20).hex() for _ in range(100)]}), table)
    write(tmp_path / "a.tar", tarfile_of({"a.parquet": table.getvalue()}))
    write(tmp_path / "b.parquet.gz", gzip.compress(table.getvalue()))
    assert len(read_paths(tmp_path).records) == 200
    read = read_paths(tmp_path, limits=SMALL)
    assert not read.records
    assert all("it needs random access" in reason for reason in read.reasons)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_what_stands_before_garbage_is_kept(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    read = read_paths(write(tmp_path / f"a.jsonl.{suffix}", pack(ROW.encode() * 5) + b"garbage" * 9))
    assert len(read.records) == 5
    assert len(read.aside) == (suffix == "gz")  # bzip2 leaves out what follows, as its own program does


def test_archives_that_are_cut_or_hold_odd_names_are_told_of(tmp_path: Path) -> None:
    rows = ROW.encode() * 50
    write(tmp_path / "a.tar.gz", gzip.compress(tarfile_of({"in.zip": zipfile_of({"a.jsonl": rows}), "b.txt": b"text"})))
    write(tmp_path / "b.tar", tarfile_of({"a.jsonl": rows, "b.jsonl": rows})[:5000])
    write(tmp_path / "c.zip", zipfile_of({"a\nb.jsonl": rows, "x" * 300 + ".jsonl": rows}))
    write(tmp_path / "d.zip", zipfile_of({"a.jsonl": rows})[:-30])
    read = read_paths(tmp_path)
    assert len(read.records) == 1 + 50 + 100
    assert read.left_out == {"archives in archives": 1}
    assert {entry.source.split("/")[1] for entry in read.aside} == {"b.tar", "d.zip"}


def three_members() -> bytearray:
    return bytearray(tarfile_of({"a.txt": b"first", "b.txt": b"second", "c.txt": b"third"}))


def damaged_tar(change: str) -> bytes:
    packed = three_members()
    second = 1024  # where the header of the second member begins
    if change == "one bit":
        packed[second + 3] ^= 4
    elif change == "zeros":
        packed[second : second + 512] = bytes(512)
    elif change == "cut":
        del packed[second:]
    elif change == "cut header":
        del packed[second + 100 :]
    else:
        info = tarfile.TarInfo("huge.txt")
        info.size = 10**15
        if change == "name":
            info.size, info.type = 1 << 30, b"L"
        packed[second : second + 512] = info.tobuf(tarfile.GNU_FORMAT)
    return bytes(packed)


@pytest.mark.parametrize("change", ["one bit", "zeros", "cut", "cut header", "size", "name"])
def test_what_follows_a_damaged_header_of_a_tar_is_never_lost_without_a_word(tmp_path: Path, change: str) -> None:
    write(tmp_path / "a.tar", damaged_tar(change))
    read = read_paths(tmp_path)
    assert read.records[0].text == "first"
    assert len(read.records) == 1
    assert read.aside


def test_a_whole_tar_has_nothing_set_aside(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", bytes(three_members()))
    write(tmp_path / "b.tar.gz", gzip.compress(bytes(three_members())))
    read = read_paths(tmp_path)
    assert (len(read.records), read.aside) == (6, [])


def test_a_sparse_file_in_a_tar_is_not_unfolded(tmp_path: Path) -> None:
    packed = three_members()
    info = tarfile.TarInfo("holes.txt")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (8**11 - 1)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    write(tmp_path / "a.tar", bytes(header + packed))
    read = read_paths(tmp_path)
    assert len(read.records) == 3
    assert "sparse" in read.reasons[0]


def test_a_zip_that_lists_fewer_members_than_it_has_says_so(tmp_path: Path) -> None:
    packed = bytearray(zipfile_of({"a.txt": b"first", "b.txt": b"second"}))
    end = packed.rindex(b"PK\x05\x06")
    one = packed.index(b"PK\x01\x02", packed.index(b"PK\x01\x02") + 1) - packed.index(b"PK\x01\x02")
    packed[end + 12 : end + 16] = one.to_bytes(4, "little")  # the size of the directory
    write(tmp_path / "a.zip", bytes(packed))
    assert read_paths(tmp_path).aside
