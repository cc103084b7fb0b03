"""Counts are the brute-force counts however they were made; steps are the gradients of the stated objective."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from zen_pipeline.embeddings.cooccurrence import Cooccurrences, count_cooccurrences
from zen_pipeline.embeddings.glove import GloveSettings, TrainingPairs, first_tables, train_glove
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.words import WordCorpus, encode_corpus
from zen_pipeline.errors import DataError


def random_corpus(documents: int = 40, vocabulary: int = 30, seed: int = 0) -> WordCorpus:
    random = np.random.default_rng(seed)
    texts = [" ".join(f"w{chr(97 + i)}" for i in random.integers(0, min(vocabulary, 26), random.integers(0, 60)))
             for _ in range(documents)]  # fmt: skip
    return encode_corpus(texts, min_count=1)


def topics(documents: int = 800) -> WordCorpus:
    random = np.random.default_rng(0)
    texts = []
    for _ in range(documents):
        own = [f"topic{chr(97 + random.integers(4))}{chr(97 + i)}" for i in range(6)]
        own = [w[:5] + own[0][5] + w[6] for w in own]
        common = [f"common{chr(97 + i)}" for i in range(10)]
        texts.append(" ".join(random.choice(own if random.random() < 0.7 else common) for _ in range(20)))
    return encode_corpus(texts, min_count=1)


def brute_force(corpus: WordCorpus, window: int) -> dict[tuple[int, int], float]:
    found: defaultdict[tuple[int, int], float] = defaultdict(float)
    for start, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
        words = corpus.ids[start:end].tolist()
        for p, a in enumerate(words):
            for q, b in enumerate(words):
                if 0 < abs(p - q) <= window:
                    found[a, b] += 1 / abs(p - q)
    return found


def as_dict(counted: Cooccurrences) -> dict[tuple[int, int], float]:
    found = {}
    for key, count in zip(counted.keys.tolist(), counted.counts.tolist(), strict=True):
        a, b = divmod(key, counted.vocabulary)
        found[a, b] = found[b, a] = count / counted.unit
    return found


@pytest.mark.parametrize("window", [1, 2, 10, 30])
def test_the_counts_are_those_of_a_brute_force_count(window: int) -> None:
    corpus = random_corpus()
    expected = brute_force(corpus, window)
    found = as_dict(count_cooccurrences(corpus, window))
    assert found.keys() == expected.keys()
    for pair, value in expected.items():
        assert found[pair] == pytest.approx(value, rel=1e-8 if window > 22 else 1e-12)


def test_what_is_merged_from_files_equals_what_is_counted_in_memory(tmp_path: Path, monkeypatch) -> None:
    from zen_pipeline.embeddings import cooccurrence

    corpus = random_corpus(200)
    whole = count_cooccurrences(corpus, 5)
    monkeypatch.setattr(cooccurrence, "_MERGE_ENTRIES", 13)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    merged = count_cooccurrences(corpus, 5, memory=8192)
    assert whole.runs == 1
    assert merged.runs > 3
    np.testing.assert_array_equal(merged.keys, whole.keys)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert (np.diff(merged.keys) > 0).all()
    assert not list(tmp_path.iterdir())


def test_the_training_pairs_are_both_directions_of_the_matrix() -> None:
    corpus = random_corpus(200)
    counted = count_cooccurrences(corpus, 5)
    settings = GloveSettings(x_max=20.0, alpha=0.5)
    pairs = TrainingPairs(counted, settings)
    rows, columns, logs, weights = pairs.arrays
    expected = as_dict(counted)
    assert len(pairs) == len(expected)
    for i, j, log, weight in zip(rows.tolist(), columns.tolist(), logs.tolist(), weights.tolist(), strict=True):
        x = expected.pop((i, j))
        assert log == pytest.approx(np.log(x), abs=1e-6)
        assert weight == pytest.approx(min(1.0, (x / 20) ** 0.5), rel=1e-6)
    assert not expected


def test_no_two_blocks_of_a_group_share_a_word() -> None:
    random = np.random.default_rng(0)
    texts = [
        " ".join(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in random.integers(0, 400, 100)) for _ in range(50)
    ]
    pairs = TrainingPairs(count_cooccurrences(encode_corpus(texts, min_count=1), 3), GloveSettings())
    assert pairs.parts > 3
    for block in range(pairs.parts**2):
        rows, columns = (array[pairs.starts[block] : pairs.starts[block + 1]] for array in pairs.arrays[:2])
        assert (rows % pairs.parts == block // pairs.parts).all()
        assert (columns % pairs.parts == block % pairs.parts).all()


def test_the_step_is_the_gradient_of_the_stated_objective_scaled_by_adagrad() -> None:
    from zen_pipeline.embeddings.glove_kernel import train_pairs

    random = np.random.default_rng(0)
    words, contexts, word_squares, context_squares = first_tables(6, 10, 3)
    for table, bias in ((words, 10), (contexts, 11)):
        table[:, :10] = random.normal(size=(6, 10))
        table[:, bias] = random.normal(size=6)
    word_squares[:, :11] = random.uniform(1, 3, (6, 11))
    context_squares[:, :10] = random.uniform(1, 3, (6, 10))
    rate, i, j, log, weight = 0.1, 2, 4, 1.3, 0.7

    w = torch.tensor(words[i, :10], dtype=torch.float64, requires_grad=True)
    c = torch.tensor(contexts[j, :10], dtype=torch.float64, requires_grad=True)
    b = torch.tensor(float(words[i, 10]), dtype=torch.float64, requires_grad=True)
    b2 = torch.tensor(float(contexts[j, 11]), dtype=torch.float64, requires_grad=True)
    expected = 0.5 * weight * (w @ c + b + b2 - log) ** 2
    expected.backward()

    before = [table.copy() for table in (words, contexts, word_squares, context_squares)]
    pair = [np.array([v], t) for v, t in ((i, np.int32), (j, np.int32), (log, np.float32), (weight, np.float32))]
    loss = train_pairs(words, contexts, word_squares, context_squares, *pair, 0, 1, np.float32(rate))
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    steps = (before[0] - words)[i] * np.sqrt(before[2][i]) / rate
    np.testing.assert_allclose(steps[:10], w.grad, rtol=1e-3, atol=1e-5)
    assert steps[10] == pytest.approx(b.grad.item(), rel=1e-3)
    np.testing.assert_allclose((word_squares - before[2])[i, :10], (rate * w.grad) ** 2, rtol=1e-3, atol=1e-6)
    steps = (before[1] - contexts)[j] * np.sqrt(before[3][j]) / rate
    np.testing.assert_allclose(steps[:10], c.grad, rtol=1e-3, atol=1e-5)
    assert steps[11] == pytest.approx(b2.grad.item(), rel=1e-3)
    assert words[i, 11] == contexts[j, 10] == 1.0  # what the biases are multiplied by
    assert (np.delete(words, i, 0) == np.delete(before[0], i, 0)).all()


def test_any_number_of_threads_gives_the_same_bits_and_another_seed_others() -> None:
    corpus = topics()
    made = [
        train_glove(corpus, GloveSettings(dimensions=12, epochs=3, threads=threads, seed=seed))
        for threads, seed in ((1, 0), (3, 0), (1, 1))
    ]
    assert made[0].vectors.matrix.tobytes() == made[1].vectors.matrix.tobytes()
    assert made[0].losses == made[1].losses
    assert made[0].vectors.matrix.tobytes() != made[2].vectors.matrix.tobytes()


@pytest.mark.parametrize("deterministic", [True, False])
def test_planted_topics_are_found_and_the_loss_falls(deterministic: bool) -> None:
    settings = GloveSettings(dimensions=12, epochs=30, window=5, deterministic=deterministic, threads=2)
    result = train_glove(topics(), settings)
    assert result.losses[-1] < 0.5 * result.losses[0]
    for word in (w for w in result.vectors.words if w.startswith("topic")):
        assert {near[:6] for near, _ in result.vectors.similar(word, 5)} == {word[:6]}


def test_pairs_on_disk_give_the_same_bits(tmp_path: Path) -> None:
    corpus = random_corpus(200)
    in_memory = train_glove(corpus, GloveSettings(dimensions=8, epochs=2))
    on_disk = train_glove(
        corpus, GloveSettings(dimensions=8, epochs=2, memory=4096), checkpoint=Checkpoint(tmp_path, every=1e9)
    )
    assert on_disk.vectors.matrix.tobytes() == in_memory.vectors.matrix.tobytes()
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    corpus, settings = topics(), GloveSettings(dimensions=8, epochs=4, threads=1)
    whole = train_glove(corpus, settings)

    def stop(done: int, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_glove(corpus, settings, checkpoint=Checkpoint(tmp_path, every=0.0), progress=stop)
    seen: list[int] = []
    resumed = train_glove(
        corpus, settings, checkpoint=Checkpoint(tmp_path), progress=lambda done, total: seen.append(done / total)
    )
    assert seen[0] > 0.5
    assert resumed.vectors.matrix.tobytes() == whole.vectors.matrix.tobytes()
    assert resumed.losses == whole.losses


def test_what_cannot_be_trained_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no pairs to learn from"):
        train_glove(encode_corpus(["a a a"], min_count=1), GloveSettings())
    with pytest.raises(DataError, match="every document has one word"):
        train_glove(encode_corpus(["aa", "bb"], min_count=1), GloveSettings())
    with pytest.raises(DataError, match=r"embed\.learning_rate 1e\+30 is too high"):
        train_glove(topics(50), GloveSettings(dimensions=8, learning_rate=1e30))
