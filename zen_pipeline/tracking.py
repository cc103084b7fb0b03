"""MLflow: one run per pipeline run, one nested run per stage, lineage as datasets with digests.

Everything goes through a client and run ids, never through MLflow's global active run, so that several threads
and processes can log. Without a tracker the same calls do nothing.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from zen_pipeline.artifacts import ArtifactRef, Identity
from zen_pipeline.errors import StoreError, ZenError
from zen_pipeline.locks import hold_lock
from zen_pipeline.logs import get_logger

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

log = get_logger(__name__)

# MLflow asks each environment variable when it is imported; none of these overrides what the user has set.
MLFLOW_QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_SHOWN_AS = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on traces of language model calls
_BATCH = 1000  # MLflow's limit of metrics in one request
_MOST_PARAMS = 100  # MLflow's limit of parameters in one request
_LONGEST_TAG = 5000
_LONGEST_PROFILE = 65_535
_NONE: Mapping[str, str] = {}


class StageTracker:
    """The tracked run of one stage; this base class is what a stage gets when nothing is tracked.

    Attributes:
        tracking_uri: address for a child process that logs into the same run; None without tracking.
        run_id: MLflow's id of the run; None without tracking.
    """

    tracking_uri: str | None = None
    run_id: str | None = None

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at one step."""

    def log_file(self, path: Path) -> None:
        """Keep a copy of a file that people look at: a report, a picture, a table."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Record words by which the run is found."""

    def finish(self, ref: ArtifactRef) -> None:
        """Record the artifact that the stage ended with."""


class Tracker:
    """Starts tracked runs; this base class tracks nothing."""

    run_id: str | None = None

    @contextmanager
    def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
        """The tracked run of one stage; ends as failed when the body raises."""
        yield StageTracker()

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"], metrics: Mapping[str, float]) -> None:
        """End the pipeline's run."""

    def close_killed(self, run_id: str) -> None:
        """End the run of a pipeline whose process was killed, and its nested runs."""


NO_TRACKING = Tracker()


def local_tracking_uri(mlflow_folder: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite database in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlflow_folder / 'mlflow.db'}"


def mlflow_client(mlflow_folder: Path) -> MlflowClient:
    """A client of the tracking server and registry in use; makes the local folder when it is missing."""
    for name, value in MLFLOW_QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    mlflow_folder.mkdir(parents=True, exist_ok=True)
    address = local_tracking_uri(mlflow_folder)
    database = local_database(address)
    return MlflowClient(tracking_uri=address) if database is None else _open_database(address, database)


def _open_database(address: str, database: Path) -> MlflowClient:
    """Make MLflow's tables, one process at a time: two at once fail on each other.

    Raises:
        StoreError: the file is no database that MLflow can read.
    """
    from mlflow import MlflowClient

    # It logs a traceback of what it raises, such as a locked database after an interrupt in a transaction.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with hold_lock(database.with_suffix(".lock"), what="the MLflow database", run_id="-"):
        try:
            client = MlflowClient(tracking_uri=address)
            client.get_experiment_by_name("zen")
        except OSError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "disk is full" in reason:
                raise StoreError(f"the disk is full ({database}): free some space and start again") from error
            raise StoreError(
                f"{database} cannot be read ({reason[:120]}): move it away and run `zen run` again; the store is kept, "
                "the registry's versions and aliases are lost"
            ) from error
    return client


