"""The artifact store: directories that are complete, verified and found by fingerprint.

An artifact is what one stage made: a directory whose `manifest.json` names every file with size and SHA-256.
It is addressed by the *fingerprint* of what decides its content (stage, version, settings, upstream
fingerprints, source digests, library versions), so that a stage whose inputs are unchanged is never run again.

Writing goes to a temporary sibling; files are synced, the manifest is written last, and one rename publishes the
directory. A process killed at any instant leaves either the whole artifact or none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from zen_pipeline.errors import StoreError, ZenError, first_line
from zen_pipeline.files import explain_os_error, file_digest, sealed, sync_folder, unsealed, write_atomically
from zen_pipeline.locks import hold_lock
from zen_pipeline.logs import get_logger

MANIFEST = "manifest.json"
FORMAT = 1

log = get_logger(__name__)


# --- identity ---------------------------------------------------------------------------------------------------------


def canonical_json(value: object) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII.

    Raises:
        TypeError: for anything without a stable JSON form (sets, paths, dates, keys that are not strings).
        ValueError: for NaN and infinities.
    """
    _check_canonical(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _check_canonical(value: object, where: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} has no canonical JSON form")
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_canonical(item, f"{where}[{index}]")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: the key {key!r} is not a string")
            _check_canonical(item, f"{where}.{key}")
        return
    raise TypeError(f"{where}: {type(value).__name__} has no canonical JSON form")


@dataclass(frozen=True)
class Identity:
    """Everything that decides what a stage would make, as a flat map that can be compared part by part.

    Keys are dotted: `version`, `settings.vocab_size`, `inputs.validate`, `sources.0`, `libraries.torch`.
    """

    stage: str
    parts: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the stage and its parts, in hex."""
        text = canonical_json({"stage": self.stage, "parts": dict(self.parts)})
        return hashlib.sha256(text.encode()).hexdigest()

    def changed_from(self, earlier: Mapping[str, Any]) -> list[str]:
        """The names of the parts that differ from those of an earlier artifact, sorted."""
        names = set(self.parts) | set(earlier)
        return sorted(n for n in names if _one_part(self.parts, n) != _one_part(earlier, n))


def _one_part(parts: Mapping[str, Any], name: str) -> str | None:
    """A part in its canonical form, in which a tuple and the list that was read back from JSON are equal."""
    return canonical_json(parts[name]) if name in parts else None


def step_name(stage: str, model: str | None) -> str:
    """The name of a stage's work for one model: `evaluate-chat`; of a stage that works once, its own."""
    return stage if model is None else f"{stage}-{model}"


def stage_of(step: str) -> str:
    """The stage of a step's name: `evaluate` of `evaluate-chat`. Artifacts lie in the store by stage."""
    return step.partition("-")[0]


def flatten(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Nested mappings as one level of dotted keys below `prefix`; lists stay values.

    Raises:
        TypeError: a key is not a string.
        ValueError: two keys have the same dotted name, so that one would hide the other.
    """
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{prefix}: the key {key!r} is not a string")
        name = f"{prefix}.{key}"
        below = flatten(item, name) if isinstance(item, Mapping) and item else {name: item}
        if twice := flat.keys() & below.keys():
            raise ValueError(f"{prefix}: two keys are called {min(twice)!r}")
        flat.update(below)
    return flat


# --- what is stored ---------------------------------------------------------------------------------------------------


class FileEntry(BaseModel):
    """One file of an artifact. `mtime_ns` only decides whether the digest must be checked again."""

    model_config = ConfigDict(extra="forbid")

    size: int
    sha256: str
    mtime_ns: int


class InputEntry(BaseModel):
    """One upstream artifact: what it was made from (fingerprint) and what it held (digest)."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    digest: str


class Manifest(BaseModel):
    """The content of `manifest.json`, written last and sealed, so that no bit of it changes unseen."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    kind: str
    stage: str
    fingerprint: str
    parts: dict[str, Any]
    inputs: dict[str, InputEntry]
    files: dict[str, FileEntry]
    summary: dict[str, Any]
    skipped: str | None = None
    run_id: str
    created: str
    seconds: float

    @property
    def digest(self) -> str:
        """SHA-256 over the names and digests of all files: equal content, equal digest."""
        return hashlib.sha256(canonical_json({n: f.sha256 for n, f in self.files.items()}).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files.values())


class ArtifactRef(BaseModel):
    """A small, serializable pointer to a stored artifact; what tasks pass to each other.

    Attributes:
        stage: name of the stage that made it.
        model: short name of the model that it is about; None for what is made once in a run.
        fingerprint: SHA-256 of what it was made from.
        digest: SHA-256 of what it holds.
        folder: absolute path of its directory.
        kind: what it holds, such as `records`, `tokens`, `model`.
        skipped: why the stage had nothing to do; None when it did its work.
        summary: the few numbers and words worth showing without opening it.
        cached: True when it was found in the store, False when it was just built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    model: str | None = None
    fingerprint: str
    digest: str
    folder: str
    kind: str
    skipped: str | None = None
    summary: dict[str, Any] = {}
    cached: bool = False

    @property
    def step(self) -> str:
        """The step of the chain that it comes from: `evaluate-chat`, or the stage's own name."""
        return step_name(self.stage, self.model)

    @property
    def path(self) -> Path:
        """The artifact's directory."""
        return Path(self.folder)

    @classmethod
    def of(cls, manifest: Manifest, folder: Path, *, cached: bool) -> ArtifactRef:
        """The reference to the artifact that `manifest` describes."""
        return cls(
            stage=manifest.stage,
            model=manifest.parts.get("model"),
            fingerprint=manifest.fingerprint,
            digest=manifest.digest,
            folder=str(folder),
            kind=manifest.kind,
            skipped=manifest.skipped,
            summary=manifest.summary,
            cached=cached,
        )


@dataclass
class Built:
    """What a stage's build reports about the directory that it filled."""

    kind: str
    summary: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None


Status = Literal["present", "missing", "damaged"]


# --- the store --------------------------------------------------------------------------------------------------------


class Store:
    """Artifacts in a local folder: `<root>/<stage>/<first 16 of fingerprint>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where the artifact of this fingerprint lies, or would lie."""
        return self.root / stage / fingerprint[:16]

    def inspect(self, stage: str, fingerprint: str, *, digests: bool = False) -> tuple[Status, str]:
        """The state of the artifact: missing, whole, or damaged and how. Changes nothing.

        Sizes are always compared. Digests are compared when asked, and for files whose modification time
        is not the one in the manifest.
        """
        folder = self.folder(stage, fingerprint)
        if not folder.is_dir():
            return "missing", ""
        try:
            manifest = read_manifest(folder)
        except StoreError as error:
            return "damaged", str(error)
        if manifest.fingerprint != fingerprint:
            return "damaged", f"{folder / MANIFEST} belongs to another fingerprint"
        for name, entry in manifest.files.items():
            try:
                found = (folder / name).stat()
            except OSError:
                return "damaged", f"{folder / name} is missing"
            if found.st_size != entry.size:
                return "damaged", f"{folder / name} has {found.st_size} bytes, expected {entry.size}"
            doubtful = digests or found.st_mtime_ns != entry.mtime_ns
            if doubtful and file_digest(folder / name) != entry.sha256:
                return "damaged", f"{folder / name} does not have the SHA-256 of its manifest"
        return "present", ""

    def find(self, stage: str, fingerprint: str, *, digests: bool = False) -> ArtifactRef | None:
        """The artifact of this fingerprint when it is there and whole, else None."""
        if self.inspect(stage, fingerprint, digests=digests)[0] != "present":
            return None
        folder = self.folder(stage, fingerprint)
        return ArtifactRef.of(read_manifest(folder), folder, cached=True)

    def get_or_build(
        self,
        identity: Identity,
        build: Callable[[Path], Built],
        *,
        inputs: Mapping[str, ArtifactRef],
        run_id: str,
        wait: bool = True,
        digests: bool = False,
    ) -> ArtifactRef:
        """The stored artifact, or the one that `build` makes now in the empty folder it is given.

        Only one process builds an artifact; others wait, saying for whom, or with `wait=False` raise.

        Raises:
            StageBusy: another run is building it and `wait` is False.
            StoreError: the store cannot be written or the disk is full; nothing half-written is left behind.
        """
        if (ref := self.find(identity.stage, identity.fingerprint, digests=digests)) is not None:
            return ref
        with self._explained(), self.lock(identity.stage, identity.fingerprint, run_id=run_id, wait=wait):
            status, problem = self.inspect(identity.stage, identity.fingerprint, digests=digests)
            if status == "present":
                found = self.find(identity.stage, identity.fingerprint)
                if found is not None:
                    return found
            if status == "damaged":
                self._set_aside(identity, problem)
            return self._build(identity, build, inputs, run_id)

    def _build(
        self, identity: Identity, build: Callable[[Path], Built], inputs: Mapping[str, ArtifactRef], run_id: str
    ) -> ArtifactRef:
        final = self.folder(identity.stage, identity.fingerprint)
        scratch = final.with_name(f".building-{final.name}")
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed build: we hold its lock
        scratch.mkdir(parents=True)
        started = time.monotonic()
        try:
            built = build(scratch)
            manifest = Manifest(
                kind=built.kind,
                stage=identity.stage,
                fingerprint=identity.fingerprint,
                parts=dict(identity.parts),
                inputs={n: InputEntry(fingerprint=r.fingerprint, digest=r.digest) for n, r in inputs.items()},
                files=_sync_and_list(scratch),
                summary=built.summary,
                skipped=built.skipped,
                run_id=run_id,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - started, 3),
            )
            write_atomically(scratch / MANIFEST, sealed(manifest.model_dump_json(indent=1)))
            os.rename(scratch, final)
            sync_folder(final.parent)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return ArtifactRef.of(manifest, final, cached=False)

    def _set_aside(self, identity: Identity, problem: str) -> None:
        folder = self.folder(identity.stage, identity.fingerprint)
        aside = self.root / "damaged" / f"{identity.stage}-{folder.name}-{time.time_ns()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, aside)
        log.warning("damaged artifact set aside in %s and built again: %s", aside, problem)

    @contextmanager
    def lock(self, stage: str, fingerprint: str, *, run_id: str, wait: bool = True) -> Iterator[None]:
        """Hold the right to build one artifact; the kernel releases it when the process dies."""
        path = self.lock_file(stage, fingerprint)
        with hold_lock(path, what=f"stage {stage}", run_id=run_id, wait=wait):
            yield

    @property
    def locks_folder(self) -> Path:
        """One lock file for each artifact that is being built."""
        return self.root / "locks"

    def lock_file(self, stage: str, fingerprint: str) -> Path:
        """What the builder of an artifact holds."""
        return self.locks_folder / f"{stage}-{fingerprint[:16]}.lock"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ZenError:
            raise
        except Exception as error:
            if _is_elsewhere(error, self.root) or (message := explain_os_error(error, self.root.parent)) is None:
                raise
            raise StoreError(message) from error

    def manifests(self) -> Iterator[tuple[Path, Manifest]]:
        """Every artifact that can be read, with its folder, in a stable order."""
        for path in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            if path.parent.name.startswith(".") or path.parent.parent.name == "damaged":
                continue
            try:
                yield path.parent, read_manifest(path.parent)
            except StoreError as error:
                log.warning("%s", error)

    def remove(self, folder: Path) -> None:
        """Delete one artifact; the rename first makes sure that nobody finds half of it."""
        doomed = folder.with_name(f".removing-{folder.name}")
        with self._explained():
            shutil.rmtree(doomed, ignore_errors=True)  # left by a removal that was killed
            os.rename(folder, doomed)
            shutil.rmtree(doomed)


def _is_elsewhere(error: Exception, root: Path) -> bool:
    """True if access was refused outside the workspace, such as to a source that a stage may not read."""
    filename = getattr(error, "filename", None)
    if filename is None or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return False
    return not Path(os.fsdecode(filename)).is_relative_to(root.parent)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of one artifact.

    Raises:
        StoreError: it is missing, not whole, or not of this format.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(unsealed(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is not a readable manifest: {first_line(error)}") from error


def _sync_and_list(folder: Path) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    folders = [folder]
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            folders.append(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        found = path.stat()
        name = path.relative_to(folder).as_posix()
        files[name] = FileEntry(size=found.st_size, sha256=file_digest(path), mtime_ns=found.st_mtime_ns)
    for each in folders:
        sync_folder(each)
    return files
