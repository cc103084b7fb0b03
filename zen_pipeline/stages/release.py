"""Release: register what the run made, and make it the champion when it is better than the present one.

Nothing is stored and nothing is cached: the live registry is asked each time, and what is registered is not registered
again. Models are compared by the deciding figure of their task, on the same test set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.artifacts import ArtifactRef, Built, Store, canonical_json, read_manifest, stage_of, step_name
from zen_pipeline.config import Config
from zen_pipeline.errors import StoreError, TrackingError
from zen_pipeline.evaluation.scores import read_score
from zen_pipeline.files import file_digest
from zen_pipeline.logs import get_logger
from zen_pipeline.optimization.forms import FLOAT
from zen_pipeline.pipeline.evaluation_request import evaluation_request
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.models_made import models_of
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, own_section
from zen_pipeline.serving import aliases
from zen_pipeline.serving.bundle import (
    EVIDENCE,
    LINEAGE_FILE,
    Bundle,
    Release,
    lineage_of,
    model_files,
    read_release,
    weight_bytes,
)
from zen_pipeline.serving.decision import Comparison, compare_units
from zen_pipeline.serving.promotion import (
    DIGEST,
    Candidate,
    PreparedCandidate,
    ReleaseContext,
    Released,
    compared_of,
    find_version,
    find_version_damage,
    release,
)
from zen_pipeline.serving.registry import FINGERPRINT, KIND, METRICS, SCORE
from zen_pipeline.tasks import load_task
from zen_pipeline.tasks.base import Skipped
from zen_pipeline.tracking import experiment_id, local_database, local_tracking_uri, mlflow_client, numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from zen_pipeline.workspace import Workspace

STAGE_VERSION = 3

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Release one model.

    Args:
        config: the whole configuration.
        inputs: artifacts of the needed steps.
        output: scratch in which the version is put together; nothing in it is kept.
        context: workspace and tracking.
    """
    evaluated = inputs[step_name("evaluate", context.spec.name)]
    if evaluated.skipped:
        why = f"a model is released by what it was measured at: {evaluated.skipped}"
        return Built("release", {"released": []}, skipped=why)
    candidate = _candidate(context.spec, config, inputs, context.store)
    client = mlflow_client(context.workspace.mlflow_folder)
    with _run_of(client, config, context) as (experiment, run_id):
        target = ReleaseContext(
            client, context.workspace, experiment, run_id, output, wait=context.wait, verify=context.verify
        )
        released = release(candidate, target)
    return Built("release", {"released": [released.model_dump()]})


class ReleaseStage(Stage):
    """A stage that asks the live registry instead of the store."""

    def run(self, config: Config, inputs: Inputs, context: StageContext, model: ModelSpec | None = None) -> ArtifactRef:
        """What was released; `cached` when the version was found registered."""
        assert model is not None
        needed = {name: inputs[name] for name in self.needs(config, model)}
        fingerprints = {n: r.fingerprint for n, r in needed.items()}
        identity = self.identity(config, fingerprints, context.workspace, model)
        work = context.workspace.work_folder(self.name, identity.fingerprint)
        shutil.rmtree(work, ignore_errors=True)  # left by a killed run
        work.mkdir(parents=True)
        try:
            with context.tracker.stage(step_name(self.name, model.name), identity, needed) as tracked:
                inside = replace(context, model=model, work=work, tracked=tracked)
                built = self.build(config, needed, work, inside)
                released = built.summary["released"]
                ref = ArtifactRef(
                    stage=self.name,
                    model=model.name,
                    fingerprint=identity.fingerprint,
                    digest=hashlib.sha256(canonical_json(built.summary).encode()).hexdigest(),
                    folder=str(context.workspace.mlflow_folder),
                    kind=built.kind,
                    skipped=built.skipped,
                    summary=built.summary,
                    cached=bool(released) and not any(r["new"] or r["restored"] for r in released),
                )
                tracked.finish(ref)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return ref


