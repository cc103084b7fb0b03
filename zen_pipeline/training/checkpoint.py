"""Checkpoints that survive a kill at any instant: written aside, synced, renamed, and believed only with a manifest.

Two files per checkpoint: `step-00000100.ckpt` (Lightning's dictionary, loaded with `weights_only`) and
`step-00000100.json` with its size and SHA-256, written last. Without its manifest a checkpoint does not exist.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from zen_pipeline.files import file_digest, sealed, unsealed, write_atomically
from zen_pipeline.training.job import Setback

KEEP = 2
# Steps that a checkpoint to go back to lies before the one that failed: weights may be bad before losses.
CLEARANCE = 10


class CheckpointManifest(BaseModel):
    """What a checkpoint file must be to be used; its JSON is sealed with a SHA-256 of itself."""

    model_config = ConfigDict(extra="forbid")

    step: int
    size: int
    sha256: str
    identity: str
    setbacks: int = 0  # how often training had gone back when it was written


class AtomicCheckpointIO(CheckpointIO):
    """How Lightning writes and reads one checkpoint file.

    Args:
        identity: of the training job, written into the manifest.
        setbacks: how often it has gone back, written into the manifest.
    """

    def __init__(self, identity: str, setbacks: int = 0) -> None:
        self._identity, self._setbacks = identity, setbacks

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            manifest = CheckpointManifest(
                step=checkpoint["global_step"],
                size=temporary.stat().st_size,
                sha256=file_digest(temporary),
                identity=self._identity,
                setbacks=self._setbacks,
            )
            os.replace(temporary, path)
            write_atomically(path.with_suffix(".json"), sealed(manifest.model_dump_json()))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @override
    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = True) -> Any:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    @override
    def remove_checkpoint(self, path: Any) -> None:
        Path(path).with_suffix(".json").unlink(missing_ok=True)  # first: what is left is then no checkpoint
        Path(path).unlink(missing_ok=True)


class CheckpointFolder:
    """The checkpoints of one job.

    Args:
        folder: made when it is missing.
        identity: of the job; checkpoints of another one are not used.
        warn: told in one sentence what was wrong with a checkpoint that is passed over.
        setback: that the job went back; checkpoints of the steps that it took back are not used.
    """

    def __init__(
        self, folder: Path, identity: str, warn: Callable[[str], None], setback: Setback | None = None
    ) -> None:
        self.folder, self.io = folder, AtomicCheckpointIO(identity, 0 if setback is None else 1)
        self._identity, self._warn, self._setback = identity, warn, setback
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies, or would lie."""
        return self.folder / f"step-{step:08d}.ckpt"

    def newest(self, until: int | None = None) -> tuple[int, Path] | None:
        """(steps, file) of the newest checkpoint that is whole; damaged ones are removed with a warning.

        Args:
            until: leave out those of more steps.
        """
        for path in sorted({file.with_suffix(".ckpt") for file in self.folder.glob("step-*.*")}, reverse=True):
            step, problem = self._check(path.with_suffix(".json"), path)
            if problem is None and (until is None or step <= until):
                return step, path
            if problem is None:
                continue
            self._warn(f"checkpoint {path} is not used: {problem}")
            self.io.remove_checkpoint(path)
        return None

    def _check(self, manifest: Path, path: Path) -> tuple[int, str | None]:
        if not manifest.is_file():
            return 0, f"it has no {manifest.name}, which is written last"
        try:
            stated = CheckpointManifest.model_validate_json(unsealed(manifest.read_bytes()))
        except (OSError, ValueError):
            return 0, f"{manifest.name} is damaged"
        if manifest != self.path(stated.step).with_suffix(".json"):
            return stated.step, f"{manifest.name} is that of step {stated.step}"
        if stated.identity != self._identity:
            return stated.step, "it belongs to a training job with other settings"
        if (back := self._setback) is not None and stated.step > back.back_to and not stated.setbacks:
            return stated.step, f"training went back to step {back.back_to} after it was made"
        try:
            size = path.stat().st_size
        except OSError:
            return stated.step, "it is missing"
        if size != stated.size:
            return stated.step, f"it has {size} bytes instead of {stated.size}"
        if file_digest(path) != stated.sha256:
            return stated.step, "its SHA-256 is not the one in its manifest"
        return stated.step, None

    def prune(self) -> None:
        """Remove all but the newest checkpoints and one to go back to, and what killed processes left behind."""
        manifests = sorted(self.folder.glob("step-*.json"), reverse=True)
        clear = [m for m in manifests if _step_of(m) <= _step_of(manifests[0]) - CLEARANCE]
        old = [m for m in manifests[KEEP:] if m not in clear[:1]]
        for manifest in old:
            self.io.remove_checkpoint(manifest.with_suffix(".ckpt"))
        for orphan in self.folder.glob("step-*.ckpt"):
            if not orphan.with_suffix(".json").is_file():
                orphan.unlink(missing_ok=True)
        for left in self.folder.glob(".step-*.tmp"):
            left.unlink(missing_ok=True)


def _step_of(manifest: Path) -> int:
    return int(manifest.stem.removeprefix("step-"))
