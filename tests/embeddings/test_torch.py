"""The torch path reaches the compiled kernel's loss on text that neither has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.embeddings import glove_loss, held_out_corpus, subsampled
from zen_pipeline.embeddings.glove import GloveResult
from zen_pipeline.embeddings.training import train_vectors
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.word2vec import Word2VecResult
from zen_pipeline.embeddings.words import WordCorpus, encode_corpus
from zen_pipeline.errors import ConfigError

ON_TORCH = "cpu:0"  # torch's own CPU, so that the code for GPUs runs anywhere
TOLERANCE = 0.02  # of the held-out loss; seeds differ by less than half of that


@pytest.fixture(scope="module")
def texts(shared_data, tmp_path_factory: pytest.TempPathFactory) -> tuple[WordCorpus, WordCorpus]:
    """Half a million characters to train on, and others to judge by."""
    play = (shared_data("tinyshakespeare") / "input.txt").read_text(encoding="utf-8")
    held = tmp_path_factory.mktemp("held") / "held.txt"
    held.write_text(play[900_000:])
    corpus = encode_corpus(play[:500_000].split("\n\n"), min_count=5)
    return corpus, held_out_corpus(corpus, held)


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_word2vec_reaches_the_kernels_held_out_loss(texts: tuple[WordCorpus, WordCorpus], method: str) -> None:
    from benchmarks import embeddings

    corpus, held = texts
    noise = corpus.counts.astype(np.float64) ** 0.75
    noise = (noise / noise.sum()).astype(np.float32)
    measure = embeddings.skipgram_loss if method == "skipgram" else embeddings.cbow_loss
    settings = {"dimensions": 32, "epochs": 5, "subsample": embeddings.SUBSAMPLE}
    losses = []
    for device in ("cpu", ON_TORCH):
        made = train_vectors(corpus, method, {**settings, "device": device})
        assert isinstance(made, Word2VecResult)
        losses.append(measure(made.vectors.matrix, made.contexts, noise, subsampled(corpus, held), 5))
        assert made.losses[-1] < made.losses[0]
    untrained = 6 * np.log(2)
    assert losses[0] < untrained - 0.5
    assert losses[1] == pytest.approx(losses[0], rel=TOLERANCE)


def test_glove_reaches_the_kernels_held_out_loss(texts: tuple[WordCorpus, WordCorpus]) -> None:
    corpus, held = texts

    def loss(made: GloveResult) -> float:
        return glove_loss({"inputs": made.words, "outputs": made.contexts, "biases": made.biases}, corpus, held, 5)

    settings = {"dimensions": 32, "epochs": 8, "window": 5}
    compiled, on_torch = (train_vectors(corpus, "glove", {**settings, "device": d}) for d in ("cpu", ON_TORCH))
    assert isinstance(compiled, GloveResult)
    assert isinstance(on_torch, GloveResult)
    assert compiled.losses[-1] < 0.7 * compiled.losses[0]
    assert on_torch.losses[-1] == pytest.approx(compiled.losses[-1], rel=TOLERANCE)
    assert loss(on_torch) == pytest.approx(loss(compiled), rel=TOLERANCE)


@pytest.mark.parametrize("method", ["skipgram", "cbow", "glove"])
def test_an_interrupted_training_goes_on_and_the_same_seed_gives_the_same_vectors(
    tmp_path: Path, monkeypatch, method: str
) -> None:
    from tests.embeddings.test_word2vec import planted_documents

    corpus = encode_corpus(planted_documents()[:60], min_count=1)
    settings = {"dimensions": 8, "epochs": 3, "device": ON_TORCH}

    def train(folder: Path | None = None) -> np.ndarray:
        checkpoint = None if folder is None else Checkpoint(folder, every=0.0)
        return train_vectors(corpus, method, settings, checkpoint=checkpoint).vectors.matrix

    seen: list[float] = []

    def note(_self: object, done: int, total: int) -> None:
        seen.append(done / total)
        if seen[-1] > 0.5 and seen[0] < 0.1 and tmp_path.joinpath("training.safetensors").exists():
            raise KeyboardInterrupt

    whole = train()
    seen.clear()
    monkeypatch.setattr("zen_pipeline.embeddings.training._Progress.__call__", note)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    seen.clear()
    np.testing.assert_array_equal(train(tmp_path), whole)
    assert seen[0] > 0.5 - 1 / 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"embed\.device is cuda, but torch finds no GPU"):
        train_vectors(encode_corpus(["a b"], min_count=1), "skipgram", {"device": "cuda"})
