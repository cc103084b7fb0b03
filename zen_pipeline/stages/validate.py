"""Validate: set bad records aside and divide the good ones; the suites then judge whether they may be used.

The order: clean; measure; remove exact duplicates; remove near duplicates; divide; remove from training what the test
data holds. The texts are never in memory together (`corpus.parts`); a record costs some tens of bytes there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zen_pipeline.artifacts import Built, canonical_json
from zen_pipeline.config import Config
from zen_pipeline.corpus.duplicates.contamination import Evidence, Protected, Window, window_hashes
from zen_pipeline.corpus.duplicates.exact import exact_duplicates
from zen_pipeline.corpus.duplicates.minhash import MinHash, SignatureFiles
from zen_pipeline.corpus.duplicates.normal_form import Hashes, Integers, Texts, normal_form
from zen_pipeline.corpus.expectations.suites import set_aside_identity
from zen_pipeline.corpus.profile.profile import Profile
from zen_pipeline.corpus.reading import find as files
from zen_pipeline.corpus.reading.digests import digest_files
from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import SPLITS, Record, read_columns
from zen_pipeline.corpus.split import assign
from zen_pipeline.corpus.validating.divide import Dividing
from zen_pipeline.corpus.validating.parts import (
    Parts,
    cleaned_text,
    id_positions,
    prepare,
    profile_part,
    protected_matches,
    protected_windows,
)
from zen_pipeline.corpus.validating.record_status import CONTAMINATED, NEAR_DUPLICATE, RecordStates
from zen_pipeline.corpus.validating.workers import Workers, worker_count
from zen_pipeline.errors import DataError
from zen_pipeline.judging.judge_data import judge_data
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.settings.data import ValidateConfig
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 7

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write records.parquet, set_aside.parquet, measures.parquet and profile.json.

    Raises:
        ConfigError: evaluation data does not exist.
        DataError: too few records are left to divide, or none to train on.
    """
    settings = config.validate_
    collected = inputs["collect"].path
    unreadable, not_learnt = _aside(collected)
    folder = context.work / "parts"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    parts = Parts(collected / "records.parquet", folder, settings, canonical_json(set_aside_identity(settings.suites)))
    with Workers(worker_count(*parts.size(), settings.workers)) as workers:
        states, cleaning = _prepare(parts, workers)
        if not states.kept.any():
            raise DataError(_nothing_left(states, unreadable, settings))
        notes, missing = _split(parts, states, workers)
        contamination, evaluation_ids = _decontaminate(parts, states, workers)
        divided = Dividing(parts, states, evaluation_ids)
        divided.write(output)
        _profile(parts, states, workers).save(output)
    shutil.rmtree(folder)
    summary = _summary(states, divided, unreadable, not_learnt) | {
        **cleaning,
        "contamination": contamination,
        "notes": notes,
        "missing": missing,
    }
    _tell(summary)
    return Built("records", summary)


def _aside(collected: Path) -> tuple[int, int]:
    """How many rows could not be read, and how many were read well and are not to be learnt."""
    counts = [0, 0]
    for rows, not_learnt in read_columns(collected / "aside.parquet", "rows", "not_learnt"):
        for count, which in zip(rows, not_learnt, strict=True):
            counts[which] += count
    return counts[0], counts[1]


def _prepare(parts: Parts, workers: Workers) -> tuple[RecordStates, dict[str, dict[str, int]]]:
    """Write the parts, and find exact and near duplicates; also what cleaning did, for the summary."""
    settings = parts.config
    count = parts.count()
    told: list[Any] = []
    cleaning: dict[str, Counter[str]] = {name: Counter() for name in ("changes", "personal", "failed")}
    keys = [parts.folder / f"key{number}.u64" for number in (0, 1)]
    minhash = MinHash(settings.near_duplicates)
    with (
        SignatureFiles(parts.folder / "signatures", minhash) as signatures,
        keys[0].open("wb") as high,
        keys[1].open("wb") as low,
    ):
        row = 0
        for prepared in workers.ordered(prepare, ((parts, index) for index in range(count))):
            high.write(prepared.keys[0].tobytes())
            low.write(prepared.keys[1].tobytes())
            if prepared.signed is not None:
                signatures.add(prepared.signed, row)
            told.append((prepared.reasons, prepared.roles, prepared.groups))
            row += len(prepared.reasons)
            for name, counts in cleaning.items():
                counts.update(getattr(prepared, name))
    states = RecordStates(told)
    if states.kept.any():
        originals = exact_duplicates([np.memmap(path, np.uint64, "r") for path in keys], states.candidates())
        states.set_duplicates(originals, remove=settings.deduplicate)
        states.set_near_duplicates(signatures.find(states.kept, states.priority))
    return states, {name: dict(sorted(counts.items())) for name, counts in cleaning.items()}


