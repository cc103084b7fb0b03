"""Release: register what the run made, and make it the champion when it is better than the present one.

Nothing is stored and nothing is cached: the live registry is asked each time, and what is registered is not registered
again. The base model is compared by bits per byte of the test documents, the chat model by the F1 of its answers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import ArtifactRef, Built, Store, canonical_json, read_manifest
from zen_pipeline.config import Config
from zen_pipeline.errors import TrackingError
from zen_pipeline.evaluation.scores import deciding_scores, read_metrics
from zen_pipeline.files import file_digest
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always, own_section
from zen_pipeline.serving import aliases
from zen_pipeline.serving.bundle import LINEAGE_FILE, Bundle, Form, Kind, Release, lineage_of, model_files, weight_bytes
from zen_pipeline.serving.promotion import (
    DIGEST,
    Candidate,
    PreparedCandidate,
    ReleaseContext,
    Released,
    find_version,
    find_version_damage,
    release,
)
from zen_pipeline.serving.registry import FINGERPRINT, KIND, METRICS
from zen_pipeline.stages.release_compare import answers_evidence, documents_evidence
from zen_pipeline.tracking import experiment_id, local_database, local_tracking_uri, mlflow_client, numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from zen_pipeline.workspace import Workspace

STAGE_VERSION = 2
# The stage that makes each model, the most finished one last.
_MAKERS: Mapping[Kind, str] = {"base": "pretrain", "chat": "finetune"}
_EVIDENCE: Mapping[Kind, str] = {"base": "documents.npz", "chat": "answers.jsonl"}  # what versions are compared by
_NEEDS = ("validate", "tokenize", "pretrain", "finetune", "evaluate", "optimize")


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Release every model that the run made.

    Args:
        config: the whole configuration.
        inputs: artifacts of the needed stages.
        output: scratch in which the versions are put together; nothing in it is kept.
        context: workspace and tracking.
    """
    if inputs["evaluate"].skipped:
        why = f"a model is released by what it was measured at: {inputs['evaluate'].skipped}"
        return Built("release", {"released": []}, skipped=why)
    candidates = [_candidate(kind, config, inputs, context.store) for kind in _made(inputs)]
    if not candidates:
        return Built("release", {"released": []}, skipped="no model was trained: see pretrain and finetune")
    client = mlflow_client(context.workspace.mlflow_folder)
    with _run_of(client, config, context) as (experiment, run_id):
        target = ReleaseContext(
            client, context.workspace, experiment, run_id, output, wait=context.wait, verify=context.verify
        )
        released = [release(candidate, target) for candidate in candidates]
    return Built("release", {"released": [r.model_dump() for r in released], "primary": released[-1].model})


