"""A whole chain of real, tiny stages: they count words, so that a run takes moments and needs no training.

`install()` puts them where `load_stage` finds the real ones; each needs what the real one needs, and reads it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, Built
from zen_pipeline.config import Config
from zen_pipeline.evaluation.scores import Score
from zen_pipeline.files import folder_digest
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.chain import STAGE_NAMES, all_steps, load_stage
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext
from zen_pipeline.workspace import Workspace

Failure = Callable[[StageContext], None]


def install(failures: Mapping[str, Failure] | None = None, skipped: tuple[str, ...] = ()) -> None:
    """Register the tiny stages; a stage named in `failures` calls that function in its build."""
    for name, real in {name: load_stage(name) for name in STAGE_NAMES}.items():
        module = ModuleType(f"zen_pipeline.stages.{name}")
        made = TinyRelease if name == "release" else Stage
        module.STAGE = made(  # type: ignore[attr-defined]
            name,
            1,
            real.needs,
            _build(name, (failures or {}).get(name), name in skipped),
            _settings(name),
            models=real.models,
            sources=_sources(name),
            retried=real.retried,
        )
        sys.modules[module.__name__] = module


def step_names(config: Config) -> list[str]:
    """The steps of the whole chain, in order."""
    return [step.name for step in all_steps(config)]


def uninstall() -> None:
    """Let the real stages be imported again."""
    for name in STAGE_NAMES:
        sys.modules.pop(f"zen_pipeline.stages.{name}", None)


def _settings(name: str) -> Callable[[Config], dict[str, Any]]:
    if name == "collect":
        return lambda config: {"sources": [source.identity() for source in config.collect.sources]}
    return lambda config: {} if name == "resolve" else config.of(name).identity()


def _sources(name: str) -> Callable[[Config, Workspace], dict[str, Any]]:
    def digests(config: Config, _workspace: Workspace) -> dict[str, Any]:
        return {str(i): folder_digest(Path(p)) for i, p in enumerate(_paths(config))} if name == "collect" else {}

    return digests


def _paths(config: Config) -> list[str]:
    return [path for source in config.collect.sources for path in getattr(source, "paths", [])]


def _build(name: str, fail: Failure | None, skip: bool) -> Callable[..., Built]:
    def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
        get_logger(f"zen_pipeline.stages.{name}").info("%s counts words", name)
        if fail is not None:
            fail(context)
        if skip:
            return Built(kind="count", skipped="there is nothing to count: add text")
        files = [file for path in _paths(config) for file in sorted(Path(path).glob("*.txt"))]
        before = sum(
            json.loads((ref.path / "count.json").read_text())["words"] for ref in inputs.values() if not ref.skipped
        )
        words = before or sum(len(file.read_text().split()) for file in files)
        (output / "count.json").write_text(json.dumps({"words": words}))
        if name in ("pretrain", "finetune"):
            steps = [{"step": step, "loss": 4.0 / (step + 1)} for step in range(20)]
            (output / "history.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps))
        if name == "evaluate":
            metrics = {
                "model": context.spec.name,
                "task": context.spec.task,
                "score": asdict(Score("words", words, "words")),
            }
            (output / "metrics.json").write_text(json.dumps(metrics))
            (output / "report.html").write_text("<html></html>")
            (output / "samples.jsonl").touch()
        return Built(kind="count", summary={"words": words, "source": {"files": len(files)}})

    return build


class TinyRelease(Stage):
    """Counts as cached when the same model was released before, as a registry would know."""

    def run(self, config: Config, inputs: Inputs, context: StageContext, model: ModelSpec | None = None) -> ArtifactRef:
        """What was released of one model."""
        assert model is not None
        needed = {name: inputs[name].fingerprint for name in self.needs(config, model)}
        fingerprint = self.identity(config, needed, context.workspace, model).fingerprint
        registry = context.workspace.home / f"released-{model.name}.txt"
        known = registry.read_text().split() if registry.is_file() else []
        if fingerprint not in known:
            registry.write_text("\n".join([*known, fingerprint]))
        item = {
            "model": f"{config.name}-{model.name}",
            "version": len(known) + 1,
            "alias": "champion" if not known else "challenger",
        }
        released = [{**item, "reason": "the first" if not known else "not better", "new": fingerprint not in known}]
        return ArtifactRef(
            stage="release",
            model=model.name,
            fingerprint=fingerprint,
            digest=fingerprint,
            folder="",
            kind="release",
            summary={"released": released},
            cached=fingerprint in known,
        )


def wait_for_ever(context: StageContext) -> None:
    """A build that says that it has begun, and then waits to be killed."""
    (context.workspace.home / "building").write_text("yes")
    while True:
        time.sleep(0.05)