def _split(parts: Parts, states: RecordStates, workers: Workers) -> tuple[list[str], list[str]]:
    """Give every kept record a split; returns what had to be done so that none is empty, and what could not be."""
    kept = states.kept

    def record_positions() -> Hashes:
        every = workers.ordered(id_positions, ((parts, index) for index in range(parts.count())))
        return np.concatenate(list(every))[kept]

    divided = assign(
        states.groups[kept],
        states.roles[kept],
        np.concatenate([parts.kinds(index) for index in range(parts.count())])[kept],
        record_positions,
        validation_fraction=parts.config.validation_fraction,
        test_fraction=parts.config.test_fraction,
    )
    states.splits[kept] = divided.splits
    for note in (*divided.notes, *divided.missing):
        log.warning("splits: %s", note)
    return divided.notes, divided.missing


def _decontaminate(parts: Parts, states: RecordStates, workers: Workers) -> tuple[dict[str, int], list[str]]:
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
    seen = [*_evaluation_windows(parts.config, ids), *_test_windows(parts, states, workers)]
    protected = Protected.build((hashes, owners) for hashes, owners, _ in seen)
    protected.save(parts.folder)
    evidence = Evidence(protected, settings)
    tasks = _places(parts, states, "train")
    for (_, index, places), matches in zip(tasks, workers.ordered(protected_matches, tasks), strict=True):
        evidence.add(matches, places + states.firsts[index])
    states.set_contaminated(evidence.verdicts())
    if not states.in_split("train").any():
        raise DataError(
            f"all {len(states.verdicts.rows)} training records share runs of {settings.words} words with test data: "
            "add other text, or raise validate.contamination.max_overlap"
        )
    figures = {
        "protected_records": sum(len(counts) for _, _, counts in seen),
        "too_short_to_protect": sum(int((counts == 0).sum()) for _, _, counts in seen),
        "protected_runs": len(protected.keys),
        "boilerplate_runs": evidence.boilerplate,
    }
    return figures, ids


def _places(parts: Parts, states: RecordStates, split: str) -> list[tuple[Parts, int, Integers]]:
    """For every part the places in it of what is kept in a split; parts without any are left out."""
    inside = states.in_split(split)
    found = ((parts, index, np.flatnonzero(inside[rows])) for index, rows in enumerate(states.parts()))
    return [task for task in found if len(task[2])]


Windows = tuple[Hashes, Integers, Integers]  # hashes, the owner of each, windows of each record


def _test_windows(parts: Parts, states: RecordStates, workers: Workers) -> Iterator[Windows]:
    tasks = _places(parts, states, "test")
    for (_, index, places), (hashes, counts) in zip(tasks, workers.ordered(protected_windows, tasks), strict=True):
        yield hashes, np.repeat(places + states.firsts[index], counts), counts


def _evaluation_windows(settings: ValidateConfig, ids: list[str]) -> Iterator[Windows]:
    """Those of the evaluation data, one file at a time; the ids of its records are appended to `ids`."""
    if not settings.evaluation_data:
        return
    window = Window.of(settings.contamination)
    reader = FilesReader(Shape("text", None, {}), "auto")
    for file in files.find_files(settings.evaluation_data).files:
        entries = reader.read([file])
        records = [entry for entry in entries if isinstance(entry, Record)]
        texts = [normal_form(cleaned_text(record, settings.clean)) for record in records]
        hashes, counts = window_hashes(Texts.of(texts), window)
        numbers = -1 - np.arange(len(ids), len(ids) + len(records))
        ids.extend(record.id for record in records)
        yield hashes, np.repeat(numbers, counts), counts


