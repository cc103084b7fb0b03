"""The release stage on real artifacts: tiny models, a small tokenizer, real scores and answers."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mlflow.cli import cli as mlflow_command

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config
from zen_pipeline.corpus.records import Kind, Record, record_writer
from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.evaluation.scores import score_of
from zen_pipeline.inference.scoring import score_documents
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.int8 import is_quantized, quantize_
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.pipeline.evaluation_request import evaluation_request
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.serving import registry
from zen_pipeline.serving.bundle import model_files
from zen_pipeline.stages.release import STAGE, build, find_released
from zen_pipeline.tasks import chat_markup, load_task
from zen_pipeline.tasks.asking import greedy
from zen_pipeline.tasks.base import Skipped
from zen_pipeline.tracking import MlflowTracker, mlflow_client
from zen_pipeline.workspace import Workspace

TEXTS = [f"The method {verb} of the {noun} returns its size." for noun in ("file", "path") for verb in ("a", "b", "cd")]
OTHER_TEXTS = ["A path names a file.", "A file has a size, which the method returns."]


def question(identity: str, text: str) -> dict[str, Any]:
    return {
        "id": identity,
        "subject": text,
        "form": "purpose",
        "messages": chat_markup.question_and_answer(text, "its size"),
    }


QUESTIONS = [question(f"q{n}", f"What returns {n}?") for n in range(4)]
OTHER_QUESTIONS = [question(f"r{n}", f"What is {n}?") for n in range(3)]
CONTEXT = 64
Inputs = dict[str, ArtifactRef]


@pytest.fixture(scope="module")
def tokenizer_folder(
    tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Callable[[Path, list[str]], Path]
) -> Path:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEXTS)


def token_ids(tokenizer: Tokenizer, kind: str) -> list[list[int]]:
    if kind == "base":
        return [[tokenizer.start_id, *tokenizer.encode(text)] for text in TEXTS]
    return [chat_markup.render(tokenizer, q["messages"])[0] for q in (*QUESTIONS, *OTHER_QUESTIONS)]


def train(tokenizer: Tokenizer, kind: str, steps: int, *, hidden: int = 32, nudge: float = 0.0) -> Qwen3:
    """A tiny model after some steps on the texts or conversations; `nudge` shifts its weights a little."""
    config = Qwen3Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
    )
    model = Qwen3(config, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    longest = max(len(ids) for ids in token_ids(tokenizer, kind))
    batch = torch.tensor([ids + [-100] * (longest - len(ids)) for ids in token_ids(tokenizer, kind)])
    for _ in range(steps):
        logits = model(batch.clamp(min=0)[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + nudge)
    return model.eval()


@pytest.fixture(scope="module")
def trained(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a trained model; each is trained once for all tests."""
    root, tokenizer = tmp_path_factory.mktemp("models"), Tokenizer.load(tokenizer_folder)

    def folder(kind: str, **settings: Any) -> Path:
        target = root / "-".join([kind, *(f"{k}{v}" for k, v in settings.items())])
        if not target.exists():
            save_model(train(tokenizer, kind, **settings), target)
            for file in tokenizer_folder.iterdir():
                shutil.copy(file, target)
        return target

    return folder


