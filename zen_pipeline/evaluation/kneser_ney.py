"""Interpolated Kneser-Ney n-gram models over token ids: what a language model must beat to have learnt anything.

Modified Kneser-Ney (Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling"):
the highest order counts n-grams, every lower order counts in how many different contexts an n-gram was seen, and each
order has three discounts (for counts of one, two, and three or more), estimated from its counts of counts.

An n-gram of order k is a pair (id of its first k-1 tokens, last token) in one int64, so any vocabulary works, and each
order is one sorted array of such keys. N-grams stay inside a document: they begin at its start token at the earliest.
As nothing can stand before that token, n-grams that begin with it keep their plain counts in every order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]  # n-grams of one order, positions in a document, counts: half the memory of int64

_UNSEEN = -1


@dataclass(frozen=True)
class _Mass:
    """One kind of counts of one order, discounted: what is left for each n-gram, and what each context gives away."""

    probability: npt.NDArray[np.float32]  # (n-grams,) discounted count / total of the context
    left_over: npt.NDArray[np.float32]  # (contexts,) weight of the next lower order; 1 for a context never seen


@dataclass(frozen=True)
class _Order:
    """All n-grams of one order."""

    keys: Ints  # (n-grams,) sorted; context id * vocab_size + last token
    plain: _Mass  # from counts: for the model whose highest order this is
    lower: _Mass | None  # from continuation counts: for models of higher orders; the highest order needs none


class KneserNey:
    """Models of all orders from 1 to `order`, which share their lower orders.

    Attributes:
        order: the highest order.
        vocab_size: number of token ids; every distribution is over all of them.
    """

    def __init__(self, orders: list[_Order], vocab_size: int) -> None:
        self._orders = orders
        self.order = len(orders)
        self.vocab_size = vocab_size

    @classmethod
    def fit(cls, tokens: npt.ArrayLike, offsets: npt.ArrayLike, *, vocab_size: int, order: int) -> KneserNey:
        """Count the n-grams of a token stream.

        Args:
            tokens: (tokens,) integer; each document begins with its start token, which also predicts as its end.
            offsets: (documents + 1,) integer, start of each document in `tokens`, plus the end.
            vocab_size: number of token ids.
            order: the highest order, at least 1.

        Raises:
            ValueError: no tokens, an id outside the vocabulary, or an order below 1.
        """
        stream, position = _with_ends(np.asarray(tokens), np.asarray(offsets, dtype=np.int64))
        if order < 1 or len(stream) == 0:
            raise ValueError(f"a Kneser-Ney model needs tokens and an order of at least 1, got order {order}")
        if int(stream.min()) < 0 or int(stream.max()) >= vocab_size:
            raise ValueError(f"token ids must be from 0 to {vocab_size - 1}, found {stream.min()} to {stream.max()}")

        # The unigrams are the vocabulary itself, seen or not, so that a context id is always defined at order 2.
        keys = np.arange(vocab_size, dtype=np.int64)
        counts = np.bincount(stream[position >= 1], minlength=vocab_size).astype(np.int32)
        level = _Counted(keys, counts, stream.astype(np.int32), example=np.zeros(0, dtype=np.int64))
        orders: list[_Order] = []
        contexts = 1
        for k in range(1, order + 1):
            plain = _discounted(level.counts, level.keys, contexts, vocab_size)
            lower = None
            longer = level
            if k < order:
                longer = _extend(level.ids, stream, position, k + 1, vocab_size)
                continuations = _continuations(level, position, k, longer)
                lower = _discounted(continuations, level.keys, contexts, vocab_size)
            orders.append(_Order(level.keys, plain, lower))
            contexts, level = len(level.keys), longer
        return cls(orders, vocab_size)

    def nats(self, tokens: npt.ArrayLike, offsets: npt.ArrayLike) -> Floats:
        """Negative log probability of each token under each model.

        Args:
            tokens: (tokens,) integer, documents with their start token as in `fit`.
            offsets: (documents + 1,) integer.

        Returns:
            (order, tokens) float64, nats; row k-1 is the model of order k. Start tokens are given, so they cost 0.
        """
        stream = np.asarray(tokens).astype(np.int64)
        starts = np.asarray(offsets, dtype=np.int64)
        position = _positions(starts)
        context = np.zeros(len(stream), dtype=np.int64)  # id of the k-1 tokens before, or _UNSEEN
        lower = np.full(len(stream), 1.0 / self.vocab_size)
        rows = []
        for k, level in enumerate(self._orders, start=1):
            reached = (position >= k - 1) & (context != _UNSEEN)
            found = _find(level.keys, np.where(reached, context * self.vocab_size + stream, _UNSEEN))
            # A context that the document is too short for, or that is new, leaves the next lower order's answer.
            model = _interpolate(level.plain, found, context, reached, lower)
            if level.lower is not None:
                lower = _interpolate(level.lower, found, context, reached, lower)
            rows.append(np.where(position == 0, 0.0, -np.log(model)))
            context = np.roll(found, 1)  # what ended one token earlier is the next order's context
        return np.stack(rows)

    def distribution(self, context: list[int], order: int) -> Floats:
        """Probabilities of every next token after a document that began with `context`.

        Args:
            context: token ids, with the start token first.
            order: which of the models, 1 to `self.order`.

        Returns:
            (vocab_size,) float64, sums to 1.
        """
        length = len(context) + 1
        tokens = np.tile(np.array([*context, 0], dtype=np.int64), (self.vocab_size, 1))
        tokens[:, -1] = np.arange(self.vocab_size)
        nats = self.nats(tokens.ravel(), np.arange(self.vocab_size + 1) * length)
        result: Floats = np.exp(-nats[order - 1].reshape(self.vocab_size, length)[:, -1])
        return result


# --- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counted:
    keys: Ints  # (n-grams,) sorted
    counts: Ids  # (n-grams,)
    ids: Ids  # (stream,) n-gram that ends at each position, or _UNSEEN
    example: Ints  # (n-grams,) a position where it ends


def _positions(offsets: Ints) -> Ids:
    """How many tokens of its own document stand before each token."""
    lengths = np.diff(offsets)
    return (np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], lengths)).astype(np.int32)


def _with_ends(tokens: npt.NDArray[np.integer], offsets: Ints) -> tuple[npt.NDArray[np.integer], Ids]:
    """The stream with each document's start token repeated at its end, where it is an event like any other."""
    filled = offsets[:-1][np.diff(offsets) > 0]
    ends = offsets[1:][np.diff(offsets) > 0]
    stream = np.insert(tokens[: offsets[-1]], ends, tokens[filled])
    return stream, _positions(np.concatenate([[0], ends + np.arange(1, len(ends) + 1)]))


