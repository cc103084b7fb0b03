"""Finding the files under what the user named."""

from __future__ import annotations

from pathlib import Path

import pytest

from zen_pipeline.corpus.files import find_files, split_role
from zen_pipeline.corpus.reading import FilesReader
from zen_pipeline.corpus.tables import Shape
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
    with pytest.raises(DataError, match=r"\.txt \.md .*\.parquet \.zip \.tar, found no files at all"):
        find_files([str(tmp_path)])
    write(tmp_path, "photo.png")
    with pytest.raises(DataError, match="1 × other formats"):
        find_files([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train.txt", "train"),
        ("train-00000-of-00002.parquet", "train"),
        ("Validation.csv", "valid"),
        ("valid_2.txt", "valid"),
        ("dev.jsonl", "valid"),
        ("test.md", "test"),
        ("testimony.txt", None),
        ("developer_guide.md", None),
        ("training.md", None),
        ("my_test.txt", None),
    ],
)
def test_the_role_is_a_word_of_its_own_at_the_start_of_the_name(name: str, role: str | None) -> None:
    assert split_role(name) == role


def test_records_carry_the_role_of_their_file(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "test.txt", "other.txt")
    records = FilesReader(Shape(), "auto").read(find_files([str(tmp_path)]).files)
    assert [getattr(r, "split", "") for r in records] == [None, "test", "train"]
