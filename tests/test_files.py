"""What a disk refuses is one sentence, whichever library wrote."""

from __future__ import annotations

import errno
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from zen_pipeline.artifacts import Built, Identity, Store
from zen_pipeline.errors import StoreError
from zen_pipeline.files import explain_os_error

NUMBERS = np.random.default_rng(0).random(500_000)  # 4 MB, more than the disk has


def _database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "file")) as database:
        database.execute("create table numbers(bytes)")
        database.execute("insert into numbers values(?)", [NUMBERS.tobytes()])


def _tokenizer(folder: Path) -> None:
    Tokenizer(models.BPE(vocab={f"{i:09d}": i for i in range(100_000)}, merges=[])).save(str(folder / "file"))


def _copy(folder: Path) -> None:
    large = folder.parents[3] / "large"  # on the disk that is not full
    large.write_bytes(NUMBERS.tobytes())
    shutil.copyfile(large, folder / "file")


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda f: (f / "file").write_bytes(NUMBERS.tobytes()),
    "a copy": _copy,
    "safetensors": lambda f: save_file({"numbers": torch.from_numpy(NUMBERS)}, f / "file"),
    "torch": lambda f: torch.save(torch.from_numpy(NUMBERS), f / "file"),
    "numpy": lambda f: np.save(f / "file", NUMBERS),
    "numpy's archive": lambda f: np.savez(f / "file", NUMBERS),
    "arrow": lambda f: pq.write_table(pa.table({"numbers": NUMBERS}), f / "file"),
    "tokenizers": _tokenizer,
    "sqlite": _database,
}


def build_with(writer: Callable[[Path], object], store: Store) -> None:
    def build(output: Path) -> Built:
        writer(output)
        return Built(kind="numbers")

    store.get_or_build(Identity("embed", {"version": 1}), build, inputs={}, run_id="run")


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_one_sentence_whichever_library_meets_it(
    writer: Callable[[Path], object], small_disk: Path
) -> None:
    store = Store(small_disk / "store")
    with pytest.raises(StoreError, match=r"^the disk is full \(.*zen gc.*nothing was lost$"):
        build_with(writer, store)
    assert list((store.root / "embed").iterdir()) == []


@pytest.mark.parametrize("writer", [WRITERS["text"], WRITERS["safetensors"], _tokenizer, WRITERS["arrow"]])
def test_a_limit_on_the_size_of_files_is_named(writer: Callable[[Path], object], tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreError, match="ulimit -f"):
            build_with(writer, Store(tmp_path / "store"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_workspace_that_was_removed_is_the_cause_that_is_named(tmp_path: Path) -> None:
    home = tmp_path / ".zen"
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", str(home / "store" / "file"))
    assert str(explain_os_error(missing, home)).startswith(f"{home} was removed")
    home.mkdir()
    assert explain_os_error(missing, home) is None


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    assert explain_os_error(ValueError("3 requested"), tmp_path) is None
    assert explain_os_error(TimeoutError(), tmp_path) is None
