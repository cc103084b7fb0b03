"""The workspace: the `.zen` folder that holds the store, the runs, and the local servers' databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from zen_pipeline.artifacts import Store, step_name
from zen_pipeline.errors import ConfigError, NotReleased, StoreError, first_line
from zen_pipeline.files import expanded, explain_os_error, remove_half_written, write_atomically
from zen_pipeline.locks import is_held, remove_abandoned, try_lock
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

StageStatus = Literal["ran", "cached", "skipped", "failed"]


class StageRecord(BaseModel):
    """What one stage did in one pipeline run, for one model where it works on models.

    Attributes:
        name: of the stage.
        model: short name of the model.
        skipped: the reason why it had nothing to do.
        report: the page on what was judged, relative to the workspace.
    """

    name: str
    model: str | None = None
    status: StageStatus
    seconds: float
    fingerprint: str | None = None
    artifact: str | None = None
    skipped: str | None = None
    report: str | None = None

    @property
    def step(self) -> str:
        """The step of the chain: `evaluate-chat`, or the stage's own name."""
        return step_name(self.name, self.model)


class RunRecord(BaseModel):
    """One pipeline run, kept in `.zen/runs/<run_id>.json` for `zen plan` and `zen gc`."""

    run_id: str
    pipeline: str
    started: str
    status: Literal["running", "completed", "failed", "interrupted"] = "running"
    seconds: float = 0.0
    mlflow_run_id: str | None = None
    mlflow_experiment_id: str | None = None
    stages: list[StageRecord] = []
    released: list[dict[str, Any]] = []

    def require_champion(self) -> None:
        """See that the most finished model of this run is the champion.

        Raises:
            NotReleased: with the reason that the release stage gave.
        """
        if not self.released:
            raise NotReleased("no new champion: the run did not reach the release stage")
        if self.released[-1].get("alias") != "champion":
            raise NotReleased(f"no new champion: {self.released[-1].get('reason', 'no reason given')}")