def _extend(ids: Ids, stream: npt.NDArray[np.integer], position: Ids, order: int, vocab_size: int) -> _Counted:
    """Count the n-grams of `order`, given which n-gram of one order less ends at each position."""
    ends = np.flatnonzero(position >= order - 1)
    key = ids[ends - 1].astype(np.int64) * vocab_size + stream[ends]
    by_key = np.argsort(key)
    key = key[by_key]
    first = np.ones(len(key), dtype=bool)
    first[1:] = key[1:] != key[:-1]
    starts = np.flatnonzero(first)
    longer = np.full(len(stream), _UNSEEN, dtype=np.int32)
    longer[ends[by_key]] = np.cumsum(first, dtype=np.int32) - 1
    counts = np.diff(np.append(starts, len(key))).astype(np.int32)
    return _Counted(key[starts], counts, longer, ends[by_key[starts]])


def _continuations(level: _Counted, position: Ids, order: int, longer: _Counted) -> Ids:
    """In how many different contexts each n-gram was seen; its plain count where it begins its document."""
    found = np.bincount(level.ids[longer.example], minlength=len(level.counts)).astype(np.int32)
    begins = level.ids[position == order - 1] if order > 1 else level.ids[:0]
    found[begins] = level.counts[begins]
    return found


def _discounted(counts: Ids, keys: Ints, contexts: int, vocab_size: int) -> _Mass:
    """Take the discounts off, and give them to the lower order, context by context."""
    context = keys // vocab_size
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(context, weights=counts, minlength=contexts)
    given = np.bincount(context, weights=discount, minlength=contexts)
    seen = total > 0
    left_over = np.divide(given, total, out=np.ones(contexts), where=seen)
    total[~seen] = 1.0
    probability = (counts - discount) / total[context]
    return _Mass(probability.astype(np.float32), left_over.astype(np.float32))


def _discounts(counts: Ids) -> Floats:
    """What counts of 0, 1, 2, and 3 or more give away (Chen and Goodman 1998, equation 26).

    Small or odd corpora have no estimate for one of them (no n-gram with that count, or a value outside
    [0, count]); there the one discount of plain Kneser-Ney stands in, or one half when it has none either.
    """
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    single = n1 / (n1 + 2 * n2) if n1 > 0 else 0.5
    estimates = [0.0]
    for count, (now, after) in enumerate([(n1, n2), (n2, n3), (n3, n4)], start=1):
        value = count - (count + 1) * single * after / now if now else -1.0
        estimates.append(value if 0.0 < value < count else single)
    return np.array(estimates)


# --- looking up -------------------------------------------------------------------------------------------------------


def _find(keys: Ints, wanted: Ints) -> Ints:
    """Index of each wanted key, or _UNSEEN."""
    if len(keys) == 0:
        return np.full(len(wanted), _UNSEEN, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, _UNSEEN)


def _interpolate(mass: _Mass, found: Ints, context: Ints, reached: npt.NDArray[np.bool_], lower: Floats) -> Floats:
    """Own probability plus the context's left-over weight times the lower order's."""
    own = np.where(found == _UNSEEN, 0.0, mass.probability[found]) if len(mass.probability) else np.zeros(len(found))
    return np.where(reached, own + mass.left_over[np.where(reached, context, 0)] * lower, lower)
