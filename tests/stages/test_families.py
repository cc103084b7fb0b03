"""Every family through the real stages: what is trained, what it depends on, and what is skipped for it and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config
from zen_pipeline.corpus.records import Record, record_writer
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.errors import ConfigError
from zen_pipeline.evaluation.scores import read_score
from zen_pipeline.inference.translate import translate
from zen_pipeline.models.folder import load_any, save_model
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.marian import Marian
from zen_pipeline.pipeline.chain import steps_up_to
from zen_pipeline.pipeline.model_specs import family_of
from zen_pipeline.pipeline.models_made import models_of
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import pretrain, resolve
from zen_pipeline.training.resolved import Resolved
from zen_pipeline.workspace import Workspace

pytestmark = pytest.mark.usefixtures("known_speed")  # what is measured does not matter here

SMALL: dict[str, Any] = {
    "model": {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "context_length": 32},
    "steps": 6,
    "batch_tokens": 128,
    "precision": "fp32",
    "start": "random",
}


def settings(family: str, **changes: Any) -> Config:
    pretrain = {**SMALL, "family": family, **changes}
    return Config.model_validate({"pretrain": pretrain, "tokenize": {"vocab_size": 320}})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One for all tests, so that a model which several look at is trained once."""
    home = tmp_path_factory.mktemp("families") / ".zen"
    home.mkdir()
    return Workspace(home)


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace, "test")


def validated(workspace: Workspace, records: list[Record]) -> ArtifactRef:
    def build(output: Path) -> Built:
        with record_writer(output / "records.parquet") as writer:
            for record in records:
                writer.write(record)
        return Built(kind="records")

    return workspace.store.get_or_build(
        Identity("validate", {"first": records[0].text}), build, inputs={}, run_id="test"
    )


def documents() -> list[Record]:
    from pydoc_data.topics import topics

    names = sorted(topics)[:24]
    splits = {0: "valid", 1: "test"}
    return [
        Record(name, name, topics[name], "topics", "en", split=splits.get(i % 8, "train"))
        for i, name in enumerate(names)
    ]


def translations() -> list[Record]:
    numbers = [("one", "un"), ("two", "deux"), ("three", "trois"), ("four", "quatre"), ("five", "cinq"), ("six", "six")]
    records = []
    for i, (a, b) in enumerate(
        [(f"{x} {y} {z}", f"{p} {q} {r}") for x, p in numbers for y, q in numbers for z, r in numbers]
    ):
        meta = {"source": a, "target": b, "source_language": "en", "target_language": "fr"}
        split = {0: "valid", 1: "test"}.get(i % 12, "train")
        records.append(Record(str(i), str(i), f"{a}\n{b}", "n.tsv", "und", split, "translation", json.dumps(meta)))
    return records


def walk(
    config: Config, records: ArtifactRef, context: StageContext, until: str = "pretrain"
) -> dict[str, ArtifactRef]:
    """The artifacts of a stage and of the real steps that it needs, by step; records are given, nothing is released."""
    refs = {"validate": records}
    for step in steps_up_to(until, config):
        if step.name not in ("collect", "validate") and step.stage.name != "release":
            refs[step.name] = step.stage.run(config, refs, context, step.model)
    return refs


def only(refs: dict[str, ArtifactRef], stage: str) -> ArtifactRef:
    """The one artifact of a stage that was not skipped."""
    (found,) = [ref for ref in refs.values() if ref.stage == stage and not ref.skipped]
    return found


@pytest.mark.parametrize(
    ("family", "architecture", "measured"),
    [
        ("bert", "BertForMaskedLM", "validation_loss"),
        pytest.param("gpt2", "GPT2LMHeadModel", "validation_bits_per_byte", marks=pytest.mark.large),
    ],
)
def test_a_family_is_trained_on_text_and_measured(
    family: str, architecture: str, measured: str, workspace: Workspace, context: StageContext
) -> None:
    refs = walk(settings(family), validated(workspace, documents()), context, "release")
    model, sizes = only(refs, "pretrain"), Resolved.load(refs["resolve"].path)
    written = json.loads((model.path / "config.json").read_text())
    assert written["architectures"] == [architecture]
    assert written["vocab_size"] == 320 + (2 if family == "bert" else 0)
    assert sizes.family == family
    assert sizes.model.intermediate_size == 64
    assert model.summary["final"][measured] > 0
    assert ("validation_bits_per_byte" in model.summary["final"]) == (family == "gpt2")
    evaluated = refs[f"evaluate-{model.model}"]
    score = read_score(evaluated.path)
    assert score is not None
    assert score.value > 0
    assert score.baseline_value is not None
    forms = refs[f"optimize-{model.model}"].summary["forms"]
    assert forms["int8"]["bytes"] < forms["float"]["bytes"]
    assert forms["int8"]["loss"] == pytest.approx(forms["float"]["loss"], rel=0.05)
    assert pretrain.STAGE.run(settings(family), refs, context, models_of(settings(family))[0]).cached


