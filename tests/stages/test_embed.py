from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import ConfigError
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import embed
from zen_pipeline.tracking import StageTracker
from zen_pipeline.workspace import Workspace

SMALL = {"dimensions": 16, "epochs": 2, "min_count": 3, "next_token_steps": 2}
WORDS_ALONE = {**SMALL, "next_token": False}


def reference(stage: str, folder: Path) -> ArtifactRef:
    return ArtifactRef(stage=stage, fingerprint=f"{stage}-1", digest="0" * 64, folder=str(folder), kind="test")


def write_records(path: Path, rows: list[tuple[str, str, str]]) -> None:
    text, split, kind = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": text, "split": split, "kind": kind}), path, row_group_size=50)


def inputs(tmp_path: Path, rows: list[tuple[str, str, str]]) -> dict[str, ArtifactRef]:
    records, tokens, sizes = tmp_path / "records", tmp_path / "tokens", tmp_path / "sizes"
    records.mkdir()
    write_records(records / "records.parquet", rows)
    sizes.mkdir()
    (sizes / "resolved.json").write_text(json.dumps({"model": {"hidden_size": 24}}))
    texts = [text for text, _, _ in rows]
    tokenizer = train_tokenizer(texts, 500)
    tokenizer.save(tokens / "tokenizer")
    splits = {"train": texts, "valid": texts[-20:]}
    write_index(tokens, tokenizer, {name: write_split(tokens, name, rows, tokenizer) for name, rows in splits.items()})
    return {
        "validate": reference("validate", records),
        "resolve": reference("resolve", sizes),
        "tokenize": reference("tokenize", tokens),
    }


def play(shared_data) -> list[tuple[str, str, str]]:
    text = (shared_data("tinyshakespeare") / "input.txt").read_text(encoding="utf-8")[:300_000]
    parts = [text[i : i + 2000] for i in range(0, len(text), 2000)]
    return [(part, "train", "document") for part in parts]


def test_the_stage_fills_what_the_next_stages_read(tmp_path: Path, workspace: Workspace, shared_data) -> None:
    config = Config.model_validate({"embed": SMALL})
    given = inputs(tmp_path, play(shared_data))
    ref = embed.STAGE.run(config, given, StageContext(workspace, "run"))
    assert ref.skipped is None
    assert sorted(p.name for p in ref.path.iterdir()) == [
        "embeddings.svg", "manifest.json", "map.html", "map.json", "neighbours.json", "next_token.safetensors",
        "probes.json", "token_vectors.safetensors", "vectors.safetensors",
    ]  # fmt: skip
    vectors = WordVectors.load(ref.path)
    assert vectors.matrix.shape == (ref.summary["vocabulary"], 16)
    assert (np.diff(vectors.counts) <= 0).all()
    tokens = load_file(ref.path / "token_vectors.safetensors")["vectors"]
    assert tokens.shape == (500, 16)
    start = load_file(ref.path / "next_token.safetensors")
    assert start["input"].shape == start["output"].shape == (500, 24)
    assert ref.summary["next_token"]["bigram_loss"] < ref.summary["next_token"]["loss"] < np.log(500)
    assert tokens.dtype == np.float32
    assert np.abs(tokens).sum(axis=1).astype(bool).mean() == pytest.approx(ref.summary["tokens_with_vector"], abs=1e-4)

    neighbours = json.loads((ref.path / "neighbours.json").read_text(encoding="utf-8"))
    word, near = next(iter(neighbours.items()))
    assert [w for w, _ in near] == [w for w, _ in vectors.similar(word, 10)]
    assert ref.summary["neighbours"][word] == ", ".join(w for w, _ in near[:5])
    assert len(ref.summary["neighbours"]) == 5
    assert ref.summary["words_per_second"] > 0
    places = json.loads((ref.path / "map.json").read_text(encoding="utf-8"))
    assert set(places[0]) == {"word", "x", "y"}
    assert len(places) > 100


@pytest.mark.parametrize("method", ["cbow", "glove"])
def test_every_method_fills_the_same_files(tmp_path: Path, workspace: Workspace, shared_data, method: str) -> None:
    config = Config.model_validate({"embed": {**WORDS_ALONE, "method": method, "phrases": 1, "phrase_threshold": 20}})
    ref = embed.STAGE.run(config, inputs(tmp_path, play(shared_data)), StageContext(workspace, "run"))
    vectors = WordVectors.load(ref.path)
    assert vectors.dimensions == 16
    assert [word for word in vectors.words if "_" in word]
    assert ("pairs_per_second" if method == "glove" else "words_per_second") in ref.summary
    assert (ref.path / "token_vectors.safetensors").is_file()