class MlflowStage(StageTracker):
    """One nested run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self.tracking_uri = client.tracking_uri

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        with self._losing_nothing_else("figures"):
            log_metrics(self._client, str(self.run_id), metrics, step)

    @override
    def log_file(self, path: Path) -> None:
        with self._losing_nothing_else(path.name):
            self._client.log_artifact(str(self.run_id), str(path))

    @contextmanager
    def _losing_nothing_else(self, what: str) -> Iterator[None]:
        """A server that does not answer costs what it was told, not the hours of a training."""
        try:
            yield
        except Exception as error:
            log.warning("MLflow did not take %s: %s", what, _reason(error))

    @override
    def log_tags(self, tags: Mapping[str, str]) -> None:
        _log_batch(self._client, str(self.run_id), {}, tags=tags)

    @override
    def finish(self, ref: ArtifactRef) -> None:
        status = "skipped" if ref.skipped else "cached" if ref.cached else "ran"
        tags = {
            "zen.status": status,
            "zen.fingerprint": ref.fingerprint,
            "zen.digest": ref.digest,
            "zen.artifact": ref.folder,
        }
        if ref.skipped:
            tags["zen.skipped"] = ref.skipped
        with self._losing_nothing_else("the summary"):
            _log_batch(self._client, str(self.run_id), numbers(ref.summary), tags=tags)


class MlflowTracker(Tracker):
    """Tracks one pipeline run in MLflow."""

    def __init__(self, client: MlflowClient, *, experiment: str, run_name: str, tags: Mapping[str, str]) -> None:
        self._client = client
        self._experiment = experiment_id(client, experiment)
        run = client.create_run(self._experiment, run_name=run_name, tags={**_source_tags(), **tags})
        self.run_id = run.info.run_id

    @override
    @contextmanager
    def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
        tags = {**_source_tags(), "mlflow.parentRunId": str(self.run_id), "zen.stage": name}
        with self._answering():
            run_id = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        try:
            with self._answering():
                self._log_identity(run_id, identity, inputs)
            yield MlflowStage(self._client, run_id)
        except BaseException as error:
            stopped = not isinstance(error, Exception)
            with suppress(Exception):  # the stage's own error is the one to show
                self._client.set_terminated(run_id, "KILLED" if stopped else "FAILED")
            raise
        with self._answering():
            self._client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn a server that has gone into one clear message.

        Raises:
            ZenError: MLflow did not answer.
        """
        try:
            yield
        except Exception as error:
            where = without_password(self._client.tracking_uri)
            raise ZenError(
                f"MLflow at {where} cannot be used ({_reason(error)}): see that it runs, then start again; "
                "the stages that ended are kept"
            ) from error

    def _log_identity(self, run_id: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> None:
        from mlflow.entities import Param

        params = [Param(k, str(v)[:500]) for k, v in identity.parts.items() if not k.startswith("inputs.")]
        self._client.log_batch(run_id, params=params[:_MOST_PARAMS])
        if inputs:
            self._client.log_inputs(run_id, [_dataset_input(name, ref) for name, ref in inputs.items()])

    @override
    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"], metrics: Mapping[str, float]) -> None:
        with self._answering():
            log_metrics(self._client, str(self.run_id), metrics, 0)
            self._client.set_terminated(str(self.run_id), status)

    @override
    def close_killed(self, run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            experiment = self._client.get_run(run_id).info.experiment_id
            nested = self._client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
            for each in [run_id, *(r.info.run_id for r in nested if r.info.status == "RUNNING")]:
                self._client.set_terminated(each, "KILLED")
        except MlflowException as error:  # deleted since, or tracked elsewhere
            log.debug("the MLflow run %s could not be closed: %s", run_id, error)


def log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Log several numbers in as few requests as MLflow allows."""
    _log_batch(client, run_id, metrics, step=step)


def _log_batch(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], *, step: int = 0, tags: Mapping[str, str] = _NONE
) -> None:
    import time

    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
    run_tags = [RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()]
    for start in range(0, max(len(entries), 1 if run_tags else 0), _BATCH):
        client.log_batch(run_id, metrics=entries[start : start + _BATCH], tags=run_tags if start == 0 else ())


def _dataset_input(name: str, ref: ArtifactRef) -> DatasetInput:
    """An input artifact in the form that MLflow shows: its source as JSON, its numbers as the profile."""
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=ref.stage,
        digest=ref.digest[:36],  # the longest that MLflow accepts
        source_type="local",
        source=json.dumps({"uri": ref.folder}),
        profile=json.dumps(numbers(ref.summary))[:_LONGEST_PROFILE],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", name), InputTag("fingerprint", ref.fingerprint)])


_NOT_IN_NAMES = re.compile(r"[^\w.\-:/]+")
_LONGEST_NAME = 250


def numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a nested summary, with dotted names that MLflow accepts.

    One name that it does not accept would cost all of them.
    """
    found: dict[str, float] = {}
    for key, value in summary.items():
        name = f"{prefix}{_NOT_IN_NAMES.sub(' ', key).strip()}"[:_LONGEST_NAME]
        if isinstance(value, bool | int | float):
            found[name] = float(value)
        elif isinstance(value, Mapping):
            found.update(numbers(value, f"{name}."))
    return found


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of this name, made when it is missing.

    With a local database its files go beside it: MLflow's own default is a folder in the working directory.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    database = local_database(client.tracking_uri)
    location = (database.parent / "artifacts" / name).as_uri() if database else None
    return str(client.create_experiment(name, artifact_location=location, tags=_SHOWN_AS))


def local_database(tracking_uri: str) -> Path | None:
    """The SQLite file behind a tracking address; None for a server."""
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix)) if tracking_uri.startswith(prefix) else None


def without_password(text: str) -> str:
    """The text with user and password taken out of the addresses in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


def _reason(error: Exception) -> str:
    return without_password((str(error).strip() or type(error).__name__).splitlines()[0][:200])


def _source_tags() -> dict[str, str]:
    """Who started the run and with what; MLflow shows both in its list of runs."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return {"mlflow.user": user, "mlflow.source.name": "zen", "mlflow.source.type": "LOCAL"}
