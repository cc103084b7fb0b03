"""The torch path reaches the compiled kernel's loss on text that neither has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.embeddings import glove_loss, held_out_corpus, subsampled
from zen_pipeline.embeddings.checkpoint import Checkpoint
from zen_pipeline.embeddings.glove import GloveResult, GloveSettings, train_glove
from zen_pipeline.embeddings.word2vec import Word2VecSettings, train_word2vec
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
    settings = Word2VecSettings(method=method, dimensions=32, epochs=5, subsample=embeddings.SUBSAMPLE)
    losses = []
    for own in (settings, replace(settings, device=ON_TORCH)):
        made = train_word2vec(corpus, own)
        losses.append(measure(made.vectors.matrix, made.contexts, noise, subsampled(corpus, held), settings.window))
        assert made.losses[-1] < made.losses[0]
    untrained = 6 * np.log(2)
    assert losses[0] < untrained - 0.5
    assert losses[1] == pytest.approx(losses[0], rel=TOLERANCE)


def test_glove_reaches_the_kernels_held_out_loss(texts: tuple[WordCorpus, WordCorpus]) -> None:
    corpus, held = texts

    def loss(made: GloveResult) -> float:
        return glove_loss({"inputs": made.words, "outputs": made.contexts, "biases": made.biases}, corpus, held, 5)

    settings = GloveSettings(dimensions=32, epochs=8, window=5)
    compiled, on_torch = (train_glove(corpus, own) for own in (settings, replace(settings, device=ON_TORCH)))
    assert compiled.losses[-1] < 0.7 * compiled.losses[0]
    assert on_torch.losses[-1] == pytest.approx(compiled.losses[-1], rel=TOLERANCE)
    assert loss(on_torch) == pytest.approx(loss(compiled), rel=TOLERANCE)


@pytest.mark.parametrize("method", ["skipgram", "cbow", "glove"])
def test_an_interrupted_training_goes_on_and_the_same_seed_gives_the_same_vectors(tmp_path: Path, method: str) -> None:
    from tests.embeddings.test_word2vec import planted_documents

    corpus = encode_corpus(planted_documents()[:60], min_count=1)
    common = {"dimensions": 8, "epochs": 3, "device": ON_TORCH}

    def train(**more: object) -> np.ndarray:
        if method == "glove":
            return train_glove(corpus, GloveSettings(**common), **more).vectors.matrix
        return train_word2vec(corpus, Word2VecSettings(method=method, **common), **more).vectors.matrix

    def stop(done: int, total: int) -> None:
        if done > 0.5 * total:
            raise KeyboardInterrupt

    whole = train()
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=Checkpoint(tmp_path, every=0.0), progress=stop)
    seen: list[float] = []
    resumed = train(checkpoint=Checkpoint(tmp_path), progress=lambda done, total: seen.append(done / total))
    assert seen[0] > 0.5 - 1 / 3
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    from zen_pipeline.embeddings.training import train_vectors

    with pytest.raises(ConfigError, match=r"embed\.device is cuda, but torch finds no GPU"):
        train_vectors(encode_corpus(["a b"], min_count=1), "skipgram", {"device": "cuda"})