class World:
    """Builds the artifacts that a release needs, and releases them."""

    def __init__(self, workspace: Workspace, trained: Callable[..., Path]) -> None:
        self.workspace, self.trained = workspace, trained
        self.config = Config.model_validate({"release": {"above_baseline": False}})

    def store(
        self, stage: str, parts: Mapping[str, Any], fill: Callable[[Path], Built], **inputs: ArtifactRef
    ) -> ArtifactRef:
        return self.workspace.store.get_or_build(Identity(stage, parts), fill, inputs=inputs, run_id="r")

    def inputs(
        self,
        *,
        base: Mapping[str, Any],
        chat: Mapping[str, Any] | None = None,
        texts: list[str] = TEXTS,
        questions: list[dict[str, Any]] = QUESTIONS,
        int8: bool = False,
        baseline: float = 100.0,
    ) -> Inputs:
        """The artifacts of a run up to its release, by step; without `chat`, nothing was fine-tuned."""
        refs: Inputs = {}
        collected = self.store("collect", {"sources.0": "digest of the texts"}, empty("records"))
        refs["resolve"] = self.store("resolve", {}, sizes)
        refs["validate"] = self.store("validate", {"texts": texts}, partial(keep_records, texts), collect=collected)
        tokens = partial(keep_tokens, self.trained("base", **UNTRAINED), texts)
        refs["tokenize"] = self.store("tokenize", {"texts": texts}, tokens, validate=refs["validate"])
        models = {made.BASE: self.trained("base", **base)}
        if chat is not None:
            models[made.CHAT] = self.trained("chat", **chat)
        for spec, folder in models.items():
            asked = questions if spec is made.CHAT else []
            parts = {"model": spec.name, "folder": folder.name, "questions": asked}
            refs[spec.training] = self.store(spec.training.split("-")[0], parts, partial(copy_model, folder, asked))
        for spec in models:
            parts = {"model": spec.name, "of": {name: ref.fingerprint for name, ref in refs.items()}}
            needed = {name: refs[name] for name in ("validate", "tokenize", spec.training)}
            measured = partial(evaluate, self.config, refs, spec, baseline)
            refs[f"evaluate-{spec.name}"] = self.store("evaluate", {**parts, "baseline": baseline}, measured, **needed)
            fill = partial(optimize, models[spec]) if int8 else empty("optimized", skipped="turned off")
            refs[f"optimize-{spec.name}"] = self.store("optimize", {**parts, "int8": int8}, fill, **needed)
        return refs

    def release(self, inputs: Inputs, *, tracked: bool = False) -> list[ArtifactRef]:
        """What was released of each model that was made."""
        context = StageContext(self.workspace, "r")
        if tracked:
            client = mlflow_client(self.workspace.mlflow_folder)
            context = replace(context, tracker=MlflowTracker(client, experiment="zen", run_name="r", tags={}))
        return [STAGE.run(self.config, inputs, context, spec) for spec in models_in(inputs)]


def models_in(inputs: Inputs) -> list[ModelSpec]:
    return [spec for spec in (made.BASE, made.CHAT) if spec.training in inputs]


def sizes(out: Path) -> Built:
    made.write_sizes(out)
    return Built("sizes")


def keep_records(texts: list[str], out: Path) -> Built:
    rows: list[tuple[str, str, Kind]] = [("a training text", "train", "document"), ("a dialogue", "test", "chat")]
    rows += [(text, "test", "document") for text in texts]
    with record_writer(out / "records.parquet") as writer:
        for number, (text, split, kind) in enumerate(rows):
            writer.write(Record(str(number), "g", text, "s", "en", split, kind))
    return Built("records")


def keep_tokens(tokenizer_folder: Path, texts: list[str], out: Path) -> Built:
    tokenizer = Tokenizer.load(tokenizer_folder)
    splits = {"train": ["a training text"], "valid": [], "test": texts}
    write_index(out, tokenizer, {name: write_split(out, name, held, tokenizer) for name, held in splits.items()})
    return Built("tokens", {"text": "document"})


def empty(kind: str, skipped: str | None = None) -> Callable[[Path], Built]:
    return lambda out: Built(kind, skipped=skipped)


def copy_model(folder: Path, questions: list[dict[str, Any]], out: Path) -> Built:
    shutil.copytree(folder, out, dirs_exist_ok=True)
    for name, held in (("test", questions), ("train", [])):
        (out / f"questions_{name}.jsonl").write_text("\n".join(json.dumps(q) for q in held))
    return Built("model")


