"""Validate: set bad records aside, divide the good ones, and let the expectations decide whether they may be used.

The order: measure; remove exact duplicates; remove near duplicates; divide; remove from training what the test data
holds; judge. The texts are never in memory together (`corpus.parts`); a record costs some tens of bytes there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.corpus import files
from zen_pipeline.corpus.contamination import Evidence, Protected, Window, window_hashes
from zen_pipeline.corpus.deduplicate import exact_duplicates
from zen_pipeline.corpus.digests import digest_files
from zen_pipeline.corpus.divide import Dividing
from zen_pipeline.corpus.expectations import judge, suite_digests
from zen_pipeline.corpus.fates import Fates
from zen_pipeline.corpus.measures import read_kept
from zen_pipeline.corpus.near_duplicates import MinHash, SignatureFiles
from zen_pipeline.corpus.parts import (
    Parts,
    id_positions,
    prepare,
    protected_matches,
    protected_windows,
)
from zen_pipeline.corpus.records import Record
from zen_pipeline.corpus.split import assign
from zen_pipeline.corpus.units import Hashes, Integers, Texts, normal_form
from zen_pipeline.corpus.workers import ordered, worker_count
from zen_pipeline.errors import DataError
from zen_pipeline.settings.data import ValidateConfig
from zen_pipeline.stages.base import Inputs, Stage, StageContext, always
from zen_pipeline.stages.validate_report import Unreadable, report, summarize
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

STAGE_VERSION = 2


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write records.parquet, set_aside.parquet, measures.parquet, validation.json and validation.html.

    Raises:
        ConfigError: evaluation data does not exist.
        DataError: too few records are left to divide, or none to train on.
        ValidationFailed: an expectation with the action `stop` is not met; the report lies in the work folder.
    """
    settings = config.validate_
    collected = inputs["collect"].path
    unreadable = Unreadable.of(collected)
    folder = context.work / "parts"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    parts = Parts(collected / "records.parquet", folder, settings)
    workers = worker_count(parts.text_bytes(), settings.workers)
    fates = _prepare(parts, workers)
    if not fates.kept.any():
        raise DataError(_nothing_left(fates, len(unreadable.rows), settings))
    notes = _split(parts, fates, workers)
    contamination, evaluation_ids = _decontaminate(parts, fates, workers)
    divided = Dividing(parts, fates, evaluation_ids)
    divided.write(output)
    shutil.rmtree(folder)
    summary = summarize(fates, divided, len(unreadable.rows)) | {"contamination": contamination}
    kept = read_kept(output / "measures.parquet")
    findings = judge({"records": kept, "corpus": _corpus_row(summary)}, settings.suites)
    reasons = [*divided.reasons, *unreadable.reasons()]
    report(config.name, output, context, summary, findings, kept, reasons, notes)
    return Built("records", summary)


def _prepare(parts: Parts, workers: int) -> Fates:
    """Write the parts, and find exact and near duplicates."""
    settings = parts.config
    count = parts.count()
    told: list[Any] = []
    keys = [parts.folder / f"key{number}.u64" for number in (0, 1)]
    minhash = MinHash(settings.near_duplicates)
    with (
        SignatureFiles(parts.folder / "signatures", minhash) as signatures,
        keys[0].open("wb") as high,
        keys[1].open("wb") as low,
    ):
        row = 0
        for prepared in ordered(prepare, ((parts, index) for index in range(count)), workers):
            high.write(prepared.keys[0].tobytes())
            low.write(prepared.keys[1].tobytes())
            if prepared.signed is not None:
                signatures.add(prepared.signed, row)
            told.append((prepared.reasons, prepared.roles, prepared.groups))
            row += len(prepared.reasons)
    fates = Fates(told)
    if fates.kept.any():
        originals = exact_duplicates([np.memmap(path, np.uint64, "r") for path in keys], fates.candidates())
        fates.set_duplicates(originals, remove=settings.deduplicate)
        fates.set_near_duplicates(signatures.find(fates.kept, fates.priority))
    return fates


def _split(parts: Parts, fates: Fates, workers: int) -> list[str]:
    """Give every kept record a split; returns what had to be done so that none is empty."""
    kept = fates.kept

    def record_positions() -> Hashes:
        every = ordered(id_positions, ((parts, index) for index in range(parts.count())), workers)
        return np.concatenate(list(every))[kept]

    divided = assign(
        fates.groups[kept],
        fates.roles[kept],
        record_positions,
        validation_fraction=parts.config.validation_fraction,
        test_fraction=parts.config.test_fraction,
    )
    fates.splits[kept] = divided.splits
    return divided.notes


