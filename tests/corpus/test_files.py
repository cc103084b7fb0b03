"""Finding the files under what the user named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.errors import ConfigError, DataError


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of {name}")
    return folder


def test_a_folder_is_searched_to_any_depth_and_what_was_left_out_is_counted(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data", "a.txt", "b/c.md", "b/.hidden.txt", "README.md", "LICENSE.txt", "SOURCE.txt", "x.pdf"
    )
    found = find_files([str(data)])
    assert [f.name for f in found.files] == ["data/a.txt", "data/b/c.md"]
    assert found.left_out == {"hidden files": 1, "README LICENSE SOURCE": 3, "other formats": 1}


def test_names_do_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    for place in ("here", "there/deep"):
        write(tmp_path / place / "data", "a.txt")
    names = [
        [f.name for f in find_files([str(tmp_path / given)]).files]
        for given in ("here/data", "there/deep/data", "here/data/a.txt", "there/deep/data/*.txt")
    ]
    assert names == [["data/a.txt"]] * 4


def test_the_same_file_named_twice_is_read_once_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1/data", "a.txt"), write(tmp_path / "2/data", "a.txt")
    found = find_files([str(one), str(one / "a.txt"), str(two)])
    assert [f.name for f in found.files] == ["data/a.txt", "data/a.txt~2"]


@pytest.mark.parametrize("given", ["nowhere", "nowhere/*.txt"])
def test_a_path_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="nowhere"):
        find_files([given])


def test_a_folder_without_readable_files_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.txt \.md .*\.parquet .*\.zip \.tar, found no files at all"):
        find_files([str(tmp_path)])
    write(tmp_path, "photo.png")
    with pytest.raises(DataError, match="1 × other formats"):
        find_files([str(tmp_path)])


def test_records_carry_the_role_of_their_file(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "test.txt", "other.txt")
    records = FilesReader(Shape(), "auto").read(find_files([str(tmp_path)]).files)
    assert [getattr(r, "split", "") for r in records] == [None, "test", "train"]


def reasons(folder: Path) -> dict[str, int]:
    return {why.partition(":")[0]: count for why, count in read_paths(folder).left_out.items()}


def test_files_found_are_files_read_and_files_left_out(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data", "a.txt", "b.png", ".git/config", ".git/deep/x.txt", "README.md", "empty.txt", "c.en"
    )
    (data / "empty.txt").write_text("")
    outside = write(tmp_path / "outside", "secret.txt", "more.txt")
    (data / "out.txt").symlink_to(outside / "secret.txt")
    (data / "environment.txt").symlink_to("/proc/self/environ")
    (data / "folder").symlink_to(outside)
    (data / "inside").symlink_to(data)
    (data / "same.txt").symlink_to(data / "a.txt")
    (data / "config.txt").symlink_to(data / ".git/config")
    found = read_paths(data)
    assert [record.text for record in found.records] == ["the text of a.txt"]
    assert reasons(data) == {
        "other formats": 1,
        "files in hidden folders": 2,
        "README LICENSE SOURCE": 1,
        "empty files": 1,
        "files in one language without a partner": 1,
        "links that lead out of the folder": 3,
        "links to folders of the data": 1,
        "files that are named twice": 1,
        "hidden files": 1,
    }
    assert found.tally is not None
    assert found.tally.summary()["files"] == {"found": 13, "read": 1, "left_out": 12}


def test_links_are_followed_where_the_user_names_them(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", "a.txt")
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "link.txt").symlink_to(outside / "a.txt")
    assert len(read_paths(tmp_path / "link").records) == 1
    assert len(read_paths(tmp_path / "link.txt").records) == 1


@pytest.mark.parametrize(
    "name",
    ["README.md", "LICENSE", "SOURCE.txt", "source.txt", "notes.rst", "corpus.dat", "train.en", ".notes.txt", "l.cs"],
)
def test_a_file_that_is_named_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    data = write(tmp_path, name)
    assert [record.text for record in read_paths(data / name).records] == [f"the text of {name}"]


def test_a_named_file_that_is_no_text_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert read_paths(tmp_path / "photo.png").reasons == ["binary file: NUL byte at offset 8"]


@pytest.mark.parametrize("name", ["sourcebook.txt", "source.txt", "notice-1.txt", "sources.csv", "licensees.txt"])
def test_names_that_only_begin_like_readme_or_licence_are_data(tmp_path: Path, name: str) -> None:
    assert [file.name for file in find_files([str(write(tmp_path / "data", name))]).files] == [f"data/{name}"]


def test_a_pattern_is_what_the_shell_would_make_of_it(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "2024/a.txt", "2024/b.md", "2025.txt", "README.txt", "x.txt")
    (data / "2026.txt").symlink_to(write(tmp_path, "secret.txt") / "secret.txt")
    found = find_files([str(data / "20*")])
    assert [file.name for file in found.files] == ["2024/a.txt", "2024/b.md", "data/2025.txt"]
    assert sum(found.left_out.values()) == 1
    assert len(find_files([str(data / "*.txt")]).files) == 3  # the README too: it was asked for


def test_a_folder_whose_name_is_no_text_is_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/deep\xff"))
    write(folder, "a.txt")
    assert [r.source for r in read_paths(folder).records] == ["deep\\xff/a.txt"]
    assert [r.source for r in read_paths(folder / "a.txt").records] == ["deep\\xff/a.txt"]
    assert [r.source for r in read_paths(folder.parent).records] == ["caf\\xe9/deep\\xff/a.txt"]