def find_released(config: Config, inputs: Inputs, workspace: Workspace, spec: ModelSpec) -> Released | None:
    """The version that a release of these artifacts would find; None when it is missing or damaged.

    Changes nothing.
    """
    database = local_database(local_tracking_uri(workspace.mlflow_folder))
    if database is not None and not database.is_file():
        return None
    client = mlflow_client(workspace.mlflow_folder)
    models = aliases.registered_models(client)
    candidate = _candidate(spec, config, inputs, workspace.store)
    name = candidate.name
    version = find_version(client, name, candidate.digest) if name in models else None
    alias = _alias_of(models[name], str(version.version)) if version is not None else None
    if version is None or alias is None or find_version_damage(client, version, candidate, digests=False):
        return None
    reason = version.tags.get(aliases.REASON, "")
    return Released(
        model=name,
        version=str(version.version),
        alias=alias,
        reason=reason,
        new=False,
        compared=compared_of(version),
    )


def _is_done(config: Config, inputs: Inputs, workspace: Workspace, spec: ModelSpec | None) -> bool:
    """Nothing to release, or released already."""
    assert spec is not None
    if inputs[step_name("evaluate", spec.name)].skipped:
        return True
    return find_released(config, inputs, workspace, spec) is not None


def _alias_of(model: aliases.Registered, version: str) -> Any:
    return next((a for a in (aliases.CHAMPION, aliases.CHALLENGER) if model.aliases.get(a) == version), None)


def _forms(spec: ModelSpec, inputs: Inputs) -> dict[str, Path]:
    """The folders that a version holds, by form; the deployed form is the last."""
    forms = {FLOAT: inputs[spec.training].path}
    optimized = inputs[step_name("optimize", spec.name)]
    chosen = None if optimized.skipped else optimized.summary["chosen"]
    if chosen not in (None, FLOAT):
        forms[chosen] = optimized.path / chosen
    return forms


