"""MLflow: one run per pipeline run, one nested run per stage, lineage as datasets with digests.

Everything goes through a client and run ids, never through MLflow's global active run, so that several threads
and processes can log. Without a tracker the same calls do nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from typing_extensions import override

from zen_pipeline.artifacts import ArtifactRef, Identity
from zen_pipeline.errors import TrackingError, first_line
from zen_pipeline.logs import get_logger
from zen_pipeline.tracking.client import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

log = get_logger(__name__)

_BATCH = 1000  # MLflow's limit of metrics in one request
_MOST_PARAMS = 100  # MLflow's limit of parameters in one request
_LONGEST_PARAM = 500
_LONGEST_TAG = 5000
_SUMMARY = "summary/"
_LONGEST_PROFILE = 65_535
_SLOW = 1.0  # seconds after which a call that fails has waited for a server that has gone
_LEFT_ALONE = 120.0  # seconds in which such a server is not asked again
T = TypeVar("T")
_NONE: Mapping[str, str] = {}
_NO_FIGURES: Mapping[str, float] = {}


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
    """Starts tracked runs; this base class tracks nothing.

    Attributes:
        run_id, experiment_id: MLflow's ids of the pipeline's run and of its experiment; None without tracking.
    """

    run_id: str | None = None
    experiment_id: str | None = None

    @contextmanager
    def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
        """The tracked run of one stage; ends as failed when the body raises."""
        yield StageTracker()

    def describe(
        self,
        settings: Mapping[str, str] = _NONE,
        figures: Mapping[str, float] = _NO_FIGURES,
        note: str = "",
        page: Path | None = None,
    ) -> None:
        """Record what the pipeline's run was asked for and what it came to: numbers, a Markdown note, a page."""

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"], metrics: Mapping[str, float]) -> None:
        """End the pipeline's run."""

    def close_killed(self, run_id: str) -> None:
        """End the run of a pipeline whose process was killed, and its nested runs."""


NO_TRACKING = Tracker()


class _BestEffort:
    """Calls of MLflow whose failure costs what it was to be told, and never the hours of a training."""

    def __init__(self) -> None:
        self._left_alone_until = 0.0

    def __call__(self, what: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """What the call returns; None and a warning when it fails. A server that has gone is left alone for a while."""
        if time.monotonic() < self._left_alone_until:
            return None
        started = time.monotonic()
        try:
            return call(*args, **kwargs)
        except Exception as error:
            if (now := time.monotonic()) - started > _SLOW:
                self._left_alone_until = now + _LEFT_ALONE
            log.warning("MLflow did not take %s: %s", what, first_line(error))
            return None


class MlflowStage(StageTracker):
    """One nested run."""

    def __init__(self, client: MlflowClient, run_id: str, try_to: _BestEffort) -> None:
        self._client, self._try = client, try_to
        self.run_id = run_id
        self.tracking_uri = client.tracking_uri

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._try("figures", log_metrics, self._client, str(self.run_id), metrics, step)

    @override
    def log_file(self, path: Path) -> None:
        self._try(path.name, self._client.log_artifact, str(self.run_id), str(path))

    @override
    def log_tags(self, tags: Mapping[str, str]) -> None:
        self._try("tags", _log_batch, self._client, str(self.run_id), {}, tags=tags)

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
        # A slash makes a section of its own in the UI, so that curves do not drown in single figures.
        figures = {f"{_SUMMARY}{name}": value for name, value in numbers(ref.summary).items()}
        self._try("the summary", _log_batch, self._client, str(self.run_id), figures, tags=tags)


class MlflowTracker(Tracker):
    """Tracks one pipeline run in MLflow. Once it has begun, no failure of MLflow ends the work."""

    def __init__(self, client: MlflowClient, *, experiment: str, run_name: str, tags: Mapping[str, str]) -> None:
        """Begin the run.

        Raises:
            TrackingError: MLflow cannot be used.
        """
        self._client, self._try = client, _BestEffort()
        self.experiment_id = experiment_id(client, experiment)
        run = client.create_run(self.experiment_id, run_name=run_name, tags={**_source_tags(), **tags})
        self.run_id = run.info.run_id

    @override
    @contextmanager
    def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
        tags = {**_source_tags(), "mlflow.parentRunId": str(self.run_id), "zen.stage": name}
        run = self._try(f"the stage {name}", self._client.create_run, self.experiment_id, run_name=name, tags=tags)
        if run is None:
            yield StageTracker()
            return
        run_id = run.info.run_id
        self._try("the settings", self._log_identity, run_id, identity, inputs)
        try:
            yield MlflowStage(self._client, run_id, self._try)
        except BaseException as error:
            stopped = not isinstance(error, Exception)
            with suppress(Exception):  # the stage's own error is the one to show
                self._client.set_terminated(run_id, "KILLED" if stopped else "FAILED")
            raise
        self._try(f"the end of {name}", self._client.set_terminated, run_id, "FINISHED")

    def _log_identity(self, run_id: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> None:
        settings = {k: str(v) for k, v in identity.parts.items() if not k.startswith("inputs.")}
        _log_params(self._client, run_id, settings)
        if inputs:
            self._client.log_inputs(run_id, [_dataset_input(name, ref) for name, ref in inputs.items()])

    @override
    def describe(
        self,
        settings: Mapping[str, str] = _NONE,
        figures: Mapping[str, float] = _NO_FIGURES,
        note: str = "",
        page: Path | None = None,
    ) -> None:
        run_id = str(self.run_id)
        self._try("the settings of the run", _log_params, self._client, run_id, settings)
        tags = {"mlflow.note.content": note} if note else {}
        self._try("the figures of the run", _log_batch, self._client, run_id, figures, tags=tags)
        if page is not None:
            self._try("the report", self._client.log_artifact, run_id, str(page))

    @override
    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"], metrics: Mapping[str, float]) -> None:
        self._try("the seconds", log_metrics, self._client, str(self.run_id), metrics, 0)
        self._try("the end of the run", self._client.set_terminated, str(self.run_id), status)

    @override
    def close_killed(self, run_id: str) -> None:
        try:
            experiment = self._client.get_run(run_id).info.experiment_id
            nested = self._client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
            for each in [run_id, *(r.info.run_id for r in nested if r.info.status == "RUNNING")]:
                self._client.set_terminated(each, "KILLED")
        except TrackingError as error:  # deleted since, or tracked elsewhere
            log.debug("the MLflow run %s could not be closed: %s", run_id, error)


def _log_params(client: MlflowClient, run_id: str, settings: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    params = [Param(key, value[:_LONGEST_PARAM]) for key, value in settings.items()]
    client.log_batch(run_id, params=params[:_MOST_PARAMS])


def log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Log several numbers in as few requests as MLflow allows."""
    _log_batch(client, run_id, metrics, step=step)


def _log_batch(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], *, step: int = 0, tags: Mapping[str, str] = _NONE
) -> None:
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
        name=ref.step,
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


def _source_tags() -> dict[str, str]:
    """Who started the run and with what; MLflow shows both in its list of runs."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return {"mlflow.user": user, "mlflow.source.name": "zen", "mlflow.source.type": "LOCAL"}
