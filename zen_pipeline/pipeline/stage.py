"""The declaration of a stage: a name, a version, what it needs, and a function that fills a directory.

Every stage module defines `STAGE_VERSION`, `build(config, inputs, output, context) -> Built` and `STAGE = Stage(...)`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, Built, Identity, Store, flatten, step_name
from zen_pipeline.config import Config
from zen_pipeline.corpus.expectations import judging_process
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.tracking import NO_TRACKING, StageTracker, Tracker
from zen_pipeline.workspace import Workspace

Inputs = Mapping[str, ArtifactRef]


@dataclass(frozen=True)
class StageContext:
    """Where a stage works and who is told about it; nothing here changes its result.

    Attributes:
        workspace: the `.zen` folder.
        run_id: the pipeline run that asks.
        tracker: starts one tracked run per stage.
        wait: wait for another run that builds the same artifact, or fail.
        verify: check the digests of artifacts that are found, not only their sizes.
        progress: draw progress bars on stderr.
        began: Unix time at which the run was asked for; a budget in time counts from there.
        model: (inside a build) the model that is worked on; None where the stage works once.
        work: (inside a build) scratch that survives a kill; checkpoints live here.
        tracked: (inside a build) the tracked run of this stage.
    """

    workspace: Workspace
    run_id: str
    tracker: Tracker = NO_TRACKING
    wait: bool = True
    verify: bool = False
    progress: bool = False
    began: float = field(default_factory=time.time)
    model: ModelSpec | None = None
    work: Path = Path()
    tracked: StageTracker = field(default_factory=StageTracker)

    @property
    def store(self) -> Store:
        """The workspace's artifact store."""
        return self.workspace.store

    @property
    def spec(self) -> ModelSpec:
        """The model that is worked on, in a stage that works on models."""
        assert self.model is not None
        return self.model


Build = Callable[[Config, Inputs, Path, StageContext], Built]
Needs = Callable[[Config, ModelSpec | None], tuple[str, ...]]
Models = Callable[[Config], Sequence[ModelSpec]]
Judgement = Callable[[Config, Inputs, ArtifactRef, StageContext], ArtifactRef]


def always(*names: str) -> Needs:
    """The needs of a stage whose inputs do not depend on the settings."""
    return lambda _config, _model: names


def own_section(stage: str) -> Callable[[Config], dict[str, Any]]:
    """The settings of a stage that are exactly its section of the config."""
    return lambda config: config.of(stage).identity()


def no_sources(_config: Config, _workspace: Workspace) -> dict[str, Any]:
    """For a stage that reads nothing but its inputs."""
    return {}


def not_judged(_config: Config, _inputs: Inputs, ref: ArtifactRef, _context: StageContext) -> ArtifactRef:
    """For a stage without expectations."""
    return ref


@dataclass(frozen=True)
class Stage:
    """One step of the chain.

    Attributes:
        name: its name everywhere: config section, command, flow, store.
        version: raised whenever the same inputs would give another result.
        needs: names of the upstream steps, given the config and the model that is worked on.
        build: fills the output directory.
        settings: the settings that matter, as JSON values.
        models: those that it works on, one after the other; None: it works once.
        sources: digests of what is read from outside the store.
        libraries: distributions whose version decides the result.
        judge: says on every run, also of a stored artifact, whether it may be used; returns the reference with the
            verdict in its summary. Not part of the identity.
        retried: a failure may be of something that passes (memory, a driver, a disk), and the next attempt goes on from
            a checkpoint.
        is_done: (of a live stage, which stores nothing) the outside world holds already what it would make of these
            inputs.
    """

    name: str
    version: int
    needs: Needs
    build: Build
    settings: Callable[[Config], dict[str, Any]]
    models: Models | None = None
    sources: Callable[[Config, Workspace], dict[str, Any]] = no_sources
    libraries: tuple[str, ...] = ()
    judge: Judgement = not_judged
    retried: bool = False
    is_done: Callable[[Config, Inputs, Workspace, ModelSpec | None], bool] | None = None

    def identity(
        self, config: Config, upstream: Mapping[str, str], workspace: Workspace, model: ModelSpec | None = None
    ) -> Identity:
        """What decides the result, known before anything runs.

        Args:
            config: the whole configuration.
            upstream: fingerprints of (at least) the needed steps, by name.
            workspace: for stages that keep an answer there.
            model: that is worked on.
        """
        parts: dict[str, Any] = {"version": self.version}
        if model is not None:
            parts |= {"model": model.name, "task": model.task, "family": model.family}
        parts.update(flatten(self.settings(config), "settings"))
        parts.update({f"inputs.{name}": upstream[name] for name in self.needs(config, model)})
        parts.update(flatten(self.sources(config, workspace), "sources"))
        parts.update({f"libraries.{name}": version(name) for name in self.libraries})
        return Identity(self.name, parts)

    def run(self, config: Config, inputs: Inputs, context: StageContext, model: ModelSpec | None = None) -> ArtifactRef:
        """The stage's artifact, from the store or built now, and judged.

        Args:
            config: the whole configuration.
            inputs: artifacts of (at least) the needed steps, by name.
            context: workspace, tracking and progress.
            model: that is worked on.

        Raises:
            ValidationFailed: an expectation with the action `stop` is not met.
        """
        needed = {name: inputs[name] for name in self.needs(config, model)}
        identity = self.identity(config, {n: r.fingerprint for n, r in needed.items()}, context.workspace, model)
        work = context.workspace.work_folder(self.name, identity.fingerprint)
        name = step_name(self.name, model.name if model else None)

        with context.tracker.stage(name, identity, needed) as tracked:

            def build(output: Path) -> Built:
                work.mkdir(parents=True, exist_ok=True)
                if self.judge is not not_judged:
                    judging_process.begin()  # the result will be judged, and Great Expectations can be loaded meanwhile
                return self.build(config, needed, output, replace(context, model=model, work=work, tracked=tracked))

            ref = context.store.get_or_build(
                identity, build, inputs=needed, run_id=context.run_id, wait=context.wait, digests=context.verify
            )
            shutil.rmtree(work, ignore_errors=True)
            ref = self.judge(config, needed, ref, replace(context, tracked=tracked))
            tracked.finish(ref)
        return ref
