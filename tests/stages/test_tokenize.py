"""The tokenize stage: a report by language, a bounded sample, and going on after a kill."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.stages.evaluation_artifacts import store
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config, load_config
from zen_pipeline.corpus.records import Record, record_writer
from zen_pipeline.corpus.tokens import shards, tokenizer
from zen_pipeline.corpus.tokens.shards import SplitWriter, TokenSplit
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import tokenize
from zen_pipeline.workspace import Workspace

WORDS = {
    "en": ["river", "stone", "bright", "morning", "letter", "walks", "slowly", "under", "the", "harbour"],
    "zh": ["机器", "学习", "早上", "河流", "石头", "港口", "书信", "慢慢", "明亮", "我们"],
}


def text(language: str, seed: int, words: int = 200) -> str:
    chosen = random.Random(f"{language} {seed}")
    return ("" if language == "zh" else " ").join(chosen.choice(WORDS[language]) for _ in range(words))


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace=workspace, run_id="test")


@pytest.fixture
def inputs(workspace: Workspace) -> dict[str, ArtifactRef]:
    """Sixty records, two of three English."""

    def records(output: Path) -> None:
        with record_writer(output / "records.parquet") as writer:
            for n in range(60):
                language = "zh" if n % 3 == 0 else "en"
                split = ("train", "train", "train", "valid", "test")[n % 5]
                writer.write(Record(f"r{n}", f"r{n}", text(language, n), "made", language, split))

    def sizes(output: Path) -> None:
        (output / "resolved.json").write_text(json.dumps({"vocab_size": 320, "model": {"context_length": 32}}))

    return {"validate": store(workspace, "validate", records), "resolve": store(workspace, "resolve", sizes)}


def config_with(*overrides: str) -> Config:
    return load_config(overrides=("finetune.enabled=false", *overrides))


def test_the_report_says_what_each_language_costs(inputs: dict[str, ArtifactRef], context: StageContext) -> None:
    ref = tokenize.STAGE.run(config_with(), inputs, context)
    report = json.loads((ref.path / tokenize.REPORT).read_text())
    assert list(report["languages"]) == ["en", "zh"]
    assert report["trained_on"]["share"] == 1.0
    ours = Tokenizer.load(ref.path / "tokenizer")
    held_out = [text("en", n) for n in range(60) if n % 3 and n % 5 > 2]
    english = report["languages"]["en"]
    assert english["documents"] == len(held_out)
    assert english["words"] == 200 * len(held_out)
    assert english["tokens"] == sum(len(ours.encode(t)) for t in held_out)
    assert english["tokens_per_word"] == round(english["tokens"] / english["words"], 3)
    chinese = report["languages"]["zh"]
    assert chinese["bytes"] == 3 * chinese["characters"]
    assert ref.summary["fertility"]["zh"]["tokens_per_byte"] == round(chinese["tokens"] / chinese["bytes"], 4)


def test_a_large_corpus_trains_the_tokenizer_on_a_sample(
    inputs: dict[str, ArtifactRef], context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = tokenizer.train_tokenizer

    def watched(texts: list[str], vocab_size: int) -> Tokenizer:
        seen.extend(texts)
        return real(seen, vocab_size)

    monkeypatch.setattr(tokenizer, "train_tokenizer", watched)
    ref = tokenize.STAGE.run(config_with("tokenize.train_bytes=12000"), inputs, context)
    report = json.loads((ref.path / tokenize.REPORT).read_text())["trained_on"]
    assert report["share"] == pytest.approx(12000 / report["train_bytes"], abs=1e-6)
    assert 4000 < sum(len(t.encode()) for t in seen) < 24000
    assert sum(ref.summary[s]["documents"] for s in ("train", "valid", "test")) == 60


def test_a_killed_stage_keeps_its_tokenizer_and_its_whole_parts(
    inputs: dict[str, ArtifactRef], context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = SplitWriter.append, [30]

    def append(self: SplitWriter, document: str, ids: list[int]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(self, document, ids)

    with monkeypatch.context() as patch:
        patch.setattr(shards.SplitWriter, "append", append)
        with pytest.raises(KeyboardInterrupt):
            tokenize.STAGE.run(config_with(), inputs, context)

    def never(*_: object) -> Tokenizer:
        raise AssertionError("the tokenizer was trained again")

    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "train_tokenizer", never)
        resumed = tokenize.STAGE.run(config_with(), inputs, context)
    clean = StageContext(workspace=_another(context.workspace), run_id="test")
    whole = tokenize.STAGE.run(config_with(), inputs, clean)
    assert resumed.digest == whole.digest
    assert not any((context.workspace.home / "work").iterdir())


def _another(workspace: Workspace) -> Workspace:
    home = workspace.home.parent / "other"
    home.mkdir()
    return Workspace(home)


def test_tokens_of_every_split_come_back(inputs: dict[str, ArtifactRef], context: StageContext) -> None:
    ref = tokenize.STAGE.run(config_with(), inputs, context)
    ours = Tokenizer.load(ref.path / "tokenizer")
    for split, places in {"train": (0, 1, 2), "valid": (3,), "test": (4,)}.items():
        stream = TokenSplit.open(ref.path, split)
        expected = [text("zh" if n % 3 == 0 else "en", n) for n in range(60) if n % 5 in places]
        assert [ours.decode(stream.document(i).tolist()) for i in range(len(stream.bytes))] == expected