def test_vectors_of_tokens_are_the_token_vectors(tmp_path: Path, workspace: Workspace, shared_data) -> None:
    config = Config.model_validate({"embed": {**WORDS_ALONE, "units": "tokens"}})
    given = inputs(tmp_path, play(shared_data))
    ref = embed.STAGE.run(config, given, StageContext(workspace, "run"))
    vectors = WordVectors.load(ref.path)
    tokens = load_file(ref.path / "token_vectors.safetensors")["vectors"]
    tokenizer = embed._tokenizer(given["tokenize"].path)
    [token] = tokenizer.encode(" the", add_special_tokens=False).ids
    np.testing.assert_array_equal(tokens[token], vectors.matrix[vectors.index["\u2581the"]])
    assert not tokens[tokenizer.token_to_id("<|endoftext|>")].any()


def test_probes_are_in_the_artifact_and_their_content_in_the_fingerprint(
    tmp_path: Path, workspace: Workspace, shared_data
) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("king\tqueen\t9\nking\tthe\t1\nlord\tsir\t8\n")
    config = Config.model_validate({"embed": {**WORDS_ALONE, "probes": [str(tmp_path / "*.txt")]}})
    ref = embed.STAGE.run(config, inputs(tmp_path, play(shared_data)), StageContext(workspace, "run"))
    [(name, entry)] = json.loads((ref.path / "probes.json").read_text())["similarity"].items()
    assert (name, entry["covered"]) == ("pairs", 3)
    assert ref.summary["probes"]["similarity"]["pairs"] == {"spearman": entry["spearman"], "coverage": 1.0}
    upstream = {"validate": "a", "resolve": "b", "tokenize": "c"}
    before = embed.STAGE.identity(config, upstream, workspace).fingerprint
    pairs.write_text("king\tqueen\t9\n")
    assert embed.STAGE.identity(config, upstream, workspace).fingerprint != before
    pairs.unlink()
    with pytest.raises(ConfigError, match=r"embed\.probes: .*\*\.txt names no file"):
        embed.STAGE.identity(config, upstream, workspace)


@pytest.mark.parametrize("method", ["skipgram", "glove"])
def test_a_training_that_was_interrupted_goes_on_in_its_work_folder(
    tmp_path: Path, shared_data, monkeypatch, method: str
) -> None:
    given = inputs(tmp_path, play(shared_data))
    config = Config.model_validate({"embed": {**WORDS_ALONE, "method": method, "epochs": 4}})
    monkeypatch.setattr(embed, "Checkpoint", lambda folder: Checkpoint(folder, every=0.0))
    monkeypatch.setattr("zen_pipeline.embeddings.word2vec._CALL_WORDS", 5000)

    def run(home: Path) -> str:
        home.mkdir(parents=True, exist_ok=True)
        return embed.STAGE.run(config, given, StageContext(Workspace(home), "run")).digest

    whole = run(tmp_path / "whole" / ".zen")
    seen: list[float] = []

    def stop(_self: object, done: int, total: int) -> None:
        seen.append(done / total)
        if seen[-1] >= 0.6 and seen[0] < 0.5:
            raise KeyboardInterrupt

    monkeypatch.setattr("zen_pipeline.embeddings.training._Progress.__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut" / ".zen")
    seen.clear()
    assert run(tmp_path / "cut" / ".zen") == whole
    assert seen[0] > 0.5


def test_the_same_inputs_give_the_same_bytes_and_another_seed_others(tmp_path: Path, shared_data) -> None:
    given = inputs(tmp_path, play(shared_data))
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        home = tmp_path / name / ".zen"
        home.mkdir(parents=True)
        config = Config.model_validate({"embed": SMALL, "seed": seed})
        digests.append(embed.STAGE.run(config, given, StageContext(Workspace(home), "run")).digest)
    assert digests[0] == digests[1] != digests[2]


def test_only_documents_of_the_training_split_are_learnt_from(
    tmp_path: Path, workspace: Workspace, shared_data
) -> None:
    rows = play(shared_data)
    rows += [("zqvalid " * 50, "valid", "document"), ("zqtest " * 50, "test", "document")]
    rows += [("zqchat " * 50, "train", "chat")]
    config = Config.model_validate({"embed": SMALL})
    ref = embed.STAGE.run(config, inputs(tmp_path, rows), StageContext(workspace, "run"))
    assert not [w for w in WordVectors.load(ref.path).words if w.startswith("zq")]


