"""Which split a file is for, by its name and by what there is to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.roles import role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train.txt", "train"),
        ("train-00000-of-00002.parquet", "train"),
        ("Validation.csv", "valid"),
        ("valid_2.txt", "valid"),
        ("val.jsonl", "valid"),
        ("dev.jsonl", "valid"),
        ("NAME_dev.json", "valid"),
        ("dev-v2.0.json", "valid"),
        ("squad.test.jsonl.gz", "test"),
        ("test_2016_flickr.en", "test"),
        ("en_test_y.txt", "test"),
        ("newstest2014.de", "test"),
        ("tst2013.vi", "test"),
        ("my_test.txt", "test"),
        ("testset.csv", "test"),
        ("dev_test.csv", "test"),
        ("data/test/a.txt", "test"),
        ("data/train/pos/1.txt", "train"),
        ("test.md", "test"),
        ("test-00001.html", "test"),
        # a subject, not a role; several roles
        ("testimony.txt", None),
        ("developer_guide.md", None),
        ("dev-guide.md", None),
        ("how-to-test.html", None),
        ("training.md", None),
        ("train_test_split.csv", None),
        ("latest.csv", None),
        ("tests/a.txt", None),
    ],
)
def test_the_role_is_a_word_of_its_own_in_the_name(name: str, role: str | None) -> None:
    found = role_of(name)
    assert (found.split if found else None) == role


def test_the_summary_says_which_role_a_file_got_and_by_what(tmp_path: Path) -> None:
    (tmp_path / "d" / "test").mkdir(parents=True)
    for name in ("a.txt", "b_dev.txt", "test/c.txt"):
        (tmp_path / "d" / name).write_text("text")
    tally = read_paths(tmp_path / "d").tally
    assert tally is not None
    assert tally.summary()["roles"] == {
        "d/b_dev.txt": "valid, by the word 'dev' in its name",
        "d/test/c.txt": "test, by its folder 'test'",
    }
