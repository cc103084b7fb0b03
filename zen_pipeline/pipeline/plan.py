"""What a run would do, known before anything runs: every fingerprint follows from settings and sources alone."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

from zen_pipeline.artifacts import ArtifactRef, Manifest, read_manifest, step_name
from zen_pipeline.budget import parse_budget
from zen_pipeline.config import Config
from zen_pipeline.errors import StoreError
from zen_pipeline.machine import gpu_names
from zen_pipeline.pipeline.chain import Step, all_steps
from zen_pipeline.pipeline.verdicts import stored_refusal
from zen_pipeline.workspace import Workspace


class StagePlan(BaseModel):
    """One step of a plan.

    Attributes:
        name: of the stage.
        model: short name of the model, where the stage works on models.
        status: `cached` when its artifact is stored and whole, else `would_run`.
        reason: why, in words.
        changed: the parts of the fingerprint that differ from the last run of this pipeline.
        seconds: expected time when it would run; None when it has never been measured.
        memory_bytes: expected peak memory, where it is predicted.
        disk_bytes: size of its artifact, stored or expected.
    """

    name: str
    model: str | None = None
    status: Literal["cached", "would_run"]
    reason: str
    changed: list[str] = []
    fingerprint: str
    seconds: float | None = None
    memory_bytes: float | None = None
    disk_bytes: int | None = None
    artifact: str | None = None

    @property
    def step(self) -> str:
        """The step of the chain: `evaluate-chat`, or the stage's own name."""
        return step_name(self.name, self.model)


class TrainingPlan(BaseModel):
    """What the budget came to, and what training is expected to take.

    Attributes:
        reasons: plain sentences with the measured figures.
        seconds: of pretraining and fine-tuning, as far as they would run.
        tokens, flops: of pretraining.
        memory_bytes: at the peak.
        watt_hours: processor energy, from the cores in use and `pretrain.watts_per_core`; None with graphics cards,
            whose power is not known before they work.
        cost: in the unit of the given prices; None without a price.
    """

    reasons: list[str]
    seconds: float
    tokens: float
    flops: float
    memory_bytes: float
    watt_hours: float | None
    cost: float | None


def make_plan(config: Config, workspace: Workspace) -> list[StagePlan]:
    """The plan of the whole chain; nothing is built and nothing is changed."""
    fingerprints: dict[str, str] = {}
    plans: list[StagePlan] = []
    for step in all_steps(config):
        plan = _plan_step(step, config, fingerprints, workspace)
        if step.stage.is_done is not None:
            plan = _plan_live(step, plan, plans, config, workspace)
        fingerprints[step.name] = plan.fingerprint
        plans.append(plan)
    return _with_training_estimates(plans, config, workspace)


def _plan_step(step: Step, config: Config, upstream: dict[str, str], workspace: Workspace) -> StagePlan:
    stage, model = step.stage, step.model
    identity = stage.identity(config, upstream, workspace, model)
    store = workspace.store
    status, problem = store.inspect(stage.name, identity.fingerprint)
    earlier = _last_manifest(workspace, config.name, step)
    plan = StagePlan(
        name=stage.name,
        model=model.name if model else None,
        status="would_run",
        reason="",
        fingerprint=identity.fingerprint,
    )
    if earlier is not None:
        plan.seconds, plan.disk_bytes = earlier.seconds, earlier.size
    if status == "present":
        folder = store.folder(stage.name, identity.fingerprint)
        manifest = read_manifest(folder)
        plan.status, plan.artifact, plan.seconds, plan.disk_bytes = "cached", str(folder), 0.0, manifest.size
        plan.reason = f"skipped: {manifest.skipped}" if manifest.skipped else "nothing changed"
        if stage.judge is not None and (refusal := stored_refusal(store, stage.name, identity.fingerprint)):
            plan.reason = f"refused, the run stops here: {refusal}"
        elif missing := manifest.summary.get("missing"):
            plan.reason += f"; {'; '.join(missing)}"
    elif status == "damaged":
        plan.reason = f"damaged: {problem}"
    elif earlier is None:
        plan.reason = "never run"
    elif changed := identity.changed_from(earlier.parts):
        plan.reason, plan.changed = "changed", changed
    else:
        plan.reason = "its artifact is gone"
    return plan


