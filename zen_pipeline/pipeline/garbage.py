"""Removing artifacts that nothing refers to any more."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel

from zen_pipeline.artifacts import Manifest
from zen_pipeline.errors import StoreError
from zen_pipeline.locks import try_lock
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.verdicts import JUDGEMENT
from zen_pipeline.workspace import Workspace

log = get_logger(__name__)


class Removed(BaseModel):
    """One folder that was, or would be, removed."""

    folder: str
    bytes: int
    what: str


def collect_garbage(workspace: Workspace, *, keep_runs: int, dry_run: bool = False) -> list[Removed]:
    """Remove what neither the last `keep_runs` runs of a pipeline, a registered model nor a running stage refers to.

    An artifact that is kept keeps everything that it was made from, and the verdicts on it. Damaged artifacts that
    were set aside and what killed builds left go too, and scratch once every run has ended well.
    """
    artifacts = list(workspace.store.manifests())
    kept = _closure(_recent(workspace, keep_runs) | _registered(workspace), artifacts)
    kept |= {m.fingerprint for _, m in artifacts if m.stage == JUDGEMENT and kept >= _inputs(m)}
    removed = []
    for folder, manifest in artifacts:
        if manifest.fingerprint in kept:
            continue
        if (entry := _remove_artifact(workspace, folder, manifest, dry_run)) is not None:
            removed.append(entry)
    return removed + _remove_leftovers(workspace, dry_run)


def _inputs(manifest: Manifest) -> set[str]:
    return {entry.fingerprint for entry in manifest.inputs.values()}


def _recent(workspace: Workspace, keep_runs: int) -> set[str]:
    by_pipeline = defaultdict(list)
    for record in workspace.runs():
        by_pipeline[record.pipeline].append(record)
    kept: set[str] = set()
    for records in by_pipeline.values():
        running = [r for r in records if r.status == "running"]
        for record in [*records[len(records) - keep_runs if keep_runs < len(records) else 0 :], *running]:
            kept.update(s.fingerprint for s in record.stages if s.fingerprint)
    return kept


def _registered(workspace: Workspace) -> set[str]:
    from zen_pipeline.serving.registry import registered_fingerprints
    from zen_pipeline.tracking import local_database, local_tracking_uri

    database = local_database(local_tracking_uri(workspace.mlflow_folder))
    lost = database is not None and not (database.is_file() and database.stat().st_size)
    if lost and any(workspace.store.root.glob("pretrain/*/manifest.json")):
        raise StoreError(
            f"{database} is missing or empty, so nobody knows which models are registered, and nothing is removed: "
            "put the database back, or run `zen run`, which registers the models of the store anew"
        )
    return registered_fingerprints(workspace)


def _closure(roots: set[str], artifacts: list[tuple[Path, Manifest]]) -> set[str]:
    upstream = {m.fingerprint: [i.fingerprint for i in m.inputs.values()] for _, m in artifacts}
    kept: set[str] = set()
    waiting = list(roots)
    while waiting:
        fingerprint = waiting.pop()
        if fingerprint not in kept:
            kept.add(fingerprint)
            waiting.extend(upstream.get(fingerprint, []))
    return kept


def _remove_artifact(workspace: Workspace, folder: Path, manifest: Manifest, dry_run: bool) -> Removed | None:
    """Remove it under its lock; None when a running stage holds the lock."""
    entry = Removed(folder=str(folder), bytes=manifest.size, what=f"artifact of {manifest.stage}, {manifest.created}")
    if dry_run:
        return entry
    with try_lock(workspace.store.lock_file(manifest.stage, manifest.fingerprint)) as held:
        if not held:
            log.info("%s is in use and stays", folder)
            return None
        workspace.store.remove(folder)
    return entry


def _remove_leftovers(workspace: Workspace, dry_run: bool) -> list[Removed]:
    leftovers = [(p, "damaged artifact") for p in sorted((workspace.store.root / "damaged").glob("*"))]
    leftovers += [(p, "half-removed artifact") for p in sorted(workspace.store.root.glob("*/.removing-*"))]
    leftovers += [(p, "half-built artifact") for p in sorted(workspace.store.root.glob("*/.building-*"))]
    # Checkpoints of a training that was stopped are there to go on from: they stay while any run has not ended well.
    if all(record.status == "completed" for record in workspace.runs()):
        leftovers += [(p, "scratch of a stage") for p in sorted((workspace.home / "work").glob("*"))]
    removed = []
    for folder, what in leftovers:
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        building = folder.name.startswith(".building-")
        name = f"{folder.parent.name}-{folder.name.removeprefix('.building-')}" if building else folder.name
        with try_lock(workspace.store.locks_folder / f"{name}.lock") as held:
            if not held:
                log.info("%s is in use and stays", folder)
                continue
            if not dry_run:
                shutil.rmtree(folder)
        removed.append(Removed(folder=str(folder), bytes=size, what=what))
    return removed