@dataclass(frozen=True)
class Workspace:
    """Paths below one `.zen` folder."""

    home: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace named by `ZEN_HOME`, or the nearest `.zen` in this folder or above it.

        Raises:
            ConfigError: there is none; the message says how to make or name one.
        """
        if named := os.environ.get("ZEN_HOME"):
            home = _nameable(expanded(named).resolve())
            if home.is_dir():
                return cls(home)
            if home.exists():
                raise ConfigError(f"ZEN_HOME names {home}, which is not a folder: name another one")
            raise ConfigError(f"ZEN_HOME names {home}, which does not exist: run `zen run` to make it")
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / ".zen").is_dir():
                return cls(_nameable(folder / ".zen"))
        raise ConfigError(
            f"no .zen folder in {here} or above it: change to your project's folder, "
            "name the workspace in ZEN_HOME, or start one with `zen run`"
        )

    @classmethod
    def find_or_create(cls, start: Path | None = None) -> Workspace:
        """The workspace as `find` finds it, or a new `.zen` in the working folder.

        Raises:
            StoreError: the folder cannot be made.
        """
        named = os.environ.get("ZEN_HOME")
        try:
            return cls.find(start)
        except ConfigError:
            home = _nameable(expanded(named).resolve() if named else (start or Path.cwd()).resolve() / ".zen")
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds the texts; its owner may open it to others
        except OSError as error:
            raise StoreError(explain_os_error(error, home) or f"cannot make {home}: {error}") from error
        return cls(home)

    @property
    def store(self) -> Store:
        """The artifact store of this workspace."""
        return Store(self.home / "store")

    @property
    def runs_folder(self) -> Path:
        """One JSON file per pipeline run."""
        return self.home / "runs"

    def report_file(self, run_id: str) -> Path:
        """The page that shows everything about one run."""
        return self.runs_folder / f"{run_id}.html"

    @property
    def mlflow_folder(self) -> Path:
        """The local MLflow database and its artifacts."""
        return self.home / "mlflow"

    @property
    def prefect_folder(self) -> Path:
        """The local Prefect server's home."""
        return self.home / "prefect"

    @property
    def models_folder(self) -> Path:
        """Released models that were downloaded from a server."""
        return self.home / "models"

    @property
    def data_folder(self) -> Path:
        """Public data sets that were downloaded by name, one folder each."""
        return self.home / "data"

    @property
    def catalogue_folder(self) -> Path:
        """The user's own catalogue entries."""
        return self.home / "catalogue"

    def work_folder(self, stage: str, fingerprint: str) -> Path:
        """Scratch of one stage that survives its process: checkpoints, logs. Removed when the artifact is stored."""
        return self.home / "work" / f"{stage}-{fingerprint[:16]}"

    def calibration(self, what: str) -> int:
        """How often the sizes, or those of `what`, were to be chosen anew here; part of their fingerprint."""
        return sum(_number_in(path) for path in (self._calibration_file, self._calibrations / what))

    def recalibrate(self, what: str | None = None) -> None:
        """Have the next `resolve` measure this machine again, or only that of `what`."""
        path = self._calibration_file if what is None else self._calibrations / what
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, f"{_number_in(path) + 1}\n")

    def confirm(self, fingerprint: str) -> None:
        """Remember that sizes from a doubtful measurement were found to be right."""
        self._calibrations.mkdir(exist_ok=True)
        write_atomically(self._calibrations / f"confirmed-{fingerprint[:16]}", "")

    def is_confirmed(self, fingerprint: str) -> bool:
        """True if `confirm` was called for these sizes."""
        return (self._calibrations / f"confirmed-{fingerprint[:16]}").exists()

    @property
    def _calibration_file(self) -> Path:
        return self.home / "calibration"

    @property
    def _calibrations(self) -> Path:
        return self.home / "calibrations"

    @contextmanager
    def mark_alive(self, run_id: str) -> Iterator[None]:
        """Hold a lock that dies with this process: a run that says `running` without it was killed."""
        with try_lock(self._alive_file(run_id)):
            yield

    def _alive_file(self, run_id: str) -> Path:
        return self.runs_folder / f"{run_id}.lock"

    def _is_alive(self, run_id: str) -> bool:
        return is_held(self._alive_file(run_id))

    def save_run(self, record: RunRecord) -> None:
        """Write or replace the record of one run; its places are kept relative to the workspace, which may be moved."""
        stored = record.model_copy(deep=True)
        for stage in stored.stages:
            if stage.artifact is not None and Path(stage.artifact).is_relative_to(self.home):
                stage.artifact = str(Path(stage.artifact).relative_to(self.home))
        self.runs_folder.mkdir(exist_ok=True)  # not its parents: a workspace that was removed is not made again
        write_atomically(self.runs_folder / f"{record.run_id}.json", stored.model_dump_json(indent=1))

    def runs(self, pipeline: str | None = None) -> list[RunRecord]:
        """All readable run records, oldest first; of one pipeline when it is named.

        A run whose process was killed could not write its end down; it is given as interrupted.
        """
        records = [r for r in self._read_runs() if pipeline is None or r.pipeline == pipeline]
        for record in records:
            if record.status == "running" and not self._is_alive(record.run_id):
                record.status = "interrupted"
        return sorted(records, key=lambda r: (r.started, r.run_id))

    def _read_runs(self) -> list[RunRecord]:
        records = []
        for path in self.runs_folder.glob("*.json"):
            try:
                records.append(RunRecord.model_validate_json(path.read_bytes()))
            except (OSError, ValueError) as error:
                log.warning("%s is not a run record and is ignored: %s", path, first_line(error))
        for stage in (stage for record in records for stage in record.stages):
            if stage.artifact is not None:
                stage.artifact = str(self.home / stage.artifact)
        return records

    def remove_abandoned(self) -> None:
        """Remove what killed processes have left besides their work: locks, and files that they began to write."""
        for folder in (self.runs_folder, self.home / "locks", self.store.locks_folder):
            remove_abandoned(folder)
            remove_half_written(folder)
        remove_half_written(self.home)

    def killed_runs(self) -> list[RunRecord]:
        """The runs that still say `running` although their process is gone."""
        return [r for r in self._read_runs() if r.status == "running" and not self._is_alive(r.run_id)]

    def note_checked_data(self, fingerprint: str) -> None:
        """Remember what `zen data validate` made last: it is no run, and leaves no record of one."""
        write_atomically(self._checked_data, fingerprint)

    def checked_data(self) -> str | None:
        """The fingerprint of what `zen data validate` made, when nothing has run since; else None."""
        try:
            runs = max((path.stat().st_mtime_ns for path in self.runs_folder.glob("*.json")), default=0)
            return self._checked_data.read_text() if self._checked_data.stat().st_mtime_ns > runs else None
        except OSError:
            return None

    @property
    def _checked_data(self) -> Path:
        return self.home / "checked-data"

    def last_fingerprint(self, pipeline: str, step: str) -> str | None:
        """The fingerprint that the step had when it last ended well in this pipeline."""
        for record in reversed(self.runs(pipeline)):
            for done in record.stages:
                if done.step == step and done.fingerprint and done.status != "failed":
                    return done.fingerprint
        return None


def _nameable(home: Path) -> Path:
    """The same path, when its name can stand in JSON and in the addresses of databases.

    Raises:
        ConfigError: it is no UTF-8.
    """
    try:
        str(home).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"the name of the folder {os.fsencode(home)!r} is not UTF-8, and no database can be addressed in it: "
            "rename it, or name another folder in ZEN_HOME"
        ) from None
    return home


def _number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
