"""Which split a file is for, by the words in its name: `train.txt`, `dev-v2.0.json`, `en_test_y.txt`, `test/a.csv`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

_NAMES = {
    "train": "train trainset traindata",
    "valid": "valid validation val dev devset valset validset newsdev",
    "test": "test testset testdata tst devtest newstest heldout",
}
_SPLIT_OF = {word: split for split, words in _NAMES.items() for word in words.split()}
_WORD = re.compile(r"[a-z]+")
# Pages and Markdown are called by their subject (`how-to-test.md`): there the name must be nothing but the word.
_PROSE = (".md", ".html", ".htm")
_ALONE = re.compile(r"([a-z]+)[-_.\d]*(?:of[-_.\d]*)?")
_ENDINGS = re.compile(r"(?:\.(?:txt|md|html?|jsonl?|csv|tsv|parquet|zip|tar|gz|zst|bz2|tgz|tbz2|tzst))+$")


class Role(NamedTuple):
    """A split, and what in the name gives it, in words."""

    split: str
    by: str


def role_of(name: str) -> Role | None:
    """The role that a file's name gives, else the one that a folder's name gives; None where it gives none, or several.

    Args:
        name: the place of the file with the folders above it that belong to the data.
    """
    *folders, base = PurePosixPath(name.lower()).parts
    prose = base.endswith(_PROSE)
    stem = _ENDINGS.sub("", base)
    alone = _ALONE.fullmatch(stem)
    words = ([alone[1]] if alone else []) if prose else _WORD.findall(stem)
    found = {word: _SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    splits = set(found.values())
    if splits == {"valid", "test"}:  # the more careful of the two
        splits = {"test"}
    if len(splits) == 1:
        split = splits.pop()
        return Role(split, f"the word {next(w for w, s in found.items() if s == split)!r} in its name")
    for folder in reversed(folders):
        if not found and folder in _SPLIT_OF:
            return Role(_SPLIT_OF[folder], f"its folder {folder!r}")
    return None
