"""Exact duplicates, after normalization, in bounded memory: who is first among equals stays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from zen_pipeline.corpus.duplicates.normal_form import Hashes, Integers, Texts, code_point_classes

NO_ROW = -1
_AT_ONCE = 8 << 20  # keys that are sorted at once; each takes about 40 bytes meanwhile


def text_keys(normal: Texts) -> Hashes:
    """(2, texts): 16 bytes that stand for each text in its normal form (`units.normal_form`), whatever its spacing."""
    from zen_pipeline.corpus.duplicates.text_kernels import squeeze

    room, ends = np.empty_like(normal.data), np.empty_like(normal.ends)
    squeeze(*normal, code_point_classes(), room, ends)
    content = room.data
    spans = zip(normal.starts.tolist(), ends.tolist(), strict=True)
    keys = b"".join([hashlib.blake2b(content[start:end], digest_size=16).digest() for start, end in spans])
    return np.frombuffer(keys, np.uint64).reshape(-1, 2).T


def exact_duplicates(keys: Sequence[Hashes], order: Integers) -> Integers:
    """For every row the first one with the same key, or -1 for the first and for rows not in `order`.

    Args:
        keys: the keys of all rows in columns of 64 bits; may be memory-mapped files.
        order: the rows that are compared, those that should stay first.
    """
    original = np.full(len(keys[0]), NO_ROW, np.int64)
    for members, firsts in equal_groups(keys, order):
        sizes = np.diff(firsts)
        leaders = np.repeat(members[firsts[:-1]], sizes)
        others = members != leaders
        original[members[others]] = leaders[others]
    return original


def equal_groups(
    columns: Sequence[Hashes], order: Integers, *, at_once: int = _AT_ONCE
) -> Iterator[tuple[Integers, Integers]]:
    """The groups of two rows and more that are equal in all columns, many groups at a time.

    The keys are sorted in as many pieces as needed, divided by their leading bits, so that memory stays bounded
    however many there are; they must be well mixed.

    Args:
        columns: the keys of all rows; may be memory-mapped files.
        order: the rows that are looked at; the members of a group keep this order.
        at_once: the keys that may be in memory at once.

    Yields:
        the members of all groups, group after group, and where each begins, with the end.
    """
    pieces = -(-len(order) // at_once)
    for piece in range(pieces):
        rows = order if pieces == 1 else _piece(columns[0], order, piece, pieces, at_once)
        keys = [column[rows] for column in columns]
        ranked = np.lexsort(keys[::-1])  # stable, so equal keys stay in the order of `rows`
        differs = np.zeros(max(len(rows) - 1, 0), bool)
        for key in keys:
            differs |= key[ranked[1:]] != key[ranked[:-1]]
        firsts = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(rows)]])
        sizes = np.diff(firsts)
        several = sizes > 1
        members = rows[ranked[np.repeat(several, sizes)]]
        if len(members):
            yield members, np.concatenate([[0], np.cumsum(sizes[several])])


def _piece(keys: Hashes, order: Integers, piece: int, pieces: int, at_once: int) -> Integers:
    found = []
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        found.append(rows[(keys[rows] >> np.uint64(32)) * np.uint64(pieces) >> np.uint64(32) == piece])
    return np.concatenate(found)