def test_max_words_takes_a_share_from_everywhere(tmp_path: Path, workspace: Workspace, shared_data) -> None:
    rows = play(shared_data)
    half = len(rows) // 2
    rows = [(f"{text} {'early' if i < half else 'late'}", "train", "document") for i, (text, _, _) in enumerate(rows)]
    config = Config.model_validate({"embed": {**SMALL, "max_words": 20_000}})
    ref = embed.STAGE.run(config, inputs(tmp_path, rows), StageContext(workspace, "run"))
    assert ref.summary["words"] == 20_000
    assert {"early", "late"} <= set(WordVectors.load(ref.path).words)


def test_turned_off_is_skipped(tmp_path: Path, workspace: Workspace) -> None:
    config = Config.model_validate({"embed": {"enabled": False, "next_token": False}})
    ref = embed.STAGE.run(config, inputs(tmp_path, [("a b", "train", "document")]), StageContext(workspace, "run"))
    assert ref.skipped is not None
    assert ref.skipped.startswith("word vectors are turned off (embed.enabled: false)")
    assert [p.name for p in ref.path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12345 67890 " * 100, "holds no words"),
        ("some words", "no word occurs 5 times or more among 2 words"),
        ("some words " * 100, "hold 200 words, 2 different ones"),
        ("some words " * 5000, "hold 10000 words, 2 different ones"),
    ],
)
def test_too_few_words_skip_the_stage_with_the_reason(
    tmp_path: Path, workspace: Workspace, text: str, reason: str
) -> None:
    config = Config.model_validate({"embed": {"next_token": False}})
    ref = embed.STAGE.run(config, inputs(tmp_path, [(text, "train", "document")]), StageContext(workspace, "run"))
    assert ref.skipped is not None
    assert reason in ref.skipped
    assert "add" in ref.skipped


def test_too_few_words_still_give_next_token_vectors(tmp_path: Path, workspace: Workspace) -> None:
    ref = embed.STAGE.run(
        Config(), inputs(tmp_path, [("12 345 67 " * 200, "train", "document")]), StageContext(workspace, "r")
    )
    assert ref.skipped is None
    assert "holds no words" in ref.summary["no_word_vectors"]
    assert (ref.path / "next_token.safetensors").is_file()


def test_a_model_that_brings_its_vectors_gets_none(tmp_path: Path, workspace: Workspace, shared_data) -> None:
    config = Config.model_validate({"embed": SMALL, "pretrain": {"init_from": str(tmp_path)}})
    ref = embed.STAGE.run(config, inputs(tmp_path, play(shared_data)), StageContext(workspace, "run"))
    assert not (ref.path / "next_token.safetensors").exists()
    assert "brings its own" in ref.summary["next_token"]["none"]


def test_a_rate_that_diverges_is_an_error_and_leaves_no_artifact(
    tmp_path: Path, workspace: Workspace, shared_data
) -> None:
    from zen_pipeline.errors import DataError

    config = Config.model_validate({"embed": {**SMALL, "learning_rate": 1e30}})
    with pytest.raises(DataError, match=r"embed\.learning_rate"):
        embed.STAGE.run(config, inputs(tmp_path, play(shared_data)), StageContext(workspace, "run"))
    assert not list(workspace.store.manifests())


def test_the_picture_and_the_loss_are_tracked(tmp_path: Path, workspace: Workspace, shared_data) -> None:
    class Notebook(StageTracker):
        def __init__(self) -> None:
            self.files: list[str] = []
            self.metrics: dict[str, float] = {}

        def log_file(self, path: Path) -> None:
            assert path.stat().st_size > 10_000
            self.files.append(path.name)

        def log_metrics(self, metrics, step: int = 0) -> None:
            self.metrics.update(metrics)

    notebook = Notebook()
    context = StageContext(workspace, "run", tracked=notebook)
    output = tmp_path / "output"
    output.mkdir()
    embed.build(Config.model_validate({"embed": SMALL}), inputs(tmp_path, play(shared_data)), output, context)
    assert notebook.files == ["embeddings.svg", "map.html"]
    assert {"loss.epoch_1", "loss.epoch_2", "probe.frequency.length"} <= set(notebook.metrics)


def test_settings_and_seed_decide_the_fingerprint(workspace: Workspace) -> None:
    upstream = {"validate": "a", "resolve": "b", "tokenize": "c"}

    def fingerprint(**settings: object) -> str:
        return embed.STAGE.identity(Config.model_validate(settings), upstream, workspace).fingerprint

    assert fingerprint() == fingerprint(budget="1h")
    assert len({fingerprint(), fingerprint(seed=1), fingerprint(embed={"window": 6})}) == 3