class ReleaseStage(Stage):
    """A stage that asks the live registry instead of the store."""

    def run(self, config: Config, inputs: Inputs, context: StageContext) -> ArtifactRef:
        """What was released; `cached` when every version was found registered."""
        needed = {name: inputs[name] for name in self.needs(config)}
        identity = self.identity(config, {n: r.fingerprint for n, r in needed.items()}, context.workspace)
        work = context.workspace.work_folder(self.name, identity.fingerprint)
        shutil.rmtree(work, ignore_errors=True)  # left by a killed run
        work.mkdir(parents=True)
        try:
            with context.tracker.stage(self.name, identity, needed) as tracked:
                built = self.build(config, needed, work, replace(context, work=work, tracked=tracked))
                released = built.summary["released"]
                ref = ArtifactRef(
                    stage=self.name,
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


def find_released(config: Config, inputs: Inputs, workspace: Workspace) -> list[Released]:
    """The versions that a release of these artifacts would find, or nothing when one is missing or damaged.

    Changes nothing.
    """
    database = local_database(local_tracking_uri(workspace.mlflow_folder))
    if database is not None and not database.is_file():
        return []
    client = mlflow_client(workspace.mlflow_folder)
    models = aliases.registered_models(client)
    found = []
    for kind in _made(inputs):
        candidate = _candidate(kind, config, inputs, workspace.store)
        name = candidate.name
        version = find_version(client, name, candidate.digest) if name in models else None
        alias = _alias_of(models[name], str(version.version)) if version is not None else None
        if version is None or alias is None or find_version_damage(client, version, candidate, digests=False):
            return []
        reason = version.tags.get(aliases.REASON, "")
        found.append(Released(model=name, version=str(version.version), alias=alias, reason=reason, new=False))
    return found


def _alias_of(model: aliases.Registered, version: str) -> Any:
    return next((a for a in (aliases.CHAMPION, aliases.CHALLENGER) if model.aliases.get(a) == version), None)


def _made(inputs: Inputs) -> list[Kind]:
    if inputs["evaluate"].skipped:
        return []
    return [kind for kind, stage in _MAKERS.items() if not inputs[stage].skipped]


def _forms(kind: Kind, inputs: Inputs) -> dict[Form, Path]:
    """The folders that a version holds; the deployed form is the last."""
    forms: dict[Form, Path] = {"float": inputs[_MAKERS[kind]].path}
    optimized = inputs["optimize"]
    if not optimized.skipped and optimized.summary.get(kind, {}).get("chosen") == "int8":
        forms["int8"] = optimized.path / kind
    return forms


def _digest(forms: Mapping[Form, Path]) -> str:
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


def _candidate(kind: Kind, config: Config, inputs: Inputs, store: Store) -> Candidate:
    settings = config.release
    forms = _forms(kind, inputs)
    return Candidate(
        name=f"{config.name}-{kind}",
        digest=_digest(forms),
        seed_noise=settings.seed_noise_bits_per_byte if kind == "base" else settings.seed_noise_f1,
        max_growth=settings.max_growth,
        files=_files(kind, forms, inputs),
        prepare=lambda: _prepared(kind, config, inputs, store),
        rebuild=lambda version: _rebuild(kind, config, version, store),
    )


def _files(kind: Kind, forms: Mapping[Form, Path], inputs: Inputs) -> dict[str, Path]:
    """What a version holds, by name in its bundle."""
    files = {f"{form}/{name}": path for form, folder in forms.items() for name, path in model_files(folder).items()}
    evidence = _EVIDENCE[kind]
    files[f"evaluation/{evidence}"] = inputs["evaluate"].path / evidence
    return files


def _rebuild(kind: Kind, config: Config, version: Any, store: Store) -> Bundle | None:
    """What an earlier version held, when the store still has all that it was made from."""
    names = _NEEDS
    found = {n: store.find(n, version.tags[f"{FINGERPRINT}{n}"]) for n in names if f"{FINGERPRINT}{n}" in version.tags}
    inputs = {name: ref for name, ref in found.items() if ref is not None}
    if len(inputs) < len(names) or _digest(_forms(kind, inputs)) != version.tags.get(DIGEST):
        return None
    return _prepared(kind, config, inputs, store).bundle


def _prepared(kind: Kind, config: Config, inputs: Inputs, store: Store) -> PreparedCandidate:
    forms = _forms(kind, inputs)
    evidence = documents_evidence(inputs) if kind == "base" else answers_evidence(inputs)
    held = Release(
        kind=kind,
        default=list(forms)[-1],
        float_bytes=weight_bytes(forms["float"]),
        test_set=evidence.test_set,
    )
    figure = {} if evidence.figure is None else {evidence.measure: evidence.figure}
    metrics = {**figure, **numbers(inputs["evaluate"].summary.get(kind, {}))}
    lineage = lineage_of(inputs, store)
    fingerprints = {f"{FINGERPRINT}{stage}": entry["fingerprint"] for stage, entry in lineage.items()}
    return PreparedCandidate(
        bundle=Bundle(held, _files(kind, forms, inputs), written={LINEAGE_FILE: json.dumps(lineage, indent=1)}),
        tags={**_tags(kind, config, inputs, metrics), **fingerprints},
        description=_description(kind, config, metrics, held),
        compare=evidence.compare,
        score=deciding_scores(read_metrics(inputs["evaluate"].path)).get(kind),
        above_baseline=config.release.above_baseline,
    )


def _tags(kind: Kind, config: Config, inputs: Inputs, metrics: Mapping[str, float]) -> dict[str, str]:
    judgement = inputs["validate"].summary.get("judgement", {})
    verdict = {"zen.validation": judgement["report"], "zen.verdict": judgement["verdict"]} if judgement else {}
    return {
        KIND: kind,
        METRICS: canonical_json(dict(metrics)),
        "zen.pipeline": config.name,
        **verdict,
        "zen.report": str(inputs["evaluate"].path / "report.html"),
    }


def _description(kind: Kind, config: Config, metrics: Mapping[str, float], held: Release) -> str:
    what = "Continues texts." if kind == "base" else "Answers messages."
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    size = f"{held.default} weights are deployed; {held.float_bytes / 1e6:.2f} MB as float."
    return (
        f"Model `{config.name}-{kind}`, made by Zen Pipeline. {what} {size}\n\n| measure | value |\n|---|---|\n{rows}"
    )


@contextmanager
def _run_of(client: MlflowClient, config: Config, context: StageContext) -> Iterator[tuple[str, str]]:
    """Experiment and run that the versions belong to: the stage's own run, or a new one when nothing is tracked."""
    experiment = experiment_id(client, config.name)
    if context.tracked.run_id is not None and _is_active(client, context.tracked.run_id):
        yield experiment, context.tracked.run_id
        return
    run_id = client.create_run(experiment, run_name="release", tags={"zen.run_id": context.run_id}).info.run_id
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


STAGE = ReleaseStage(
    name="release",
    version=STAGE_VERSION,
    needs=always(*_NEEDS),
    build=build,
    settings=own_section("release"),
    is_done=lambda config, inputs, workspace: bool(find_released(config, inputs, workspace)),
)
run = STAGE.run