def evaluate(config: Config, refs: Inputs, spec: ModelSpec, baseline: float, out: Path) -> Built:
    """What the evaluation stage stores, but for the speed and the report, beside a planted baseline."""
    task, asked = load_task(spec.task), evaluation_request(config, refs, spec)
    test = task.test_set(asked)
    assert not isinstance(test, Skipped)
    measured = task.measure(asked.model, test)
    value = float(task.figure(measured.units.sum(axis=0)))
    planted = {"planted": baseline if task.metric.lower_is_better else 0.0}
    score = score_of(task.metric, value, planted, count=len(measured.units))
    np.savez(out / "units.npz", units=measured.units)
    metrics = {"model": spec.name, "task": spec.task, "score": asdict(score)}
    (out / "metrics.json").write_text(json.dumps(metrics))
    return Built("evaluation", {task.metric.name: value})


def optimize(folder: Path, out: Path) -> Built:
    save_model(quantize_(load_model(folder)), out / "int8")
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, out / "int8")
    return Built("optimized", {"chosen": "int8"})


@pytest.fixture
def world(workspace: Workspace, trained: Callable[..., Path], empty_database: Path) -> World:
    workspace.mlflow_folder.mkdir()
    shutil.copy(empty_database, workspace.mlflow_folder / "mlflow.db")
    return World(workspace, trained)


UNTRAINED, TRAINED = {"steps": 0}, {"steps": 60}
NUDGED = {"steps": 60, "nudge": 1e-4}


def released(refs: list[ArtifactRef]) -> list[tuple[str, str, str, bool]]:
    return [(r["model"], r["version"], r["alias"], r["new"]) for r in items(refs)]


def items(refs: list[ArtifactRef]) -> list[dict[str, Any]]:
    """What the summaries say of each released version."""
    return [item for ref in refs for item in ref.summary["released"]]


def found(world: World, inputs: Inputs) -> list[str | None]:
    """Versions that a release would find."""
    each = [find_released(world.config, inputs, world.workspace, spec) for spec in models_in(inputs)]
    return [None if one is None else one.version for one in each]


def test_the_first_models_become_champions_and_the_same_again_changes_nothing(world: World) -> None:
    inputs = world.inputs(base=TRAINED, chat=TRAINED)
    assert found(world, inputs) == [None, None]

    first = world.release(inputs)
    assert released(first) == [("zen-base", "1", "champion", True), ("zen-chat", "1", "champion", True)]
    assert [ref.cached for ref in first] == [False, False]
    client = mlflow_client(world.workspace.mlflow_folder)
    for spec in (made.BASE, made.CHAT):  # nothing tracks them: each has a run of its own
        version = client.get_model_version(f"zen-{spec.name}", "1")
        assert client.get_run(version.run_id).info.run_name == f"release-{spec.name}"
        assert version.tags["zen.report"] == str(inputs[f"evaluate-{spec.name}"].path / "report.html")
        for name, value in inputs[f"evaluate-{spec.name}"].summary.items():
            assert f"| {name} | {value:.4g} |" in version.description

    second = world.release(inputs)
    assert released(second) == [("zen-base", "1", "champion", False), ("zen-chat", "1", "champion", False)]
    assert [ref.cached for ref in second] == [True, True]
    assert found(world, inputs) == ["1", "1"]


def test_a_model_that_is_worse_than_its_plain_baseline_is_a_challenger(world: World) -> None:
    world.config = Config()
    for steps, alias in ((UNTRAINED, "challenger"), (TRAINED, "champion")):
        inputs = world.inputs(base=steps, baseline=1.0)
        [base] = items(world.release(inputs))
        assert base["alias"] == alias
        assert "planted: 1.000" in base["reason"]


def test_the_registry_outlives_runs_that_are_deleted_for_good(world: World) -> None:
    inputs = world.inputs(base=TRAINED)
    world.release(inputs, tracked=True)
    client = mlflow_client(world.workspace.mlflow_folder)
    experiment = client.get_experiment_by_name("zen").experiment_id
    client.delete_experiment(experiment)
    command = ["gc", "--backend-store-uri", client.tracking_uri, "--experiment-ids", experiment]
    environment = {"MLFLOW_TRACKING_URI": client.tracking_uri}
    assert CliRunner().invoke(mlflow_command, command, env=environment).exit_code == 0
    assert client.get_experiment_by_name("zen") is None

    again = world.release(inputs, tracked=True)
    assert released(again) == [("zen-base", "1", "champion", False)]
    assert load_model(registry.resolve_model("champion", world.workspace).folder)
    assert registry.show_model("champion", world.workspace)["lineage"]