def _decontaminate(parts: Parts, fates: Fates, workers: int) -> tuple[dict[str, int], list[str]]:
    """Take out of training what the test split or the evaluation data holds.

    Returns:
        figures for the summary, and the ids of the evaluation data, by which the verdicts name it.

    Raises:
        DataError: nothing is left to train on.
    """
    settings = parts.config.contamination
    if not settings.enabled:
        return {}, []
    ids: list[str] = []
    seen = [*_evaluation_windows(parts.config, ids), *_test_windows(parts, fates, workers)]
    protected = Protected.build((hashes, owners) for hashes, owners, _ in seen)
    protected.save(parts.folder)
    evidence = Evidence(protected, settings)
    tasks = _places(parts, fates, "train")
    for (_, index, places), matches in zip(tasks, ordered(protected_matches, tasks, workers), strict=True):
        evidence.add(matches, places + fates.firsts[index])
    fates.set_contaminated(evidence.verdicts())
    if not fates.in_split("train").any():
        raise DataError(
            f"all {len(fates.verdicts.rows)} training records share runs of {settings.words} words with the test data: "
            "add other text, or raise validate.contamination.max_overlap"
        )
    figures = {
        "protected_records": sum(len(counts) for _, _, counts in seen),
        "too_short_to_protect": sum(int((counts == 0).sum()) for _, _, counts in seen),
        "protected_runs": len(protected.keys),
        "boilerplate_runs": evidence.boilerplate,
    }
    return figures, ids


def _places(parts: Parts, fates: Fates, split: str) -> list[tuple[Parts, int, Integers]]:
    """For every part the places in it of what is kept in a split; parts without any are left out."""
    inside = fates.in_split(split)
    found = ((parts, index, np.flatnonzero(inside[rows])) for index, rows in enumerate(fates.parts()))
    return [task for task in found if len(task[2])]


Windows = tuple[Hashes, Integers, Integers]  # hashes, the owner of each, windows of each record


def _test_windows(parts: Parts, fates: Fates, workers: int) -> Iterator[Windows]:
    tasks = _places(parts, fates, "test")
    for (_, index, places), (hashes, counts) in zip(tasks, ordered(protected_windows, tasks, workers), strict=True):
        yield hashes, np.repeat(places + fates.firsts[index], counts), counts


def _evaluation_windows(settings: ValidateConfig, ids: list[str]) -> Iterator[Windows]:
    """Those of the evaluation data, one file at a time; the ids of its records are appended to `ids`."""
    if not settings.evaluation_data:
        return
    window = Window.of(settings.contamination)
    for file in files.find_files(settings.evaluation_data).files:
        entries = files.read_files([file], text_column="text", split_text="auto")
        records = [entry for entry in entries if isinstance(entry, Record)]
        hashes, counts = window_hashes(Texts.of([normal_form(record.text) for record in records]), window)
        numbers = -1 - np.arange(len(ids), len(ids) + len(records))
        ids.extend(record.id for record in records)
        yield hashes, np.repeat(numbers, counts), counts


def _corpus_row(summary: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{name: value for name, value in summary.items() if isinstance(value, int | float)}])


def _nothing_left(fates: Fates, unreadable: int, settings: ValidateConfig) -> str:
    counts = sorted(fates.counts().items(), key=lambda pair: -pair[1])
    found = ", ".join(f"{count} {reason}" for reason, count in counts)
    return (
        f"no record is left after validation: {found}; {unreadable} could not be read. "
        f"Records need at least {settings.min_characters} characters (validate.min_characters): "
        "add longer texts, or lower the limit"
    )


def _settings(config: Config) -> dict[str, Any]:
    settings = config.validate_.identity()
    del settings["suites"], settings["evaluation_data"]  # paths; the contents are among the sources
    return settings


def _digests(config: Config, _workspace: Workspace) -> dict[str, Any]:
    settings = config.validate_
    digests: dict[str, Any] = {"suites": suite_digests(settings.suites)}
    if settings.evaluation_data:
        found = files.find_files(settings.evaluation_data).files
        digests["evaluation_data"] = digest_files([(file.name, str(file.path)) for file in found])
    return digests


STAGE = Stage(
    name="validate",
    version=STAGE_VERSION,
    needs=always("collect"),
    build=build,
    settings=_settings,
    sources=_digests,
    libraries=("great-expectations", "pandas"),
)
run = STAGE.run
