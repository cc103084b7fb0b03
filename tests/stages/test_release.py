"""The release stage on real artifacts: tiny models, a small tokenizer, real scores and answers."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mlflow.cli import cli as mlflow_command

from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config
from zen_pipeline.corpus.records import Kind, Record, record_writer
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.inference.scoring import score_documents
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.int8 import is_quantized, quantize_
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.serving import registry
from zen_pipeline.serving.bundle import model_files
from zen_pipeline.stages.release import STAGE, build, find_released
from zen_pipeline.tasks import chat
from zen_pipeline.tasks.asking import ask, greedy
from zen_pipeline.tasks.questions import Question
from zen_pipeline.tracking import MlflowTracker, mlflow_client
from zen_pipeline.workspace import Workspace

TEXTS = [f"The method {verb} of the {noun} returns its size." for noun in ("file", "path") for verb in ("a", "b", "cd")]
OTHER_TEXTS = ["A path names a file.", "A file has a size, which the method returns."]


def question(identity: str, text: str) -> dict[str, Any]:
    return {"id": identity, "subject": text, "form": "purpose", "messages": chat.question_and_answer(text, "its size")}


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
    return [chat.render(tokenizer, q["messages"])[0] for q in (*QUESTIONS, *OTHER_QUESTIONS)]


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
        bigram: float = 100.0,
    ) -> Inputs:
        refs: Inputs = {}
        collected = self.store("collect", {"sources.0": "digest of the texts"}, empty("records"))
        fill_records: Callable[[Path], Built] = lambda out: keep_records(out, texts)  # noqa: E731
        refs["validate"] = self.store("validate", {"texts": texts}, fill_records, collect=collected)
        refs["tokenize"] = self.store("tokenize", {"texts": texts}, empty("tokens"), validate=refs["validate"])
        folders = {"pretrain": self.trained("base", **base)}
        if chat is not None:
            folders["finetune"] = self.trained("chat", **chat)
        for stage, folder in folders.items():
            asked = questions if stage == "finetune" else []
            parts = {"folder": folder.name, "questions": asked}
            refs[stage] = self.store(stage, parts, lambda out, f=folder, q=asked: copy_model(f, q, out))
        if chat is None:
            refs["finetune"] = self.store("finetune", {}, empty("model", skipped="nothing to fine-tune on"))
        parts = {"of": {name: ref.fingerprint for name, ref in refs.items()}}
        fill_scores: Callable[[Path], Built] = lambda out: evaluate(refs, texts, questions, bigram, out)  # noqa: E731
        refs["evaluate"] = self.store("evaluate", parts, fill_scores, **refs)
        chosen = {"base": {"chosen": "int8" if int8 else "float"}, "chat": {"chosen": "int8" if int8 else "float"}}
        if int8:
            fill: Callable[[Path], Built] = lambda out: optimize(folders, chosen, out)  # noqa: E731
        else:
            fill = empty("optimized", skipped="turned off")
        refs["optimize"] = self.store("optimize", {**parts, "int8": int8}, fill, **refs)
        return refs

    def release(self, inputs: Inputs, *, tracked: bool = False) -> ArtifactRef:
        context = StageContext(self.workspace, "r")
        if tracked:
            client = mlflow_client(self.workspace.mlflow_folder)
            context = replace(context, tracker=MlflowTracker(client, experiment="zen", run_name="r", tags={}))
        return STAGE.run(self.config, inputs, context)


def keep_records(out: Path, texts: list[str]) -> Built:
    rows: list[tuple[str, str, Kind]] = [("a training text", "train", "document"), ("a dialogue", "test", "chat")]
    rows += [(text, "test", "document") for text in texts]
    with record_writer(out / "records.parquet") as writer:
        for number, (text, split, kind) in enumerate(rows):
            writer.write(Record(str(number), "g", text, "s", "en", split, kind))
    return Built("records")


def empty(kind: str, skipped: str | None = None) -> Callable[[Path], Built]:
    return lambda out: Built(kind, skipped=skipped)


def copy_model(folder: Path, questions: list[dict[str, Any]], out: Path) -> Built:
    shutil.copytree(folder, out, dirs_exist_ok=True)
    (out / "questions_test.jsonl").write_text("\n".join(json.dumps(q) for q in questions))
    return Built("model")


def evaluate(refs: Inputs, texts: list[str], questions: list[dict[str, Any]], bigram: float, out: Path) -> Built:
    """Real scores and answers in the form that the evaluation stage stores them."""
    model, tokenizer = load_model(refs["pretrain"].path), Tokenizer.load(refs["pretrain"].path)
    documents = [[tokenizer.start_id, *tokenizer.encode(text)] for text in texts]
    offsets = np.cumsum([0, *map(len, documents)])
    nats = score_documents(model, np.concatenate(documents), offsets, context=CONTEXT)
    np.savez(out / "documents.npz", nats=nats, bytes=[len(t.encode()) for t in texts], tokens=np.diff(offsets) - 1)
    if not refs["finetune"].skipped:
        folder = refs["finetune"].path
        said = ask([Question(**q) for q in questions], greedy(load_model(folder), chat.chat_format(folder)))
        (out / "answers.jsonl").write_text("".join(json.dumps(asdict(a)) + "\n" for a in said))
    bits = float(nats.sum() / np.log(2) / sum(len(t.encode()) for t in texts))
    base = {"token_accuracy": 0.5, "bits_per_byte": bits}
    (out / "metrics.json").write_text(json.dumps({"base": base, "baselines": {"bigram": bigram}}))
    return Built("evaluation", {"base": base, "baselines": {"bigram": bigram}})


def optimize(folders: Mapping[str, Path], summary: dict[str, Any], out: Path) -> Built:
    for stage, name in (("pretrain", "base"), ("finetune", "chat")):
        if stage in folders:
            save_model(quantize_(load_model(folders[stage])), out / name)
            for file in folders[stage].glob("tokenizer*"):
                shutil.copy(file, out / name)
    return Built("optimized", summary)


@pytest.fixture
def world(workspace: Workspace, trained: Callable[..., Path], empty_database: Path) -> World:
    workspace.mlflow_folder.mkdir()
    shutil.copy(empty_database, workspace.mlflow_folder / "mlflow.db")
    return World(workspace, trained)


UNTRAINED, TRAINED = {"steps": 0}, {"steps": 60}
NUDGED = {"steps": 60, "nudge": 1e-4}


def released(ref: ArtifactRef) -> list[tuple[str, str, str, bool]]:
    return [(r["model"], r["version"], r["alias"], r["new"]) for r in ref.summary["released"]]


def test_the_first_models_become_champions_and_the_same_again_changes_nothing(world: World) -> None:
    inputs = world.inputs(base=TRAINED, chat=TRAINED)
    assert find_released(world.config, inputs, world.workspace) == []

    first = world.release(inputs)
    assert released(first) == [("zen-base", "1", "champion", True), ("zen-chat", "1", "champion", True)]
    assert (first.cached, first.summary["primary"]) == (False, "zen-chat")

    second = world.release(inputs)
    assert released(second) == [("zen-base", "1", "champion", False), ("zen-chat", "1", "champion", False)]
    assert second.cached
    assert [r.version for r in find_released(world.config, inputs, world.workspace)] == ["1", "1"]


def test_a_model_that_is_worse_than_its_plain_baseline_is_a_challenger(world: World) -> None:
    world.config = Config()
    for steps, alias in ((UNTRAINED, "challenger"), (TRAINED, "champion")):
        inputs = world.inputs(base=steps, bigram=1.0)
        base = world.release(inputs).summary["released"][0]
        assert base["alias"] == alias
        assert "bigram: 1.000" in base["reason"]


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
            build(world.config, inputs, Path(scratch), replace(context, tracked=tracked))
    assert registry.resolve_model("champion", world.workspace).version == "1"


def test_a_champion_whose_files_are_gone_is_put_back_and_compared_with(world: World) -> None:
    world.release(world.inputs(base=UNTRAINED))
    shutil.rmtree(registry.resolve_model("champion", world.workspace).folder.parent)

    better = world.release(world.inputs(base=TRAINED)).summary["released"][0]
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
    assert "bits per byte" in better.summary["released"][0]["reason"]
    assert (
        "answer F1 1.0000 against 0.0000 of version 1 on the same 4 questions"
        in better.summary["released"][1]["reason"]
    )

    back = world.release(worse)
    assert released(back) == [("zen-base", "1", "challenger", False), ("zen-chat", "1", "challenger", False)]
    assert registry.resolve_model("champion", world.workspace).version == "2"


def test_a_difference_inside_the_noise_makes_a_challenger(world: World) -> None:
    world.release(world.inputs(base=TRAINED))
    nudged = world.release(world.inputs(base=NUDGED))

    assert released(nudged) == [("zen-base", "2", "challenger", True)]
    assert "bits per byte" in nudged.summary["released"][0]["reason"]


def test_the_champion_is_measured_again_when_the_test_set_is_another(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.release(world.inputs(base=UNTRAINED, chat=UNTRAINED))
    caplog.set_level("INFO", "zen_pipeline")
    other = world.inputs(base=TRAINED, chat=TRAINED, texts=OTHER_TEXTS, questions=OTHER_QUESTIONS)
    base, answers = world.release(other).summary["released"]

    assert "on other documents" in caplog.text
    assert "other questions" in caplog.text
    champion = load_model(world.trained("base", **UNTRAINED))
    tokenizer = Tokenizer.load(other["pretrain"].path)
    documents = [[tokenizer.start_id, *tokenizer.encode(text)] for text in OTHER_TEXTS]
    nats = score_documents(champion, np.concatenate(documents), np.cumsum([0, *map(len, documents)]), context=CONTEXT)
    expected = nats.sum() / math.log(2) / sum(len(text.encode()) for text in OTHER_TEXTS)
    assert f"against {expected:.4f} of version 1 on the same 2 documents" in base["reason"]
    assert "on the same 3 questions" in answers["reason"]


def test_a_larger_model_than_allowed_stays_challenger(world: World) -> None:
    world.config = Config.model_validate({"release": {"max_growth": 1.5, "above_baseline": False}})
    world.release(world.inputs(base=UNTRAINED))
    grown = world.release(world.inputs(base={"steps": 60, "hidden": 64}))

    assert grown.summary["released"][0]["reason"].startswith("too large")


def test_int8_is_deployed_when_it_was_chosen_with_the_float_weights_beside(world: World, tmp_path: Path) -> None:
    inputs = world.inputs(base=TRAINED, int8=True)
    world.release(inputs)
    found = registry.resolve_model("champion", world.workspace)

    assert (found.name, found.form) == ("zen-base", "int8")
    [weights] = found.folder.glob("model*.safetensors")
    assert os.path.samefile(weights, inputs["optimize"].path / "base" / weights.name)
    assert is_quantized(load_model(found.folder))
    beside = found.folder.parent / "float" / "model.safetensors"
    assert os.path.samefile(beside, inputs["pretrain"].path / "model.safetensors")
    assert not is_quantized(load_model(registry.export("champion", tmp_path / "out", workspace=world.workspace)))


def test_the_lineage_leads_back_from_the_version_to_the_records(world: World) -> None:
    inputs = world.inputs(base=TRAINED)
    world.release(inputs, tracked=True)

    shown = registry.show_model("champion", world.workspace)
    assert shown["lineage"]["tokenize"]["inputs"]["validate"] == shown["lineage"]["validate"]["fingerprint"]
    assert shown["lineage"]["validate"]["parts"] == {"texts": TEXTS}
    assert shown["lineage"]["collect"]["parts"] == {"sources.0": "digest of the texts"}
    assert shown["metrics"]["token_accuracy"] == 0.5
    client = mlflow_client(world.workspace.mlflow_folder)
    run = client.get_run(shown["mlflow_run"])
    assert run.data.tags["zen.stage"] == "release"
    assert {d.dataset.name for d in run.inputs.dataset_inputs} == set(inputs)
    collected = shown["lineage"]["collect"]["fingerprint"]
    fingerprints = {collected, *(ref.fingerprint for ref in inputs.values())}
    assert registry.registered_fingerprints(world.workspace) == fingerprints


def test_models_outlive_the_store_that_they_came_from(world: World) -> None:
    world.release(world.inputs(base=TRAINED, chat=TRAINED))
    shutil.rmtree(world.workspace.store.root)

    found = registry.resolve_model("champion", world.workspace)
    say = greedy(load_model(found.folder), chat.chat_format(found.folder))
    assert say(QUESTIONS[0]["messages"][:-1]) == "its size"
    target = registry.export("zen-base", world.workspace.home / "exported", workspace=world.workspace)
    assert sorted(model_files(target)) == sorted(model_files(world.trained("base", **TRAINED)))


def test_no_model_no_release(world: World) -> None:
    inputs = world.inputs(base=TRAINED)
    inputs["pretrain"] = inputs["pretrain"].model_copy(update={"skipped": "init_from"})

    ref = world.release(inputs)
    assert ref.skipped is not None
    assert ref.summary == {"released": []}