def test_a_run_that_was_deleted_meanwhile_costs_no_release(world: World) -> None:
    client = mlflow_client(world.workspace.mlflow_folder)
    tracker = MlflowTracker(client, experiment="zen", run_name="r", tags={})
    inputs = world.inputs(base=TRAINED)
    with tracker.stage("release", Identity("release", {}), {}) as tracked:
        client.delete_experiment(client.get_experiment_by_name("zen").experiment_id)
        context = StageContext(world.workspace, "r", tracker=tracker)
        with TemporaryDirectory() as scratch:
            build(world.config, inputs, Path(scratch), replace(context, tracked=tracked, model=made.BASE))
    assert registry.resolve_model("champion", world.workspace).version == "1"


def test_a_champion_whose_files_are_gone_is_put_back_and_compared_with(world: World) -> None:
    world.release(world.inputs(base=UNTRAINED))
    shutil.rmtree(registry.resolve_model("champion", world.workspace).folder.parent)

    [better] = items(world.release(world.inputs(base=TRAINED)))
    assert (better["version"], better["alias"]) == ("2", "champion")
    assert "of version 1 on the same" in better["reason"]


@pytest.mark.parametrize("moved", [True, False])
def test_a_workspace_that_is_moved_or_copied_uses_its_own_files(world: World, tmp_path: Path, moved: bool) -> None:
    inputs = world.inputs(base=TRAINED)
    world.release(inputs, tracked=True)
    was, place = world.workspace.home, tmp_path / "new place" / ".zen"
    place.parent.mkdir()
    shutil.move(was, place) if moved else shutil.copytree(was, place)
    before = contents(was)
    world.workspace = Workspace(place)
    inputs = {n: r.model_copy(update={"folder": r.folder.replace(str(was), str(place))}) for n, r in inputs.items()}

    assert registry.resolve_model("champion", world.workspace).folder.is_relative_to(place)
    assert released(world.release(inputs, tracked=True)) == [("zen-base", "1", "champion", False)]
    assert released(world.release(world.inputs(base=NUDGED), tracked=True)) == [("zen-base", "2", "challenger", True)]
    assert registry.show_model("zen-base/2", world.workspace)["files"].startswith(place.as_uri())
    assert registry.export("champion", tmp_path / "out", workspace=world.workspace).is_dir()
    assert contents(was) == before