def _profile(parts: Parts, states: RecordStates, workers: Workers) -> Profile:
    """The counts of everything that is kept."""
    tasks = [(parts, index, np.flatnonzero(states.kept[rows])) for index, rows in enumerate(states.parts())]
    profile = Profile()
    for counted in workers.ordered(profile_part, tasks):
        profile.merge(counted)
    return profile


def _summary(states: RecordStates, divided: Dividing, unreadable: int, not_learnt: int) -> dict[str, Any]:
    """The figures of the whole corpus; those that are plain numbers are judged by the suite `corpus`.

    What is not to be learnt is set aside on purpose: the shares are of all other rows.
    """
    records, kept = len(states.reasons), int(states.kept.sum())
    wanted = records + unreadable
    total = wanted + not_learnt
    reasons = states.counts()
    splits = {
        name: {
            "records": int(inside.sum()),
            "bytes": divided.split_bytes[name],
            "groups": len(np.unique(states.groups[inside])),
        }
        for name in SPLITS
        for inside in [states.in_split(name)]
    }
    return {
        "records_in": total,
        "records": kept,
        "set_aside": total - kept,
        "unreadable": unreadable,
        "not_learnt": not_learnt,
        **divided.totals,
        "documents": divided.kinds.get("document", 0),
        "chats": divided.kinds.get("chat", 0),
        "share_set_aside": (wanted - kept) / wanted,
        "share_unreadable": unreadable / wanted,
        "share_duplicates": states.exact_duplicates / records,
        "share_near_duplicates": reasons.get(NEAR_DUPLICATE, 0) / records,
        "share_contaminated": reasons.get(CONTAMINATED, 0) / records,
        "share_language_unknown": divided.languages.get("und", 0) / kept,
        "share_train_bytes": splits["train"]["bytes"] / max(divided.totals["bytes"], 1),
        "reasons": reasons,
        "kinds": dict(sorted(divided.kinds.items())),
        "languages": dict(sorted(divided.languages.items())),
        "splits": splits,
    }


def _tell(summary: dict[str, Any]) -> None:
    log.info(
        "validated %d records: %d kept (%.2f MB), %d set aside",
        summary["records_in"],
        summary["records"],
        summary["bytes"] / 1e6,
        summary["set_aside"],
    )


def _nothing_left(states: RecordStates, unreadable: int, settings: ValidateConfig) -> str:
    counts = sorted(states.counts().items(), key=lambda pair: -pair[1])
    found = ", ".join(f"{count} {reason}" for reason, count in counts)
    message = f"no record is left after validation: {found}; {unreadable} could not be read"
    if "too short" in states.counts():
        limits = settings.min_characters
        limit = limits if isinstance(limits, int) else ", ".join(f"{n} for a {kind}" for kind, n in limits.items())
        return f"{message}. The fewest characters are {limit} (validate.min_characters): add longer texts, or lower it"
    return f"{message}: look at the reasons, and mend the data or the limits under validate"


def _settings(config: Config) -> dict[str, Any]:
    settings = config.validate_.identity()
    del settings["suites"]  # a path; what the suites set aside is among the sources, the rest only judges
    del settings["evaluation_data"]  # paths; the contents are among the sources
    return settings


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    settings = config.validate_
    digests: dict[str, Any] = {"suites": set_aside_identity(settings.suites)}
    if settings.evaluation_data:
        found = files.find_files(settings.evaluation_data).files
        digests["evaluation_data"] = digest_files(
            [(part.name, part.address) for file in found for part in (file, *file.partners)]
        )
    return digests


STAGE = Stage(
    name="validate",
    version=STAGE_VERSION,
    needs=always("collect"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("pandas", "py3langid", "selectolax"),
    judge=judge_data,
)
