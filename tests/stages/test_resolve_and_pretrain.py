"""From records and token shards to sizes and a model, through the real stages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config
from zen_pipeline.corpus.kinds.kinds import Kind
from zen_pipeline.corpus.records import Record, record_writer
from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.models.starts.choice import NEXT_TOKEN_FILE, TOKEN_VECTORS_FILE
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.runner import RunStatus
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import pretrain, resolve
from zen_pipeline.tasks import load_task
from zen_pipeline.tasks.base import Material, TrainingRequest
from zen_pipeline.tracking import MlflowTracker, mlflow_client
from zen_pipeline.training.devices import device_count
from zen_pipeline.training.dial import Request, Speed, choose
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.resolved import Resolved
from zen_pipeline.workspace import RunRecord, StageRecord, Workspace

SMALL: dict[str, Any] = {
    "start": "random",
    "model": {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "context_length": 32},
    "steps": 12,
    "batch_tokens": 128,
    "checkpoint_every": 4,
    "validate_every": 6,
}


def language_reference() -> list[str]:
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)][:40]


def store(workspace: Workspace, stage: str, kind: str, fill: Any, parts: dict[str, Any] | None = None) -> ArtifactRef:
    def build(output: Path) -> Built:
        fill(output)
        return Built(kind=kind)

    return workspace.store.get_or_build(Identity(stage, parts or {}), build, inputs={}, run_id="test")


@pytest.fixture
def validated(workspace: Workspace) -> ArtifactRef:
    def fill(output: Path) -> None:
        texts = [*language_reference(), "only a chat", "only a test"]
        splits = ["train"] * (len(texts) - 1) + ["test"]
        kinds: list[Kind] = ["document"] * (len(texts) - 2) + ["chat", "document"]
        with record_writer(output / "records.parquet") as writer:
            for number, (text, split, kind) in enumerate(zip(texts, splits, kinds, strict=True)):
                meta = json.dumps({"messages": []}) if kind == "chat" else "{}"
                writer.write(Record(str(number), str(number), text, "a.txt", "en", split, kind, meta))

    return store(workspace, "validate", "records", fill)


def write_tokens(output: Path, texts: list[str]) -> None:
    tokenizer = train_tokenizer(texts, 300)
    tokenizer.save(output / "tokenizer")
    parts = {"train": texts[:-2], "valid": texts[-2:-1], "test": texts[-1:]}
    write_index(output, tokenizer, {split: write_split(output, split, t, tokenizer) for split, t in parts.items()})


@pytest.fixture
def tokenized(workspace: Workspace) -> ArtifactRef:
    return store(workspace, "tokenize", "tokens", lambda output: write_tokens(output, language_reference()))


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace, "test")


def trained(config: Config, inputs: Mapping[str, ArtifactRef], context: StageContext) -> ArtifactRef:
    """The base model of a pipeline whose records are not read again."""
    return pretrain.STAGE.run(config, {"validate": inputs["tokenize"], **inputs}, context, made.BASE)


def job_of(config: Config, inputs: Mapping[str, ArtifactRef], context: StageContext) -> TrainingJob:
    """The job that would train it."""
    resolved = Resolved.load(inputs["resolve"].path)
    asked = TrainingRequest(
        config=config,
        family="qwen3",
        resolved=resolved,
        records=inputs["tokenize"].path,
        tokens=inputs["tokenize"].path,
        start=None,
        work=context.work,
    )
    material = load_task("language").material(asked)
    assert isinstance(material, Material)
    inside = replace(context, model=ModelSpec("base", "language", config.pretrain.family or "qwen3"))
    return pretrain.make_job(config, resolved, material, inputs, context.workspace.home / "output", inside)


def test_resolve_counts_the_documents_of_the_train_split(validated: ArtifactRef) -> None:
    expected = sum(len(text.encode()) for text in language_reference())
    assert load_task("language").train_bytes(validated.path / "records.parquet") == expected


def test_sizes_and_a_model_come_out_and_are_found_again(
    validated: ArtifactRef, tokenized: ArtifactRef, workspace: Workspace
) -> None:
    config = Config.model_validate({"pretrain": SMALL, "budget": "1m"})
    tracker = MlflowTracker(mlflow_client(workspace.mlflow_folder), experiment="zen", run_name="test", tags={})
    context = StageContext(workspace, "test", tracker=tracker)
    sizes = resolve.STAGE.run(config, {"validate": validated}, context)
    resolved = Resolved.load(sizes.path)
    assert (resolved.steps, resolved.batch) == (12, 4)
    assert resolved.peak_flops is not None
    assert resolved.peak_flops > 1e9
    assert resolve.STAGE.run(config, {"validate": validated}, context).cached

    inputs = {"resolve": sizes, "tokenize": tokenized}
    model = trained(config, inputs, context)
    names = {path.name for path in model.path.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "training.json"}
    assert names >= {"history.jsonl", "tokenizer_config.json"}
    assert model.summary["tokens"] == 12 * 128
    assert json.loads((model.path / "config.json").read_text())["vocab_size"] == 300
    assert trained(config, inputs, context).cached
    assert not list((workspace.home / "work").iterdir())

    client = mlflow_client(workspace.mlflow_folder)
    experiment = client.get_experiment_by_name("zen")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`zen.stage` = 'pretrain-base'")
    losses = client.get_metric_history(runs[-1].info.run_id, "loss")
    assert sorted(metric.step for metric in losses) == list(range(1, 13))
    scored = client.get_metric_history(runs[-1].info.run_id, "validation_bits_per_byte")
    assert sorted(metric.step for metric in scored) == [6, 12]
    logged = client.get_run(runs[-1].info.run_id).data.metrics
    assert 0 < logged["mfu"] < 1.5
    assert logged["summary/final.mfu"] == model.summary["final"]["mfu"] > 0
    assert logged["summary/energy.joules"] > 0
    assert logged["summary/energy.measured"] == float(model.summary["energy"]["measured"])
    (text,) = [f.path for f in client.list_artifacts(runs[-1].info.run_id) if f.path == "samples.txt"]
    assert "=== after step 6 ===" in Path(client.download_artifacts(runs[-1].info.run_id, text)).read_text()


def test_what_resolve_depends_on(validated: ArtifactRef, workspace: Workspace) -> None:
    upstream = {"validate": validated.fingerprint}

    def parts(settings: dict[str, Any]) -> Identity:
        return resolve.STAGE.identity(Config.model_validate(settings), upstream, workspace)

    base = parts({})
    for same in ({"pretrain": {"learning_rate": 0.1}}, {"seed": 5}, {"name": "other"}, {"budget": "300s"}):
        assert parts(same).fingerprint == base.fingerprint, same
    for other, changed in (
        ({"budget": "7m"}, ["settings.amount"]),
        ({"tokenize": {"vocab_size": 500}}, ["settings.vocab_size"]),
        ({"pretrain": {"model": {"layers": 2}}}, ["settings.model.layers"]),
    ):
        assert parts(other).changed_from(base.parts) == changed
    workspace.recalibrate()
    assert parts({}).changed_from(base.parts) == ["sources.calibration"]


@pytest.mark.parametrize(
    ("finished", "now", "kept"),
    [
        ("interrupted", {"trained_flops": 1e11}, "untouched"),  # what was begun goes on with the same sizes
        ("completed", {"trained_flops": 1e11}, "replaced"),
        ("completed", {"trained_flops": 1.1e10}, "confirmed"),
        ("completed", {"trained_flops": 1e11, "disturbed": True}, "untouched"),
    ],
)
def test_sizes_from_a_busy_machine_are_kept_only_for_the_run_that_began_with_them(
    validated: ArtifactRef,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    finished: RunStatus,
    now: dict[str, Any],
    kept: str,
) -> None:
    config, inputs = Config(budget="5m"), {"validate": validated}
    context = StageContext(workspace=workspace, run_id="test")
    request = Request(budget="5m", train_bytes=1_000_000, cores=1)
    quiet = choose(request, lambda *_: Speed(1000.0, 0.01))
    answers = [quiet.model_copy(update={"trained_flops": 1e10, "disturbed": True}), *[quiet.model_copy(update=now)] * 2]
    monkeypatch.setattr("zen_pipeline.training.measure.measure_and_choose", lambda *_: answers.pop(0))

    first = resolve.STAGE.run(config, inputs, context)
    stages = [StageRecord(name="resolve", status="ran", seconds=1.0, fingerprint=first.fingerprint)]
    workspace.save_run(RunRecord(run_id="first", pipeline="zen", started="now", status=finished, stages=stages))
    second = resolve.STAGE.run(config, inputs, context)
    assert (second.fingerprint != first.fingerprint) == (kept == "replaced")
    assert Resolved.load(second.path).trained_flops == (1e11 if kept == "replaced" else 1e10)
    measured = len(answers)
    resolve.STAGE.run(config, inputs, context)
    asked_again = len(answers) < measured
    assert asked_again == (finished == "completed" and kept == "untouched")


def test_what_pretraining_depends_on(workspace: Workspace) -> None:
    upstream = {"validate": "v", "resolve": "a", "tokenize": "b", "embed": "c"}

    def parts(settings: dict[str, Any]) -> Identity:
        return pretrain.STAGE.identity(Config.model_validate(settings), upstream, workspace, made.BASE)

    base = parts({})
    same = {"checkpoint_every": 7, "validate_every": 9, "rank_timeout": 30, "watts_per_core": 9}
    assert parts({"pretrain": same}).fingerprint == base.fingerprint
    assert parts({"pretrain": {"learning_rate": 0.1}}).changed_from(base.parts) == ["settings.learning_rate"]
    assert parts({"seed": 1}).changed_from(base.parts) == ["settings.seed"]
    random = parts({"pretrain": {"start": "random"}}).changed_from(base.parts)
    assert random == ["inputs.embed", "settings.start"]


@pytest.mark.usefixtures("known_speed")
@pytest.mark.large
def test_two_processes_make_the_same_artifact_as_one(
    validated: ArtifactRef, tokenized: ArtifactRef, workspace: Workspace
) -> None:
    context = StageContext(workspace, "test")
    config = Config.model_validate({"pretrain": {**SMALL, "devices": 2}, "budget": "1m"})
    inputs = {"resolve": resolve.STAGE.run(config, {"validate": validated}, context), "tokenize": tokenized}
    model = trained(config, inputs, context)
    assert model.summary["devices"] == 2
    assert model.summary["tokens"] == 12 * 128
    alone = Config.model_validate({"pretrain": SMALL, "budget": "1m"})
    assert trained(alone, inputs, context).cached
    assert device_count("auto", batch=4, enlarge="pretrain.batch_tokens") >= 1
    with pytest.raises(ConfigError, match=r"pretrain\.devices is 5, but a batch has 4 sequences"):
        device_count(5, batch=4, enlarge="pretrain.batch_tokens")


def test_every_process_has_a_gpu_of_its_own_or_none_has() -> None:
    count = partial(device_count, batch=8, enlarge="pretrain.batch_tokens")
    assert [count("auto", gpus=gpus) for gpus in (0, 2, 100)] == [1, 2, 8]
    assert [count(setting, gpus=0) for setting in (1, 4)] == [1, 4]
    assert [count(setting, gpus=2) for setting in (1, 2)] == [1, 2]
    with pytest.raises(ConfigError, match=r"pretrain\.devices is 4, but torch finds 2 CUDA devices"):
        count(4, gpus=2)


@pytest.mark.usefixtures("known_speed")
@pytest.mark.parametrize(
    ("changes", "tables", "previous_token", "induction"),
    [
        ({}, "next_token", True, True),
        ({"family": "gpt2", "start": "words"}, "token", False, False),
    ],
)
def test_a_start_gives_the_parts_that_fit_the_model(
    changes: dict[str, Any],
    tables: str | None,
    previous_token: bool,
    induction: bool,
    validated: ArtifactRef,
    tokenized: ArtifactRef,
    workspace: Workspace,
) -> None:
    context = StageContext(workspace, "test")

    def write_vectors(output: Path) -> None:
        for name in (NEXT_TOKEN_FILE, TOKEN_VECTORS_FILE):
            (output / name).write_bytes(b"")

    vectors = store(workspace, "embed", "vectors", write_vectors)
    shape = {**SMALL["model"], "layers": 2} | changes.get("model", {})
    settings = {**SMALL, "start": "auto", **changes, "model": shape}
    config = Config.model_validate({"pretrain": settings, "budget": "1e6tokens"})
    sizes = resolve.STAGE.run(config, {"validate": validated}, context)
    inputs = {"resolve": sizes, "tokenize": tokenized, "embed": vectors}
    job = job_of(config, inputs, context)
    start = job.start
    found = {"next_token": start.next_token_vectors, "token": start.token_vectors}
    assert [name for name, path in found.items() if path] == ([tables] if tables else [])
    assert (start.previous_token_heads, start.induction_heads) == (previous_token, induction)


@pytest.mark.usefixtures("known_speed")
def test_a_given_model_is_trained_on_and_one_that_does_not_fit_is_refused(
    validated: ArtifactRef, tokenized: ArtifactRef, context: StageContext
) -> None:
    config = Config.model_validate({"pretrain": {**SMALL, "rank_timeout": 30, "watts_per_core": 9}})
    sizes = resolve.STAGE.run(config, {"validate": validated}, context)
    inputs = {"resolve": sizes, "tokenize": tokenized}
    job = job_of(config, inputs, context)
    assert (job.rank_timeout, job.watts_per_core) == (30, 9)
    assert job.peak_flops == Resolved.load(sizes.path).peak_flops
    first = trained(config, inputs, context)
    continued = Config.model_validate({"pretrain": {**SMALL, "init_from": first.folder, "model": {}}})
    sizes = resolve.STAGE.run(continued, {"validate": validated}, context)
    assert Resolved.load(sizes.path).model.context_length == 32
    second = trained(continued, {"resolve": sizes, "tokenize": tokenized}, context)
    assert second.summary["final"]["validation_loss"] < first.summary["final"]["validation_loss"]

    config_file = first.path / "config.json"
    shrunk = json.loads(config_file.read_text()) | {"vocab_size": 299}
    config_file.write_text(json.dumps(shrunk))
    with pytest.raises(ConfigError, match=r"the tokens have 300 ids, but the model in .* has 299 embeddings"):
        trained(continued, {"resolve": sizes, "tokenize": tokenized}, context)


def test_a_model_given_to_fine_tuning_skips_pretraining(
    validated: ArtifactRef, tokenized: ArtifactRef, context: StageContext, tmp_path: Path
) -> None:
    inputs = {
        "resolve": store(context.workspace, "resolve", "sizes", lambda output: None),
        "tokenize": tokenized,
    }
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    config = Config.model_validate({"pretrain": SMALL, "finetune": {"init_from": str(tmp_path)}})
    ref = trained(config, inputs, context)
    assert ref.skipped is not None
    assert "finetune.init_from" in ref.skipped


@pytest.mark.usefixtures("known_speed")
def test_a_corpus_smaller_than_one_context_is_a_mistake_of_the_data(
    validated: ArtifactRef, workspace: Workspace, context: StageContext
) -> None:
    config = Config.model_validate({"pretrain": SMALL})
    sizes = resolve.STAGE.run(config, {"validate": validated}, context)

    def fill(output: Path) -> None:
        write_tokens(output, ["A few words.", "Hold out.", "Test."])

    tokens = store(workspace, "tokenize", "tokens", fill, {"few": 1})
    with pytest.raises(DataError, match="less than one sequence of 32"):
        trained(config, {"resolve": sizes, "tokenize": tokens}, replace(context, run_id="few"))


def test_the_stages_load_nothing_heavy() -> None:
    code = (
        "import sys; import zen_pipeline.stages.resolve, zen_pipeline.stages.pretrain\n"
        "heavy = {'torch', 'lightning', 'mlflow', 'transformers'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
