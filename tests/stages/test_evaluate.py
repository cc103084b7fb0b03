"""The evaluation stage on small real artifacts with random models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef, Identity
from zen_pipeline.config import Config
from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.evaluation.answers import token_f1
from zen_pipeline.evaluation.scores import read_score
from zen_pipeline.inference.scoring import score_documents
from zen_pipeline.models.folder import load_model
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.reporting.evaluation_page import run_page
from zen_pipeline.settings.outcome import EvaluateConfig
from zen_pipeline.stages import evaluate
from zen_pipeline.tasks.chat_markup import write_template
from zen_pipeline.tasks.questions import collect_questions, write_questions
from zen_pipeline.tracking import StageTracker, Tracker
from zen_pipeline.workspace import Workspace

CONFIG = Config(evaluate=EvaluateConfig(max_test_tokens=1000, max_questions=4, samples=2, sample_tokens=10))
SCRIPT = "<script>alert(1)</script>"


def finetuned(workspace: Workspace, tokens: ArtifactRef, records: list[made.Record]) -> ArtifactRef:
    def fill(output: Path) -> None:
        made.save_random_model(output, tokens.path)
        write_template(output)
        split = collect_questions(records, test_fraction=0.2, salt="zen")
        hostile = replace(split.test[0], id="hostile", messages=[
            {"role": "user", "content": f"What is {SCRIPT}?"}, {"role": "assistant", "content": "A script & a <tag>."},
        ])  # fmt: skip
        write_questions(output / "questions_test.jsonl", [hostile, *split.test[:3]])
        write_questions(output / "questions_train.jsonl", split.train)

    return made.store(workspace, "finetune", fill, model="chat")


def words(workspace: Workspace) -> ArtifactRef:
    def fill(output: Path) -> dict[str, int]:
        (output / "neighbours.json").write_text(json.dumps({"shelf": [["item", 0.75], ["<b>", 0.5]]}))
        (output / "map.json").write_text(json.dumps([{"word": "<i>shelf", "x": 0.5, "y": 0.5}]))
        return {"vocabulary": 99}

    return made.store(workspace, "embed", fill)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def inputs(workspace: Workspace) -> dict[str, ArtifactRef]:
    records = made.documentation()
    tokens = made.tokenized(workspace, records)
    return {
        "validate": made.validated(workspace, records),
        "resolve": made.store(workspace, "resolve", made.write_sizes),
        "tokenize": tokens,
        "embed": words(workspace),
        "pretrain-base": made.pretrained(workspace, tokens),
        "finetune-chat": finetuned(workspace, tokens, records),
    }


@pytest.fixture(scope="module")
def tracked_files() -> list[str]:
    return []


@pytest.fixture(scope="module")
def context(workspace: Workspace, tracked_files: list[str]) -> StageContext:
    class Recording(StageTracker):
        def log_file(self, path: Path) -> None:
            tracked_files.append(path.name)

    class Run(Tracker):
        @contextmanager
        def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
            yield Recording()

    return StageContext(workspace, "test", tracker=Run())


@pytest.fixture(scope="module")
def base(inputs: Mapping[str, ArtifactRef], context: StageContext) -> ArtifactRef:
    return evaluate.STAGE.run(CONFIG, inputs, context, made.BASE)


@pytest.fixture(scope="module")
def chat(inputs: Mapping[str, ArtifactRef], context: StageContext) -> ArtifactRef:
    return evaluate.STAGE.run(CONFIG, inputs, context, made.CHAT)


def test_bits_per_byte_are_those_of_the_model_on_the_test_documents(
    base: ArtifactRef, inputs: Mapping[str, ArtifactRef]
) -> None:
    split = TokenSplit.open(inputs["tokenize"].path, "test")
    model = load_model(inputs["pretrain-base"].path).eval()
    nats = score_documents(model, split.tokens, split.offsets, context=made.CONTEXT)
    expected = nats.sum() / math.log(2) / split.bytes.sum()
    assert base.summary["bits_per_byte"] == pytest.approx(expected, rel=1e-5)
    units = np.load(base.path / "units.npz")["units"]
    np.testing.assert_allclose(units[:, 0], nats, rtol=1e-5)
    assert units[:, 1].tolist() == split.bytes.tolist()


def test_random_weights_lose_to_every_ngram_model(base: ArtifactRef) -> None:
    baselines = base.summary["baselines"]
    assert list(baselines) == ["unigram", "bigram", "trigram", "4-gram", "5-gram"]
    assert baselines["unigram"] > baselines["bigram"] > baselines["trigram"]
    assert base.summary["bits_per_byte"] > baselines["unigram"]
    score = read_score(base.path)
    assert score is not None
    assert score.beats_baseline is False
    assert score.baseline_value == min(baselines.values())


def test_every_question_is_answered_and_scored(chat: ArtifactRef) -> None:
    samples = [json.loads(line) for line in (chat.path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 4
    assert all(s["score"] == token_f1(s["text"], s["reference"]) for s in samples)
    assert chat.summary["f1"] == pytest.approx(sum(s["score"] for s in samples) / 4)
    assert set(chat.summary["baselines"]) == {"repeat the question", "most frequent answer"}
    assert np.load(chat.path / "units.npz")["units"].tolist() == [[s["score"], 1.0] for s in samples]


def test_speed_and_memory_are_measured(base: ArtifactRef, chat: ArtifactRef, inputs: Mapping[str, ArtifactRef]) -> None:
    for ref, trained in ((base, "pretrain-base"), (chat, "finetune-chat")):
        speed = ref.summary["speed"]
        assert speed["tokens_per_second"] > 1
        assert speed["peak_memory_bytes"] > 50e6
        assert speed["parameters"] == sum(p.numel() for p in load_model(inputs[trained].path).parameters())


def test_each_report_is_one_file_that_asks_nobody_and_escapes_every_text(base: ArtifactRef, chat: ArtifactRef) -> None:
    pages = [(ref.path / "report.html").read_text() for ref in (base, chat)]
    for page in pages:
        assert "http" not in page
        assert SCRIPT not in page
    assert "&lt;script&gt;" in pages[1]
    assert "A script &amp; a &lt;tag&gt;." in pages[1]
    for figure in ("32.1%", "400.0 MB", "energy, estimated", "0.022 Wh", "4 W for each busy core"):
        assert figure in pages[0]
    for part in ("base-scores", "training", "base-samples", "data", "tokens", "lineage"):
        assert f'<section id="{part}">' in pages[0]
    assert '<section id="chat-answers">' in pages[1]


def test_the_page_of_a_run_shows_its_models_its_vectors_and_where_they_come_from(
    base: ArtifactRef, chat: ArtifactRef, inputs: Mapping[str, ArtifactRef]
) -> None:
    page = run_page(CONFIG, {**inputs, "evaluate-base": base, "evaluate-chat": chat}, ())
    assert page is not None
    assert "<b>item" not in page
    assert "&lt;b&gt; 0.50" in page
    assert "<title>&lt;i&gt;shelf</title>" in page
    for part in ("base-scores", "base-samples", "chat-answers", "words"):
        assert f'<section id="{part}">' in page
    for name, ref in inputs.items():
        assert ref.fingerprint[:16] in page, name
    assert "validate.made_by" in page


def test_the_reports_go_to_the_tracker(base: ArtifactRef, chat: ArtifactRef, tracked_files: list[str]) -> None:
    assert {base.model, chat.model} == {"base", "chat"}
    assert tracked_files == ["report.html", "report.html"]


@pytest.mark.parametrize(("spec", "step"), [(made.BASE, "pretrain-base"), (made.CHAT, "finetune-chat")])
def test_a_model_that_was_not_made_is_skipped_with_the_reason(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef], spec: ModelSpec, step: str
) -> None:
    stage = step.partition("-")[0]
    given = {**inputs, step: made.skipped(workspace, stage, "no conversations: add some", model=spec.name)}
    ref = evaluate.STAGE.run(CONFIG, given, StageContext(workspace, "test"), spec)
    assert "no conversations: add some" in str(ref.skipped)


def test_an_empty_test_split_is_named_with_what_to_do(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef], tmp_path: Path
) -> None:
    records = [made.api_record(n) for n in range(8)]
    other = Workspace(tmp_path)
    given = {**inputs, "tokenize": made.tokenized(other, records)}
    ref = evaluate.STAGE.run(CONFIG, given, StageContext(other, "test"), made.BASE)
    assert "validate.test_fraction" in str(ref.skipped)
