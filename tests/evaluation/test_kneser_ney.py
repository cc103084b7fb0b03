"""The n-gram baseline against a direct reading of Chen and Goodman (1998), one dictionary look-up at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zen_pipeline.evaluation.kneser_ney import KneserNey

START = 0


class ReferenceKneserNey:
    """Modified Kneser-Ney with dictionaries; documents are lists of ids that begin with START."""

    def __init__(self, documents: list[list[int]], vocab_size: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        sequences = [[*d, START] for d in documents]
        self.counts: dict[int, Counter[tuple[int, ...]]] = {}
        for k in range(1, order + 1):
            grams: Counter[tuple[int, ...]] = Counter()
            for s in sequences:
                for end in range(max(1, k - 1), len(s)):
                    grams[tuple(s[end - k + 1 : end + 1])] += 1
            self.counts[k] = grams
        # The lower orders: in how many contexts an n-gram was seen, but plain counts where a document begins with it.
        self.lower: dict[int, Counter[tuple[int, ...]]] = {}
        for k in range(1, order):
            found = Counter(gram[1:] for gram in self.counts[k + 1])
            for gram, count in self.counts[k].items():
                if k > 1 and gram[0] == START:
                    found[gram] = count
            self.lower[k] = found

    def probability(self, context: list[int], token: int, order: int) -> float:
        return self._probability(tuple(context[max(0, len(context) - order + 1) :]), token, top=order)

    def _probability(self, context: tuple[int, ...], token: int, top: int) -> float:
        k = len(context) + 1
        counts = self.counts[k] if k == top else self.lower[k]
        after = [w for w in range(self.vocab_size) if counts[(*context, w)] > 0]
        shorter = self._probability(context[1:], token, top) if context else 1.0 / self.vocab_size
        if not after:
            return shorter
        total = sum(counts[(*context, w)] for w in after)
        given = sum(self._discount(counts, counts[(*context, w)]) for w in after)
        count = counts[(*context, token)]
        return (count - self._discount(counts, count)) / total + given / total * shorter

    @staticmethod
    def _discount(counts: Counter[tuple[int, ...]], count: int) -> float:
        if count == 0:
            return 0.0
        n = [sum(1 for c in counts.values() if c == i) for i in range(5)]
        single = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        i = min(count, 3)
        value = i - (i + 1) * single * n[i + 1] / n[i] if n[i] else -1.0
        return value if 0 < value < i else single


def stream(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(documents).astype(np.uint16), np.cumsum([0, *map(len, documents)])


def make_documents(seed: int, vocab_size: int, lengths: list[int]) -> list[list[int]]:
    """Documents with the skewed token frequencies of language, so that counts of one to many occur."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocab_size)
    draw = lambda n: (1 + rng.choice(vocab_size - 1, size=n, p=weights / weights.sum())).tolist()  # noqa: E731
    return [[START, *draw(n)] for n in lengths]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_token_of_unseen_documents_costs_what_the_reference_says(seed: int) -> None:
    train = make_documents(seed, 12, [40, 1, 0, 7, 90, 3])
    test = make_documents(seed + 100, 12, [30, 2, 0, 1])
    ours = KneserNey.fit(*stream(train), vocab_size=12, order=4).nats(*stream(test))
    reference = ReferenceKneserNey(train, 12, 4)
    for order in range(1, 5):
        expected = [
            -np.log(reference.probability(d[:i], d[i], order)) if i else 0.0 for d in test for i in range(len(d))
        ]
        np.testing.assert_allclose(ours[order - 1], expected, rtol=1e-5, atol=1e-6)


def test_probabilities_sum_to_one_in_every_context() -> None:
    train = make_documents(3, 9, [50, 20, 5])
    model = KneserNey.fit(*stream(train), vocab_size=9, order=5)
    contexts = [[START], [START, 1], [START, 1, 2, 1, 1], [START, 8, 8, 8, 8, 8], train[0][:10]]
    for context in contexts:
        for order in range(1, 6):
            assert model.distribution(context, order).sum() == pytest.approx(1.0, abs=1e-5)
            assert model.distribution(context, order).min() > 0


def test_ids_beyond_32_bits_of_pairs_work() -> None:
    # 200,000 squared does not fit into 32 bits, so a narrow key would mix up n-grams.
    documents = [[START, 199_999, 150_000, 199_999, 150_000, 199_998]]
    tokens, offsets = np.array(documents[0], dtype=np.uint32), np.array([0, 6])
    nats = KneserNey.fit(tokens, offsets, vocab_size=200_000, order=3).nats(tokens, offsets)
    assert nats[1, 4] < nats[0, 4]  # 150,000 follows 199,999 in training
    assert np.isfinite(nats).all()


def test_start_tokens_are_given_and_cost_nothing() -> None:
    documents = make_documents(0, 6, [3, 4])
    nats = KneserNey.fit(*stream(documents), vocab_size=6, order=2).nats(*stream(documents))
    assert nats[:, [0, 4]].tolist() == [[0, 0], [0, 0]]
    assert (nats[:, [1, 2, 3]] > 0).all()


@pytest.mark.parametrize(("tokens", "offsets"), [([], [0]), ([0, 7], [0, 2])])
def test_impossible_streams_are_refused(tokens: list[int], offsets: list[int]) -> None:
    with pytest.raises(ValueError, match=r"Kneser-Ney|token ids"):
        KneserNey.fit(np.array(tokens, dtype=np.int64), offsets, vocab_size=7, order=2)


def test_on_english_longer_contexts_cost_fewer_bits(shared_data: Callable[[str], Path]) -> None:
    text = (shared_data("tinyshakespeare") / "input.txt").read_bytes()[:400_000]
    ids = np.frombuffer(text, dtype=np.uint8).astype(np.int64) + 1
    cut = 350_000
    train, test = np.append(START, ids[:cut]), np.append(START, ids[cut:])
    model = KneserNey.fit(train, [0, len(train)], vocab_size=257, order=5)
    bits = model.nats(test, [0, len(test)]).sum(axis=1) / np.log(2) / (len(test) - 1)
    assert (np.diff(bits) < 0).all()
    assert 2.0 < bits[4] < 2.6  # bits per character: English by 5-grams of characters