def _last_manifest(workspace: Workspace, pipeline: str, step: Step) -> Manifest | None:
    fingerprint = workspace.last_fingerprint(pipeline, step.name)
    if fingerprint is None:
        return None
    try:
        return read_manifest(workspace.store.folder(step.stage.name, fingerprint))
    except StoreError:
        return None


def _plan_live(
    step: Step, plan: StagePlan, upstream: list[StagePlan], config: Config, workspace: Workspace
) -> StagePlan:
    """A live step stores nothing: it would run unless everything that it needs is stored and its own work is done."""
    plan.disk_bytes = plan.memory_bytes = None
    needed = [p for p in upstream if p.step in step.needs(config)]
    waiting = [p.step for p in needed if p.status == "would_run"]
    if waiting:
        plan.status, plan.reason, plan.changed = "would_run", "changed", [f"inputs.{n}" for n in waiting]
        return plan
    store = workspace.store
    inputs = {p.step: _stored(store.find(p.name, p.fingerprint)) for p in needed}
    done = step.stage.is_done is not None and step.stage.is_done(config, inputs, workspace, step.model)
    plan.status = "cached" if done else "would_run"
    plan.reason, plan.changed = ("already registered", []) if done else ("not registered, or its files are damaged", [])
    return plan


def _stored(ref: ArtifactRef | None) -> ArtifactRef:
    if ref is None:
        raise StoreError("an artifact disappeared while the plan was made: try again")
    return ref


def plan_training(config: Config, plans: list[StagePlan], workspace: Workspace) -> TrainingPlan | None:
    """The choice of the `resolve` stage and its consequences; None where that has not been made yet."""
    resolved = _resolved(plans, workspace)
    if resolved is None:
        return None
    trainings = [p for p in plans if p.name in ("pretrain", "finetune") and p.status == "would_run"]
    hours = sum(p.seconds or 0.0 for p in trainings) / 3600
    own, estimates = config.pretrain, resolved["estimates"]
    watt_hours = None if gpu_names() else resolved["threads"] * own.watts_per_core * hours
    prices = []
    if own.price_per_hour is not None:
        prices.append(own.price_per_hour * hours)
    if own.price_per_kilowatt_hour is not None and watt_hours is not None:
        prices.append(own.price_per_kilowatt_hour * watt_hours / 1000)
    return TrainingPlan(
        reasons=resolved["reasons"],
        seconds=3600 * hours,
        tokens=estimates["tokens"],
        flops=estimates["flops"],
        memory_bytes=estimates["memory_bytes"],
        watt_hours=watt_hours,
        cost=sum(prices) if prices else None,
    )


def _with_training_estimates(plans: list[StagePlan], config: Config, workspace: Workspace) -> list[StagePlan]:
    """Expected time and memory of training: from the resolved sizes when they are stored, else from the budget."""
    estimates = (_resolved(plans, workspace) or {}).get("estimates", {})
    budget = parse_budget(config.budget)
    shares = {"pretrain": 0.85, "finetune": 0.15}
    for plan in plans:
        name = plan.name
        if name not in shares or plan.status == "cached":
            continue
        if f"{name}_seconds" in estimates:
            plan.seconds = estimates[f"{name}_seconds"]
        elif budget.kind == "seconds":
            plan.seconds = shares[name] * budget.amount
        plan.memory_bytes = estimates.get("memory_bytes")
    return plans


def _resolved(plans: list[StagePlan], workspace: Workspace) -> dict[str, Any] | None:
    resolve = next(p for p in plans if p.name == "resolve")
    if resolve.status != "cached":
        return None
    path = workspace.store.folder("resolve", resolve.fingerprint) / "resolved.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found
