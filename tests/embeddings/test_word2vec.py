from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.word2vec import (
    Word2VecResult,
    Word2VecSettings,
    cut_documents,
    keep_probabilities,
    noise_table,
    train_word2vec,
)
from zen_pipeline.embeddings.words import WordCorpus, encode_corpus, segment
from zen_pipeline.errors import DataError

TOPICS, TOPIC_WORDS = 6, 8


def planted_documents(seed: int = 0) -> list[str]:
    """Sentences that mix the words of one topic with words of no topic."""
    random = np.random.default_rng(seed)
    common = [f"common{chr(97 + i)}" for i in range(10)]
    documents = []
    for _ in range(1500):
        topic = random.integers(TOPICS)
        own = [f"topic{chr(97 + topic)}{chr(97 + i)}" for i in range(TOPIC_WORDS)]
        documents.append(" ".join(random.choice(own if random.random() < 0.7 else common) for _ in range(20)))
    return documents


def long_documents() -> list[str]:
    """The same sentences as documents of one block and more, the last of one word, of all but one, of some."""
    words = " ".join(planted_documents()).split()
    ends = np.cumsum([64, 65, 127, 200] * 20)
    return [" ".join(words[end - length : end]) for end, length in zip(ends, [64, 65, 127, 200] * 20, strict=True)]


@pytest.fixture(scope="module")
def planted() -> tuple[WordCorpus, Word2VecResult]:
    corpus = encode_corpus(planted_documents(), min_count=1)
    settings = Word2VecSettings(dimensions=20, epochs=10, subsample=0.0, learning_rate=0.05)
    return corpus, train_word2vec(corpus, settings)


def test_planted_topics_are_found(planted: tuple[WordCorpus, Word2VecResult]) -> None:
    vectors = planted[1].vectors
    topical = [w for w in vectors.words if w.startswith("topic")]
    assert len(topical) == TOPICS * TOPIC_WORDS
    for word in topical:
        assert {near[:6] for near, _ in vectors.similar(word, TOPIC_WORDS - 1)} == {word[:6]}


def test_the_loss_falls(planted: tuple[WordCorpus, Word2VecResult]) -> None:
    losses = planted[1].losses
    chance = 6 * np.log(2)  # one pair and five noise words, at vectors that are nearly zero
    assert losses[-1] + 0.2 < losses[0] < chance


def test_the_vectors_have_the_asked_width_and_the_corpus_words(planted: tuple[WordCorpus, Word2VecResult]) -> None:
    corpus, result = planted
    assert result.vectors.words == corpus.words
    assert result.vectors.matrix.shape == result.contexts.shape == (len(corpus.words), 20)
    assert result.words == 10 * len(corpus.ids)


