"""Data sets of the Hugging Face hub as `hf://dataset/split`, or `hf://owner/dataset:config/split`.

Read as a stream by the library `datasets`, row by row; nothing is downloaded beyond what is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from zen_pipeline.corpus.reading.opening import TextFile
from zen_pipeline.corpus.reading.tables import Shape, Table
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.errors import ConfigError, DataError, first_line
from zen_pipeline.files import file_digest

FORMAT = "hf"
PREFIX = "hf://"
_ROLES = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid", "test": "test"}


class Address(NamedTuple):
    """A split of a data set: its name on the hub (or its folder), its configuration, the split."""

    dataset: str
    config: str | None
    split: str


def parse(address: str) -> Address:
    """The parts of an address.

    Raises:
        ConfigError: it has no split.
    """
    dataset, _, split = address.removeprefix(PREFIX).rpartition("/")
    name, _, config = dataset.partition(":")
    if not name or not split:
        raise ConfigError(f"{address} must name a data set and a split, such as hf://owner/dataset/train")
    return Address(name, config or None, split)


def find(address: str) -> TextFile:
    """The split as one file to read.

    Raises:
        ConfigError: `datasets` is not installed, or the address has no split.
    """
    parsed = parse(address)
    _library()
    name = Path(parsed.dataset).name + (f":{parsed.config}" if parsed.config else "")
    return TextFile(f"{name}/{parsed.split}", address, _ROLES.get(parsed.split), FORMAT)


def content_digest(address: str) -> str:
    """The commit of the data set on the hub; for a folder of this machine, the digests of its files.

    Raises:
        DataError: the hub cannot be asked.
    """
    parsed = parse(address)
    folder = Path(parsed.dataset)
    if folder.is_dir():
        paths = sorted(p for p in folder.rglob("*") if p.is_file())
        return " ".join([f"{p.relative_to(folder)} {file_digest(p)}" for p in paths] + [str(parsed.config)])
    from huggingface_hub import HfApi

    try:
        return f"commit {HfApi().dataset_info(parsed.dataset).sha} {parsed.config} {parsed.split}"
    except Exception as error:
        raise DataError(f"the hub cannot be asked for the version of {parsed.dataset}: {error}") from error


def read(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The rows of the split.

    Raises:
        DataError: it cannot be loaded, or its columns are of no known kind.
    """
    parsed = parse(file.address)
    table = Table(file, shape)
    for number, row in enumerate(_rows(parsed, file.address), 1):
        yield from table.row(row, f"row {number}")
    table.check_found()


def _rows(parsed: Address, address: str) -> Iterator[dict[str, Any]]:
    try:
        yield from _library().load_dataset(parsed.dataset, parsed.config, split=parsed.split, streaming=True)
    except Exception as error:
        raise DataError(f"cannot read {address}: {first_line(error, 300)}") from error


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigError('hf:// addresses need the library datasets: pip install "zen-pipeline[hf]"') from None
    datasets.disable_progress_bars()
    return datasets