def contents(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_better_models_replace_the_champions_and_worse_ones_do_not(world: World) -> None:
    worse = world.inputs(base=UNTRAINED, chat=UNTRAINED)
    world.release(worse)
    better = world.release(world.inputs(base=TRAINED, chat=TRAINED))

    assert [r[2] for r in released(better)] == ["champion", "champion"]
    base, answers = items(better)
    assert "bits per byte" in base["reason"]
    assert "1.0000 against 0.0000 of version 1 on the same 4 questions" in answers["reason"]
    assert (answers["compared"]["candidate"], answers["compared"]["champion"]) == (1.0, 0.0)

    back = world.release(worse)
    assert released(back) == [("zen-base", "1", "challenger", False), ("zen-chat", "1", "challenger", False)]
    assert registry.resolve_model("champion", world.workspace).version == "2"


def test_a_difference_inside_the_noise_makes_a_challenger(world: World) -> None:
    world.release(world.inputs(base=TRAINED))
    nudged = world.release(world.inputs(base=NUDGED))

    assert released(nudged) == [("zen-base", "2", "challenger", True)]
    assert "bits per byte" in items(nudged)[0]["reason"]


def test_the_champion_is_measured_again_when_the_test_set_is_another(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.release(world.inputs(base=UNTRAINED, chat=UNTRAINED))
    caplog.set_level("INFO", "zen_pipeline")
    other = world.inputs(base=TRAINED, chat=TRAINED, texts=OTHER_TEXTS, questions=OTHER_QUESTIONS)
    base, answers = items(world.release(other))

    assert caplog.text.count("on another test set") == 2
    champion = load_model(world.trained("base", **UNTRAINED))
    tokenizer = Tokenizer.load(other["pretrain-base"].path)
    documents = [[tokenizer.start_id, *tokenizer.encode(text)] for text in OTHER_TEXTS]
    nats = score_documents(champion, np.concatenate(documents), np.cumsum([0, *map(len, documents)]), context=CONTEXT)
    expected = nats.sum() / math.log(2) / sum(len(text.encode()) for text in OTHER_TEXTS)
    assert f"against {expected:.4f} of version 1 on the same 2 documents" in base["reason"]
    assert "on the same 3 questions" in answers["reason"]


def test_a_larger_model_than_allowed_stays_challenger(world: World) -> None:
    world.config = Config.model_validate({"release": {"max_growth": 1.5, "above_baseline": False}})
    world.release(world.inputs(base=UNTRAINED))
    grown = world.release(world.inputs(base={"steps": 60, "hidden": 64}))

    assert items(grown)[0]["reason"].startswith("too large")


def test_int8_is_deployed_when_it_was_chosen_and_the_float_weights_are_kept(world: World, tmp_path: Path) -> None:
    inputs = world.inputs(base=TRAINED, int8=True)
    world.release(inputs)
    model = registry.resolve_model("champion", world.workspace)

    assert (model.name, model.form) == ("zen-base", "int8")
    [weights] = model.folder.glob("model*.safetensors")
    assert os.path.samefile(weights, inputs["optimize-base"].path / "int8" / weights.name)
    assert is_quantized(load_model(model.folder))
    kept = model.folder.parent / "float" / "model.safetensors"
    assert os.path.samefile(kept, inputs["pretrain-base"].path / "model.safetensors")
    assert not is_quantized(load_model(registry.export("champion", tmp_path / "out", workspace=world.workspace)))


def test_the_lineage_leads_back_from_the_version_to_the_records(world: World) -> None:
    inputs = world.inputs(base=TRAINED)
    world.release(inputs, tracked=True)

    shown = registry.show_model("champion", world.workspace)
    assert shown["lineage"]["tokenize"]["inputs"]["validate"] == shown["lineage"]["validate"]["fingerprint"]
    assert shown["lineage"]["validate"]["parts"] == {"texts": TEXTS}
    assert shown["lineage"]["collect"]["parts"] == {"sources.0": "digest of the texts"}
    assert shown["metrics"]["bits_per_byte"] == shown["score"]["value"]
    client = mlflow_client(world.workspace.mlflow_folder)
    run = client.get_run(shown["mlflow_run"])
    assert run.data.tags["zen.stage"] == "release-base"
    assert {d.dataset.name for d in run.inputs.dataset_inputs} == set(inputs)
    collected = shown["lineage"]["collect"]["fingerprint"]
    fingerprints = {collected, *(ref.fingerprint for ref in inputs.values())}
    assert registry.registered_fingerprints(world.workspace) == fingerprints


def test_models_outlive_the_store_that_they_came_from(world: World) -> None:
    world.release(world.inputs(base=TRAINED, chat=TRAINED))
    shutil.rmtree(world.workspace.store.root)

    model = registry.resolve_model("champion", world.workspace)
    say = greedy(load_model(model.folder), chat_markup.chat_format(model.folder))
    assert say(QUESTIONS[0]["messages"][:-1]) == "its size"
    target = registry.export("zen-base", world.workspace.home / "exported", workspace=world.workspace)
    assert sorted(model_files(target)) == sorted(model_files(world.trained("base", **TRAINED)))


def test_no_model_no_release(world: World) -> None:
    inputs = world.inputs(base=TRAINED)
    inputs["evaluate-base"] = inputs["evaluate-base"].model_copy(update={"skipped": "there is no base model"})

    [ref] = world.release(inputs)
    assert "there is no base model" in str(ref.skipped)
    assert ref.summary == {"released": []}