def _digest(forms: Mapping[str, Path]) -> str:
    """SHA-256 of what a version holds, from the digests in the manifests: nothing large is read."""
    held: dict[str, dict[str, str]] = {}
    for form, folder in forms.items():
        held[form] = {name: _file_digest(path) for name, path in model_files(folder).items()}
    return hashlib.sha256(canonical_json(held).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    for folder in path.parents[:2]:  # a model is the artifact, or one folder of it
        if (folder / "manifest.json").is_file():
            return read_manifest(folder).files[path.relative_to(folder).as_posix()].sha256
    return file_digest(path)


def _candidate(spec: ModelSpec, config: Config, inputs: Inputs, store: Store) -> Candidate:
    settings, metric = config.release, load_task(spec.task).metric
    forms = _forms(spec, inputs)
    return Candidate(
        name=f"{config.name}-{spec.name}",
        digest=_digest(forms),
        seed_noise=settings.seed_noise.get(metric.name, metric.seed_noise),
        max_growth=settings.max_growth,
        files=_files(spec, forms, inputs),
        prepare=lambda: _prepared(spec, config, inputs, store),
        rebuild=lambda version: _rebuild(spec, config, version, store),
    )


def _files(spec: ModelSpec, forms: Mapping[str, Path], inputs: Inputs) -> dict[str, Path]:
    """What a version holds, by name in its bundle."""
    files = {f"{form}/{name}": path for form, folder in forms.items() for name, path in model_files(folder).items()}
    files[f"evaluation/{EVIDENCE}"] = inputs[step_name("evaluate", spec.name)].path / EVIDENCE
    return files


def _rebuild(spec: ModelSpec, config: Config, version: Any, store: Store) -> Bundle | None:
    """What an earlier version held, when the store still has all that it was made from."""
    names = _needs(config, spec)
    tagged = {name: version.tags.get(f"{FINGERPRINT}{name}") for name in names}
    found = {name: store.find(stage_of(name), value) for name, value in tagged.items() if value}
    inputs = {name: ref for name, ref in found.items() if ref is not None}
    if len(inputs) < len(names) or _digest(_forms(spec, inputs)) != version.tags.get(DIGEST):
        return None
    return _prepared(spec, config, inputs, store).bundle


def _prepared(spec: ModelSpec, config: Config, inputs: Inputs, store: Store) -> PreparedCandidate:
    task, forms = load_task(spec.task), _forms(spec, inputs)
    evaluated = inputs[step_name("evaluate", spec.name)]
    ours = read_units(evaluated.path / EVIDENCE)
    asked = evaluation_request(config, inputs, spec)
    test = task.test_set(asked)
    if isinstance(test, Skipped):
        raise StoreError(f"{evaluated.path} measured {spec.name}, but now {test.reason}: evaluate again")
    held = Release(
        model=spec.name,
        task=spec.task,
        default=list(forms)[-1],
        float_bytes=weight_bytes(forms[FLOAT]),
        test_set=test.digest,
    )

    def compare(champion: Path) -> Comparison:
        measured = champion / "evaluation" / EVIDENCE
        if read_release(champion).test_set == test.digest and measured.is_file():
            theirs = read_units(measured)
        else:
            log.info("the champion of %s was measured on another test set: measuring it on the present one", spec.name)
            theirs = task.measure(champion / FLOAT, test).units
        return compare_units(ours, theirs, figure=task.figure, metric=task.metric)

    score = read_score(evaluated.path)
    metrics = numbers(evaluated.summary)
    lineage = lineage_of(inputs, store)
    fingerprints = {f"{FINGERPRINT}{step}": entry["fingerprint"] for step, entry in lineage.items()}
    return PreparedCandidate(
        bundle=Bundle(held, _files(spec, forms, inputs), written={LINEAGE_FILE: json.dumps(lineage, indent=1)}),
        tags={
            **_tags(spec, config, inputs),
            METRICS: canonical_json(metrics),
            SCORE: "" if score is None else canonical_json(asdict(score)),
            **fingerprints,
        },
        description=_description(spec, config, metrics, held, task.help),
        compare=compare,
        score=score,
        above_baseline=config.release.above_baseline,
    )


def read_units(file: Path) -> NDArray[np.float64]:
    """The (units, k) sums of an evaluation.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["units"].astype(np.float64)  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{file} cannot be read: {error}; evaluate again") from error


def _tags(spec: ModelSpec, config: Config, inputs: Inputs) -> dict[str, str]:
    judgement = inputs["validate"].summary.get("judgement", {})
    verdict = {"zen.validation": judgement["report"], "zen.verdict": judgement["verdict"]} if judgement else {}
    report = inputs[step_name("evaluate", spec.name)].path / "report.html"
    return {KIND: spec.name, "zen.pipeline": config.name, **verdict, "zen.report": str(report)}


def _description(spec: ModelSpec, config: Config, metrics: Mapping[str, float], held: Release, what: str) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    size = f"{held.default} weights are deployed; {held.float_bytes / 1e6:.2f} MB as float."
    return (
        f"Model `{config.name}-{spec.name}`, made by Zen Pipeline. {what} {size}\n\n"
        f"| measure | value |\n|---|---|\n{rows}"
    )


@contextmanager
def _run_of(client: MlflowClient, config: Config, context: StageContext) -> Iterator[tuple[str, str]]:
    """Experiment and run that the versions belong to: the stage's own run, or a new one when nothing is tracked."""
    experiment = experiment_id(client, config.name)
    if context.tracked.run_id is not None and _is_active(client, context.tracked.run_id):
        yield experiment, context.tracked.run_id
        return
    run_id = client.create_run(
        experiment, run_name=step_name("release", context.spec.name), tags={"zen.run_id": context.run_id}
    ).info.run_id
    status = "FAILED"
    try:
        yield experiment, run_id
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)


def _is_active(client: MlflowClient, run_id: str) -> bool:
    """The run was neither deleted in MLflow nor removed by `mlflow gc`."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except TrackingError as error:
        if error.code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _needs(_config: Config, model: ModelSpec | None) -> tuple[str, ...]:
    assert model is not None
    measured = (step_name("evaluate", model.name), step_name("optimize", model.name))
    return ("validate", "resolve", "tokenize", model.training, *measured)


STAGE = ReleaseStage(
    name="release",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=own_section("release"),
    models=models_of,
    is_done=_is_done,
)
