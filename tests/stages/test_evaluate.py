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
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.answers import token_f1
from zen_pipeline.inference.scoring import score_documents
from zen_pipeline.models.folder import load_model
from zen_pipeline.pipeline.stage import StageContext
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

    return made.store(workspace, "finetune", fill)


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
        "pretrain": made.pretrained(workspace, tokens),
        "finetune": finetuned(workspace, tokens, records),
    }


@pytest.fixture(scope="module")
def tracked_files() -> list[str]:
    return []


@pytest.fixture(scope="module")
def evaluated(workspace: Workspace, inputs: Mapping[str, ArtifactRef], tracked_files: list[str]) -> ArtifactRef:
    class Recording(StageTracker):
        def log_file(self, path: Path) -> None:
            tracked_files.append(path.name)

    class Run(Tracker):
        @contextmanager
        def stage(self, name: str, identity: Identity, inputs: Mapping[str, ArtifactRef]) -> Iterator[StageTracker]:
            yield Recording()

    return evaluate.run(CONFIG, inputs, StageContext(workspace, "test", tracker=Run()))


def test_bits_per_byte_are_those_of_the_model_on_the_test_documents(
    evaluated: ArtifactRef, inputs: Mapping[str, ArtifactRef]
) -> None:
    split = TokenSplit.open(inputs["tokenize"].path, "test")
    model = load_model(inputs["pretrain"].path).eval()
    nats = score_documents(model, split.tokens, split.offsets, context=made.CONTEXT)
    expected = nats.sum() / math.log(2) / split.bytes.sum()
    assert evaluated.summary["base"]["bits_per_byte"] == pytest.approx(expected, rel=1e-5)
    kept = np.load(evaluated.path / "documents.npz")
    np.testing.assert_allclose(kept["nats"], nats, rtol=1e-5)
    assert kept["bytes"].tolist() == split.bytes.tolist()
    assert kept["tokens"].tolist() == (np.diff(split.offsets) - 1).tolist()


def test_random_weights_lose_to_every_ngram_model(evaluated: ArtifactRef) -> None:
    baselines = evaluated.summary["baselines"]
    assert list(baselines) == ["unigram", "bigram", "trigram", "4-gram", "5-gram"]
    assert baselines["unigram"] > baselines["bigram"] > baselines["trigram"]
    assert evaluated.summary["base"]["bits_per_byte"] > baselines["unigram"]
    assert "does not reach" in (evaluated.path / "report.html").read_text()


def test_every_question_is_answered_and_scored(evaluated: ArtifactRef) -> None:
    answers = [json.loads(line) for line in (evaluated.path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 4
    assert all(a["f1"] == token_f1(a["answer"], a["reference"]) for a in answers)
    chat = evaluated.summary["chat"]
    assert chat["f1"] == pytest.approx(sum(a["f1"] for a in answers) / 4)
    assert set(chat["baseline_f1"]) == {"repeat_the_question", "most_frequent_answer"}


def test_speed_and_memory_are_measured(evaluated: ArtifactRef) -> None:
    speed = evaluated.summary["speed"]
    assert speed["tokens_per_second"] > 1
    assert speed["peak_memory_bytes"] > 50e6
    assert speed["parameters"] == sum(p.numel() for p in load_model(_pretrained(evaluated)).parameters())


def _pretrained(evaluated: ArtifactRef) -> Path:
    return next((evaluated.path.parents[1] / "pretrain").iterdir())


def test_the_report_is_one_file_that_asks_nobody_and_escapes_every_text(evaluated: ArtifactRef) -> None:
    page = (evaluated.path / "report.html").read_text()
    assert "http" not in page
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page
    assert "A script &amp; a &lt;tag&gt;." in page
    assert "<b>item" not in page
    assert "&lt;b&gt; 0.50" in page
    assert "<title>&lt;i&gt;shelf</title>" in page
    for figure in ("32.1%", "400.0 MB", "energy, estimated", "0.022 Wh", "4 W for each busy core"):
        assert figure in page
    for part in ("base-scores", "training", "base-samples", "chat-answers", "data", "tokens", "words", "lineage"):
        assert f'<section id="{part}">' in page


def test_the_report_shows_where_the_result_comes_from(
    evaluated: ArtifactRef, inputs: Mapping[str, ArtifactRef]
) -> None:
    page = (evaluated.path / "report.html").read_text()
    for name, ref in inputs.items():
        assert ref.fingerprint[:16] in page, name
    assert "validate.made_by" in page


def test_the_report_goes_to_the_tracker(evaluated: ArtifactRef, tracked_files: list[str]) -> None:
    assert tracked_files == ["report.html"]


def test_without_a_chat_model_the_base_model_is_still_judged(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef]
) -> None:
    given = {**inputs, "finetune": made.skipped(workspace, "finetune", "no conversations: add some")}
    ref = evaluate.run(CONFIG, given, StageContext(workspace, "test"))
    assert "chat" not in ref.summary
    assert ref.summary["base"]["bits_per_byte"] > 0
    page = (ref.path / "report.html").read_text()
    assert "no conversations: add some" in page
    assert '<section id="chat-answers">' not in page


@pytest.mark.usefixtures("traps")
def test_without_a_base_model_the_chat_model_is_still_judged(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef]
) -> None:
    given = {**inputs, "pretrain": made.skipped(workspace, "pretrain", "a given model is fine-tuned")}
    ref = evaluate.run(CONFIG, given, StageContext(workspace, "test"))
    assert "base" not in ref.summary
    assert ref.summary["chat"]["questions"] == 4
    assert ref.summary["speed"]["tokens_per_second"] > 1
    assert not (ref.path / "documents.npz").exists()


def test_with_no_model_at_all_the_baselines_and_the_reasons_are_shown(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef]
) -> None:
    given = {**inputs, **{name: made.skipped(workspace, name, "off") for name in ("pretrain", "finetune")}}
    ref = evaluate.run(CONFIG, given, StageContext(workspace, "test"))
    assert set(ref.summary) == {"baselines", "test"}
    assert "nothing to judge" in (ref.path / "report.html").read_text()


def test_an_empty_test_split_is_named_with_what_to_do(
    workspace: Workspace, inputs: Mapping[str, ArtifactRef], tmp_path: Path
) -> None:
    records = [made.api_record(n) for n in range(8)]
    other = Workspace(tmp_path)
    given = {**inputs, "tokenize": made.tokenized(other, records)}
    with pytest.raises(DataError, match=r"test split .* validate\.test_fraction"):
        evaluate.run(CONFIG, given, StageContext(other, "test"))