def test_an_encoder_decoder_is_trained_on_pairs_and_measured_on_others(
    workspace: Workspace, context: StageContext
) -> None:
    config = settings("marian")
    refs = walk(config, validated(workspace, translations()), context, "release")
    assert refs["tokenize"].summary["text"] == "translation"
    assert "translation pairs" in str(refs["pretrain-infill"].skipped)
    assert refs["evaluate-infill"].skipped
    final = refs["pretrain-translate"].summary["final"]
    assert 0 < final["validation_bits_per_byte"] < 20
    folder = refs["pretrain-translate"].path
    model, tokenizer = load_any(folder, Marian), Tokenizer.load(folder)
    assert model.config.pad_token_id == tokenizer.token_id("<|pad|>") == model.config.vocab_size - 1
    assert (model.config.encoder_layers, model.config.decoder_layers) == (1, 1)
    said = translate(model, [[*tokenizer.encode("one two six"), tokenizer.start_id]], max_new_tokens=8)
    assert isinstance(tokenizer.decode(said[0]), str)
    summary = refs["evaluate-translate"].summary
    assert 0 <= summary["chrf"] <= 100
    assert set(summary["baselines"]) == {"copying the source"}
    assert summary["pairs"] == summary["test"]["pairs"] == 18
    forms = refs["optimize-translate"].summary["forms"]
    assert forms["int8"]["loss"] == pytest.approx(forms["float"]["loss"], rel=0.05)

    continued = settings("marian", init_from=str(folder), model={})
    again = only(walk(continued, refs["validate"], context), "pretrain")
    assert again.summary["final"]["validation_loss"] < final["validation_loss"]


@pytest.mark.large
def test_an_encoder_is_trained_on_from_its_own_folder(workspace: Workspace, context: StageContext) -> None:
    records = validated(workspace, documents())
    first = only(walk(settings("bert"), records, context), "pretrain")
    continued = Config.model_validate({"pretrain": {**SMALL, "init_from": first.folder, "model": {}}})
    assert family_of(continued) == "bert"
    again = only(walk(continued, records, context), "pretrain")
    assert again.summary["final"]["validation_loss"] < first.summary["final"]["validation_loss"]


@pytest.mark.large
def test_an_encoder_decoder_fills_in_spans_where_there_are_no_pairs(
    workspace: Workspace, context: StageContext
) -> None:
    records = validated(workspace, documents())
    refs = walk(settings("marian", steps=20), records, context, "release")
    first = refs["pretrain-infill"]
    assert "no translation pairs" in str(refs["pretrain-translate"].skipped)
    history = [json.loads(line) for line in (first.path / "history.jsonl").read_text().splitlines()]
    assert history[-1]["loss"] < history[0]["loss"] - 0.3
    assert "validation_bits_per_byte" not in first.summary["final"]
    model, tokenizer = load_any(first.path, Marian), Tokenizer.load(first.path)
    assert model.config.pad_token_id == tokenizer.token_id("<|pad|>") == model.config.vocab_size - 1
    assert tokenizer.token_id("<extra_id_0>") == 320  # 32 tokens: 5 of them cut out in 2 spans, and the end
    assert tokenizer.token_id("<extra_id_2>") == model.config.vocab_size - 2
    assert refs["evaluate-infill"].summary["bits_per_span_byte"] > 0


def test_the_family_is_part_of_what_resolve_and_pretraining_depend_on(workspace: Workspace) -> None:
    def identity(stage: Any, **changes: Any) -> Identity:
        upstream = dict.fromkeys(("validate", "resolve", "tokenize", "embed"), "a")
        config = Config.model_validate({"pretrain": changes})
        model = models_of(config)[0] if stage is pretrain else None
        return stage.STAGE.identity(config, upstream, workspace, model)  # type: ignore[no-any-return]

    for stage in (resolve, pretrain):
        assert identity(stage).fingerprint == identity(stage, family="qwen3").fingerprint
        assert "settings.family" in identity(stage, family="gpt2").changed_from(identity(stage).parts)
    assert "inputs.embed" in identity(pretrain).parts
    assert "inputs.embed" not in identity(pretrain, family="gpt2").parts
    assert "inputs.embed" in identity(pretrain, family="gpt2", start="words").parts
    assert "inputs.embed" not in identity(pretrain, family="bert").parts
    assert "inputs.validate" in identity(pretrain, family="marian").parts


def test_a_given_model_decides_its_family(tmp_path: Path) -> None:
    save_model(GPT2(GPT2Config(vocab_size=300, n_positions=32, n_embd=16, n_layer=1, n_head=2)), tmp_path)

    def family(**changes: Any) -> str:
        return family_of(Config.model_validate({"pretrain": {"init_from": str(tmp_path), **changes}}))

    assert family() == family(family="gpt2") == "gpt2"
    with pytest.raises(ConfigError, match=r"pretrain.family is bert, but init_from names a gpt2 model"):
        family(family="bert")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="'llama': known ones are qwen3, gpt2, bert, marian"):
        family()


@pytest.mark.large
def test_real_sentence_pairs_are_learnt(
    shared_data: Callable[[str], Path], workspace: Workspace, context: StageContext
) -> None:
    lines = (shared_data("tatoeba-anki") / "cmn.txt").read_text(encoding="utf-8").splitlines()
    pairs = [parts[:2] for line in lines if len(parts := line.split("\t")) > 1][:4000]
    records = []
    for i, (source, target) in enumerate(pairs):
        meta = json.dumps({"source": source, "target": target, "source_language": "en", "target_language": "zh"})
        split = "valid" if i % 20 == 0 else "train"
        records.append(Record(str(i), str(i), f"{source}\n{target}", "cmn.txt", "und", split, "translation", meta))
    config = settings("marian", steps=60, batch_tokens=1024, model={"hidden_size": 64, "layers": 2, "heads": 2})
    final = only(walk(config, validated(workspace, records), context), "pretrain").summary["final"]
    assert final["validation_bits_per_byte"] < 4.0  # chance is log2(320) bits for each of two to three bytes