@pytest.mark.parametrize("cbow", [False, True])
@pytest.mark.parametrize("first", [0, 8, 32])  # at the start, in the middle, a last block of ten centres
def test_the_step_is_the_stated_one(first: int, cbow: bool) -> None:
    from zen_pipeline.embeddings import word2vec_blocks as blocks
    from zen_pipeline.embeddings import word2vec_kernel as kernel

    random = np.random.default_rng(first)
    width, vocabulary, window, k, rate, length = 16, 12, 3, 5.0, 0.1, 42
    shape = blocks.Shape(32, 4, noise=80, window=window, cbow=cbow) if cbow else blocks.Shape(16, 1, 80, window, cbow)
    centres = range(first, min(first + shape.centres, length))
    whole = blocks.make_block(shape)
    block = blocks.part_of(whole, len(centres))
    groups = block.groups  # the last block of CBOW has room for two more centres
    inputs = random.normal(size=(vocabulary, width)).astype(np.float32)
    outputs = random.normal(size=(vocabulary, width)).astype(np.float32)
    words = random.integers(0, vocabulary, length)  # words come twice, and noise words are contexts too
    reach = random.integers(1, window + 1, length)
    noise = random.integers(0, vocabulary, (groups, len(block.noise) // groups))  # more than one tile in a whole block

    x = torch.tensor(inputs, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    log_likely = torch.nn.functional.logsigmoid
    losses, predictions = [], 0.0
    for i in centres:
        distances = {j: abs(i - j) for j in range(length) if 0 < abs(i - j) <= window}
        if cbow:  # the mean, with the gradient of the sum
            contexts = [j for j in distances if distances[j] <= reach[i]]
            total = x[words[contexts]].sum(0)
            left = total + (total / len(contexts) - total).detach()
            weights = {i: 1.0}
        else:
            left = x[words[i]]
            weights = {j: np.mean([distances[j] <= drawn for drawn in range(1, window + 1)]) for j in distances}
        predictions += sum(weights.values())
        losses += [-weight * log_likely(left @ y[words[j]]) for j, weight in weights.items()]
        drawn = noise[(i - first) % groups]
        losses.append(-sum(weights.values()) * k / len(drawn) * log_likely(-(y[drawn] @ left)).sum())
    expected = torch.stack(losses).sum()
    expected.backward()

    before = inputs.copy(), outputs.copy()
    rows = blocks.rows_of(block, cbow, blocks.make_rows(shape, width))
    block.noise[:] = noise.flatten()
    assert blocks.choose(words, reach, first, cbow, np.float32(k), block) == pytest.approx(predictions)
    kernel.take(inputs, outputs, block, cbow, rows)
    loss = kernel.compute(block, cbow, np.float32(rate), True, rows, blocks.make_scratch(shape, width))
    kernel.add(inputs, outputs, block, cbow, rows)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose((before[0] - inputs) / rate, x.grad, rtol=1e-4, atol=5e-5)
    np.testing.assert_allclose((before[1] - outputs) / rate, y.grad, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("documents", [1, 2, 401, "long"])
def test_two_threads_make_the_bits_of_one(method: str, documents: int | str) -> None:
    texts = long_documents() if isinstance(documents, str) else planted_documents()[:documents]
    corpus = encode_corpus(texts, min_count=1)
    settings = Word2VecSettings(method=method, dimensions=24, epochs=2, subsample=0.0)
    results = [train_word2vec(corpus, replace(settings, threads=threads)) for threads in (1, 2)]
    assert results[0].vectors.matrix.tobytes() == results[1].vectors.matrix.tobytes()
    assert results[0].contexts.tobytes() == results[1].contexts.tobytes()
    assert results[0].losses == results[1].losses
    assert results[0].contexts.any()


def test_a_thread_does_not_wait_for_one_that_was_interrupted(monkeypatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from zen_pipeline.embeddings import word2vec

    corpus = encode_corpus(planted_documents()[:50], min_count=1)
    run = word2vec._Run(corpus, Word2VecSettings(dimensions=8))
    works = run._works

    def interrupted(*given: object, **named: object) -> object:
        [_own, other], turns = works(*given, **named)

        def interrupt() -> None:
            raise KeyboardInterrupt

        return [interrupt, other], turns

    monkeypatch.setattr(run, "_works", interrupted)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):  # leaving the pool waits for its thread
        run.together(pool, np.uint64(1), np.arange(50), 0, 2)


@pytest.mark.parametrize(("method", "deterministic"), [("cbow", True), ("cbow", False), ("skipgram", False)])
def test_planted_topics_are_found_by_cbow_and_by_threads_without_locks(method: str, deterministic: bool) -> None:
    corpus = encode_corpus(planted_documents(), min_count=1)
    settings = Word2VecSettings(
        method=method, dimensions=20, epochs=15, subsample=0.0, learning_rate=0.08, deterministic=deterministic,
        threads=2,
    )  # fmt: skip
    result = train_word2vec(corpus, settings)
    assert result.losses[-1] + 0.2 < result.losses[0] < 6 * np.log(2)
    for word in (w for w in result.vectors.words if w.startswith("topic")):
        assert {near[:6] for near, _ in result.vectors.similar(word, TOPIC_WORDS - 1)} == {word[:6]}


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_an_interrupted_training_ends_in_the_same_bits(tmp_path: Path, monkeypatch, method: str) -> None:
    from zen_pipeline.embeddings import word2vec

    monkeypatch.setattr(word2vec, "_CALL_WORDS", 3000)
    corpus = encode_corpus(planted_documents()[:800], min_count=1)
    settings = Word2VecSettings(method=method, dimensions=8, epochs=3)
    whole = train_word2vec(corpus, settings)

    def stop(done: int, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_word2vec(corpus, settings, checkpoint=Checkpoint(tmp_path, every=0.0), progress=stop)
    shares: list[float] = []
    resumed = train_word2vec(
        corpus, settings, checkpoint=Checkpoint(tmp_path), progress=lambda done, total: shares.append(done / total)
    )
    assert shares[0] > 0.5
    assert resumed.vectors.matrix.tobytes() == whole.vectors.matrix.tobytes()
    assert resumed.losses == whole.losses


def test_a_damaged_or_foreign_checkpoint_is_no_start(tmp_path: Path) -> None:
    corpus = encode_corpus(planted_documents()[:100], min_count=1)
    settings = Word2VecSettings(dimensions=8, epochs=1)
    whole = train_word2vec(corpus, settings).vectors.matrix.tobytes()
    Checkpoint(tmp_path).save({"inputs": np.ones((3, 16), np.float32), "outputs": np.ones((3, 16), np.float32)}, {})
    assert train_word2vec(corpus, settings, checkpoint=Checkpoint(tmp_path)).vectors.matrix.tobytes() == whole
    fitting = {name: np.ones((len(corpus.words), 16), np.float32) for name in ("inputs", "outputs")}
    Checkpoint(tmp_path, identity="another seed").save(fitting, {"epoch": 1, "losses": []})
    assert train_word2vec(corpus, settings, checkpoint=Checkpoint(tmp_path)).vectors.matrix.tobytes() == whole
    (tmp_path / "training.safetensors").write_bytes(b"cut")
    assert train_word2vec(corpus, settings, checkpoint=Checkpoint(tmp_path)).vectors.matrix.tobytes() == whole


@pytest.mark.parametrize("cbow", [False, True])
def test_memory_of_one_block_leaves_nothing_to_the_next(cbow: bool) -> None:
    from zen_pipeline.embeddings import word2vec_blocks as blocks
    from zen_pipeline.embeddings import word2vec_kernel as kernel

    random = np.random.default_rng(1)
    start = random.normal(size=(2, 9, 16)).astype(np.float32)
    shape = blocks.Shape(centres=16, groups=2 if cbow else 1, noise=5, window=4, cbow=cbow)
    words, noise = random.integers(0, 9, 27), random.integers(0, 9, shape.groups * shape.noise)

    def fresh() -> tuple:
        return blocks.make_block(shape), blocks.make_rows(shape, 16), blocks.make_scratch(shape, 16)

    memory = [fresh(), fresh()]

    def step(tables: np.ndarray, reach: int, first: int, block, rows, scratch) -> float:
        block = blocks.part_of(block, min(16, 27 - first))
        rows = blocks.rows_of(block, cbow, rows)
        block.noise[:] = noise[: len(block.noise)]
        blocks.choose(words, np.full(27, reach), first, cbow, np.float32(1), block)
        kernel.take(tables[0], tables[1], block, cbow, rows)
        loss = kernel.compute(block, cbow, np.float32(0.1), True, rows, scratch)
        kernel.add(tables[0], tables[1], block, cbow, rows)
        return loss

    for before, first in ((0, 16), (16, 0)):
        step(random.normal(size=(2, 9, 16)).astype(np.float32), 4, before, *memory[1])
        for array in (*memory[1][1], *memory[1][2]):
            array.fill(np.nan)
        results = [start.copy(), start.copy()]
        losses = [step(tables, 2, first, *own) for tables, own in zip(results, memory, strict=True)]
        assert losses[0] == losses[1]
        np.testing.assert_array_equal(results[0], results[1])
        memory[0] = fresh()


def test_the_logistic_function_is_close_and_passes_nan_on() -> None:
    from zen_pipeline.embeddings import word2vec_kernel as kernel

    values = np.linspace(-40, 40, 8001, dtype=np.float32)
    found = np.array([kernel.logistic(v) for v in values])
    assert np.abs(found - 1 / (1 + np.exp(-values.astype(np.float64)))).max() < 1e-5
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    assert np.isnan(kernel.logistic(np.float32("nan")))


def test_long_documents_are_cut() -> None:
    starts, ends = cut_documents(np.array([0, 3, 3, 13, 23]), 4)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        (0, 3), (3, 3), (3, 7), (7, 11), (11, 13), (13, 17), (17, 21), (21, 23)
    ]  # fmt: skip


def test_the_noise_table_is_the_inverse_of_the_distribution() -> None:
    from zen_pipeline.embeddings import word2vec_draws as draws

    weights = np.random.default_rng(0).integers(1, 5000, 300).astype(np.float64) ** 0.75
    ends, guide = noise_table(weights)
    np.testing.assert_allclose(ends / 2.0**64, weights.cumsum() / weights.sum(), rtol=1e-12)
    word = np.empty(1, np.int64)
    edges = [0, 2**64 - 1, *(int(end) + step for end in ends[:-1] for step in (-1, 0))]
    for place in edges:  # draw number 0 lies at the key
        draws.sample_noise(ends, guide, np.uint64(place), 0, word)
        assert word[0] == min(np.searchsorted(ends, np.uint64(place), side="right"), 299)


@pytest.mark.parametrize("vocabulary", [2, 5, 300, 17_711, 28_657])  # the last two divide the golden ratio evenly
def test_noise_is_drawn_by_the_weights_and_evenly(vocabulary: int) -> None:
    from zen_pipeline.embeddings import word2vec_draws as draws

    weights = 1 / np.arange(1, vocabulary + 1) ** 0.75
    ends, guide = noise_table(weights)
    frequent = max(1, vocabulary // 100)
    share = weights[:frequent].sum() / weights.sum()
    for size in (64, 4096):
        words = np.empty(size, np.int64)
        off = []
        for stretch in range(50):
            draws.sample_noise(ends, guide, np.uint64(7), size * (1000 + stretch), words)
            off.append((words < frequent).mean() - share)
        independent = np.sqrt(share * (1 - share) / size)
        assert np.sqrt(np.mean(np.square(off))) < 0.5 * independent
    assert len(set(words.tolist())) > vocabulary / 20


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_the_first_loss_is_that_of_vectors_near_zero(method: str) -> None:
    corpus = encode_corpus(["a b c", "c a b d e"], min_count=1)
    settings = Word2VecSettings(method=method, dimensions=8, epochs=1, subsample=0.0, learning_rate=1e-6)
    assert train_word2vec(corpus, settings).losses == pytest.approx([6 * np.log(2)], rel=1e-3)


def test_frequent_words_are_dropped_and_windows_are_uniform() -> None:
    from zen_pipeline.embeddings import word2vec_draws as draws

    random = np.random.default_rng(0)
    ids = random.choice(3, 60_000, p=[0.9, 0.09, 0.01]).astype(np.int32)
    keep = keep_probabilities(np.bincount(ids), 0.01)
    assert keep[0] == pytest.approx(np.sqrt(0.01 / 0.9) + 0.01 / 0.9, rel=0.01)
    assert keep[2] == 1.0
    words, reach = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    kept = draws.sample_document(
        ids, 0, len(ids), (keep * 2.0**32).astype(np.uint64), np.uint64(3), 5, words, reach
    )  # fmt: skip
    shares = np.bincount(words[:kept]) / np.bincount(ids)
    np.testing.assert_allclose(shares, keep, atol=0.02)
    np.testing.assert_allclose(np.bincount(reach[:kept])[1:] / kept, np.full(5, 0.2), atol=0.02)
    assert (keep_probabilities(np.bincount(ids), 0.0) == 1.0).all()


def test_two_processes_with_other_hash_seeds_make_the_same_bits(tmp_path: Path) -> None:
    documents = tmp_path / "documents.json"
    documents.write_text(json.dumps(planted_documents()[:400]))
    code = (
        "import hashlib, json, sys\n"
        "from zen_pipeline.embeddings.word2vec import Word2VecSettings, train_word2vec\n"
        "from zen_pipeline.embeddings.words import encode_corpus\n"
        "corpus = encode_corpus(json.load(open(sys.argv[1])), min_count=1)\n"
        "result = train_word2vec(corpus, Word2VecSettings(dimensions=24, epochs=2, seed=int(sys.argv[2])))\n"
        "print(hashlib.sha256(result.vectors.matrix.tobytes() + result.contexts.tobytes()).hexdigest())\n"
    )
    processes = [  # all at once, so that they disturb each other
        subprocess.Popen(
            [sys.executable, "-c", code, str(documents), seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, hash_seed in (("0", "1"), ("0", "2"), ("1", "1"))
    ]
    digests = [process.communicate()[0].strip() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_progress_ends_at_the_total() -> None:
    corpus = encode_corpus(planted_documents()[:100], min_count=1)
    seen: list[tuple[int, int]] = []
    train_word2vec(corpus, Word2VecSettings(dimensions=8, epochs=2), progress=lambda *step: seen.append(step))
    assert seen[-1] == (2 * len(corpus.ids), 2 * len(corpus.ids))


def test_a_vocabulary_of_one_word_is_an_error() -> None:
    with pytest.raises(DataError, match="no pairs"):
        train_word2vec(encode_corpus(["a a a"], min_count=1), Word2VecSettings())


def test_a_diverged_training_is_an_error_that_names_the_rate() -> None:
    corpus = encode_corpus(planted_documents()[:200], min_count=1)
    with pytest.raises(DataError, match=r"embed\.learning_rate 1e\+30 is too high"):
        train_word2vec(corpus, Word2VecSettings(dimensions=8, learning_rate=1e30))


def test_months_are_neighbours_in_wikitext(shared_data) -> None:
    text = (shared_data("wikitext-2") / "train.txt").read_text(encoding="utf-8")[:5_000_000]
    corpus = encode_corpus(text.split("\n = "), min_count=5)
    vectors = train_word2vec(corpus, Word2VecSettings(epochs=4)).vectors
    months = {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
              "november", "december"}  # fmt: skip
    assert len(months & {near for near, _ in vectors.similar("july", 8)}) >= 4


def test_chinese_neighbours_come_from_the_same_domain(shared_data) -> None:
    folder = shared_data("kdconv")
    texts, seen = [], {}
    for domain in ("film", "music", "travel"):
        seen[domain] = Counter()
        for split in ("dev", "test"):
            with gzip.open(folder / f"{domain}_{split}.json.gz", "rt", encoding="utf-8") as file:
                dialogues = ["\n".join(m["message"] for m in d["messages"]) for d in json.load(file)]
            texts += dialogues
            for text in dialogues:
                seen[domain].update(segment(text))
    vectors = train_word2vec(encode_corpus(texts, min_count=5), Word2VecSettings(epochs=10)).vectors
    for domain, words in {"film": ["影片", "导演"], "music": ["首歌", "专辑"], "travel": ["景点", "门票"]}.items():
        for word in words:
            near = [w for w, _ in vectors.similar(word, 10)]
            own = [w for w in near if seen[domain][w] == max(counts[w] for counts in seen.values())]
            assert len(own) >= 7, (word, near)
