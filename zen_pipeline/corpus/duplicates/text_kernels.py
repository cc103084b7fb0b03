"""The compiled loops over texts: counting, windows of words, MinHash signatures, and looking windows up.

Texts come as one array of UTF-8 bytes with the start and end of each, as Arrow keeps them, so that no string object is
made. Nothing here allocates by the length of a text.

A *unit* is a word (a run of letters, marks and digits) or, in scripts that write no spaces between words, one
character. A *window* is the shortest run of units that ends at a given unit and weighs at least `total`; with both
weights 1 and a total of 5 that is a 5-gram. What a window holds decides its hash, wherever it stands.

This module imports numba: import it inside the function that needs it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

WORD, ALONE, SPACE, NUMBER = 1, 2, 4, 8  # classes of code points, see `corpus.units`

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_BASE = np.uint64(0xD1342543DE82EF95)  # of the polynomial over the units of a window; any odd number
_S6, _S27, _S30, _S31, _S32 = np.uint64(6), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_ONE, _LOW6, _64 = np.uint64(1), np.uint64(63), np.uint64(64)

_OPTIONS: dict[str, Any] = {"nogil": True}


def compiled(function: Any) -> Any:
    """Compile as part of the function that calls it."""
    return numba.njit(**_OPTIONS)(function)


def cached(function: Any) -> Any:
    """Compile at the first call and keep the machine code on disk where numba finds a folder that it can write."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return compiled(function)


@compiled
def mix(value: Any) -> Any:
    """SplitMix64's output function (Steele et al. 2014): a bijection of uint64 with good avalanche."""
    value = (value ^ (value >> _S30)) * _MIX1
    value = (value ^ (value >> _S27)) * _MIX2
    return value ^ (value >> _S31)


@compiled
def decode(data: Any, at: int) -> Any:
    """The code point that begins at a byte of valid UTF-8, and where the next one begins."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    second = np.int64(data[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, at + 2
    third = np.int64(data[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, at + 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | np.int64(data[at + 3]) & 0x3F, at + 4


@compiled
def class_of(code: int, classes: Any) -> int:
    """WORD, ALONE, SPACE, NUMBER, or 0 for anything else; code points beyond the table are nothing."""
    return classes[code] if code < len(classes) else 0


@cached
def count(data: Any, starts: Any, ends: Any, classes: Any, counts: Any) -> None:
    """Count what each text consists of.

    Args:
        data: UTF-8 bytes, uint8.
        starts: first byte of each text, int64.
        ends: byte after its last, int64.
        classes: class of each code point, uint8.
        counts: (texts, 7) int64, filled with: characters; characters without white space at both ends; words as
            `str.split` finds them; characters of the longest line; U+FFFD; control characters other than tab, line
            feed, carriage return and form feed; ASCII digits.
    """
    for n in range(len(starts)):
        at, end = starts[n], ends[n]
        characters = words = line = longest = replaced = control = digits = 0
        first, last = -1, -1
        inside = False
        while at < end:
            code, at = decode(data, at)
            if class_of(code, classes) == SPACE:
                inside = False
            else:
                first = characters if first < 0 else first
                last = characters
                words += not inside
                inside = True
            line = 0 if code == 10 else line + 1
            longest = max(longest, line)
            replaced += code == 0xFFFD
            control += code == 127 or (code < 32 and code != 9 and code != 10 and code != 12 and code != 13)
            digits += 48 <= code <= 57
            characters += 1
        counts[n, 0] = characters
        counts[n, 1] = last - first + 1 if first >= 0 else 0
        counts[n, 2] = words
        counts[n, 3] = longest
        counts[n, 4] = replaced
        counts[n, 5] = control
        counts[n, 6] = digits


@cached
def squeeze(data: Any, starts: Any, ends: Any, classes: Any, room: Any, squeezed_ends: Any) -> None:
    """Copy each text with one space in the place of white space, and none at its ends.

    Args:
        data: UTF-8 bytes, uint8.
        starts: first byte of each text, int64.
        ends: byte after its last, int64.
        classes: class of each code point, uint8.
        room: as long as `data`; each copy begins where its text does.
        squeezed_ends: (texts,) int64, the byte after the last of each copy.
    """
    for n in range(len(starts)):
        at, to = starts[n], starts[n]
        space = False
        while at < ends[n]:
            code, after = decode(data, at)
            if class_of(code, classes) == SPACE:
                space = to > starts[n]
            else:
                if space:
                    room[to] = 32
                    to += 1
                    space = False
                for byte in range(at, after):
                    room[to] = data[byte]
                    to += 1
            at = after
        squeezed_ends[n] = to


@compiled
def next_unit(data: Any, at: int, end: int, classes: Any) -> Any:
    """The hash of the next unit, what it is (WORD, ALONE or NUMBER), and the byte after it; -1 when none is left."""
    value = _GOLDEN
    begun = False
    what = NUMBER
    while at < end:
        code, after = decode(data, at)
        kind = class_of(code, classes)
        if kind in (WORD, NUMBER):
            what = WORD if kind == WORD else what
            value = (value ^ np.uint64(code)) * _MIX1
            value ^= value >> _S32
            begun = True
        elif begun:
            return mix(value), what, at
        elif kind == ALONE:
            return mix(np.uint64(code) * _GOLDEN), ALONE, after
        at = after
    return mix(value), what, end if begun else -1


@compiled
def make_ring(word: int, alone: int, total: int) -> Any:
    """What a rolling window remembers.

    Its units; their weights; powers of the base; (first, size, weight, weight of the units that are no numbers); and
    that weight of each unit.
    """
    longest = total // min(word, alone) + 2
    powers = np.empty(longest, np.uint64)
    powers[0] = _ONE
    for i in range(1, longest):
        powers[i] = powers[i - 1] * _BASE
    texts = np.zeros(longest, np.int64)
    return np.zeros(longest, np.uint64), np.zeros(longest, np.int64), powers, np.zeros(4, np.int64), texts


@compiled
def roll(ring: Any, value: Any, unit: Any, weight: int, text: int, total: int) -> Any:
    """Append a unit to the window, drop what is too much at its front; returns the new polynomial."""
    units, weights, powers, state, texts = ring
    place = (state[0] + state[1]) % len(units)
    units[place], weights[place], texts[place] = unit, weight, text
    value = value * _BASE + unit
    state[1] += 1
    state[2] += weight
    state[3] += text
    while state[2] - weights[state[0]] >= total:
        value -= units[state[0]] * powers[state[1] - 1]
        state[2] -= weights[state[0]]
        state[3] -= texts[state[0]]
        state[0] = (state[0] + 1) % len(units)
        state[1] -= 1
    return value


@compiled
def is_telling(ring: Any, total: int) -> Any:
    """The window is whole, and at least two thirds of it are no numbers: rows of numbers are alike by chance."""
    return ring[3][2] >= total and 3 * ring[3][3] >= 2 * total


@compiled
def hash_of(value: Any, ring: Any) -> Any:
    """The hash of the window that the ring holds."""
    return mix(value + np.uint64(ring[3][1]) * _GOLDEN)


@cached
def windows(
    data: Any, starts: Any, ends: Any, classes: Any, word: int, alone: int, total: int, hashes: Any, counts: Any
) -> int:
    """The hashes of all windows of all texts, one after the other, without those that are mostly numbers.

    Args:
        data: UTF-8 bytes, uint8.
        starts: first byte of each text, int64.
        ends: byte after its last, int64.
        classes: class of each code point, uint8.
        word: weight of a word.
        alone: weight of a character that stands alone.
        total: weight of a window.
        hashes: uint64, filled; (bytes + 1) / 2 elements per text are always enough.
        counts: windows of each text, int64, filled.

    Returns:
        how many hashes there are.
    """
    filled = 0
    for n in range(len(starts)):
        ring = make_ring(word, alone, total)
        value, at, before = np.uint64(0), starts[n], filled
        while True:
            unit, what, at = next_unit(data, at, ends[n], classes)
            if at < 0:
                break
            weight = alone if what == ALONE else word
            value = roll(ring, value, unit, weight, 0 if what == NUMBER else weight, total)
            if is_telling(ring, total):
                hashes[filled] = hash_of(value, ring)
                filled += 1
        counts[n] = filled - before
    return filled


@cached
def find(
    data: Any, starts: Any, ends: Any, classes: Any, word: int, alone: int, total: int,
    keys: Any, bitmap: Any, bits: int, found: Any, counts: Any, matches: Any,
) -> int:  # fmt: skip
    """Look every window up among known ones; the arguments up to `total` are those of `windows`.

    Args:
        data: see `windows`.
        starts: see `windows`.
        ends: see `windows`.
        classes: see `windows`.
        word: see `windows`.
        alone: see `windows`.
        total: see `windows`.
        keys: the known hashes, sorted, uint64.
        bitmap: 2^bits bits in uint64; that of the first `bits` bits of every key is set, so most look-ups end there.
        bits: at most 40.
        found: positions in `keys` of what was found, int64, filled; as long as `hashes` of `windows`.
        counts: windows of each text, int64, filled.
        matches: how many of them were found, int64, filled.

    Returns:
        how many were found in all.
    """
    shift = _64 - np.uint64(bits)
    filled = 0
    for n in range(len(starts)):
        ring = make_ring(word, alone, total)
        value, at, before, seen = np.uint64(0), starts[n], filled, 0
        while True:
            unit, what, at = next_unit(data, at, ends[n], classes)
            if at < 0:
                break
            weight = alone if what == ALONE else word
            value = roll(ring, value, unit, weight, 0 if what == NUMBER else weight, total)
            if not is_telling(ring, total):
                continue
            seen += 1
            key = hash_of(value, ring)
            slot = key >> shift
            if (bitmap[np.int64(slot >> _S6)] >> (slot & _LOW6)) & _ONE:
                place = np.searchsorted(keys, key)
                if place < len(keys) and keys[place] == key:
                    found[filled] = place
                    filled += 1
        counts[n] = seen
        matches[n] = filled - before
    return filled


@cached
def locate(data: Any, classes: Any, word: int, alone: int, total: int, key: Any) -> Any:
    """Where in one text (UTF-8, uint8) the first window with this hash is.

    Returns:
        the byte after the unit before it, and the byte after it; -1, -1 for none.
    """
    ring = make_ring(word, alone, total)
    begins = np.zeros(len(ring[0]), np.int64)
    value, at = np.uint64(0), 0
    while True:
        before = at
        unit, what, at = next_unit(data, at, len(data), classes)
        if at < 0:
            return -1, -1
        begins[(ring[3][0] + ring[3][1]) % len(begins)] = before
        weight = alone if what == ALONE else word
        value = roll(ring, value, unit, weight, 0 if what == NUMBER else weight, total)
        if is_telling(ring, total) and hash_of(value, ring) == key:
            return begins[ring[3][0]], at


@cached
def min_hashes(
    data: Any, starts: Any, ends: Any, classes: Any, size: int, factors: Any, terms: Any, rows: int, signatures: Any,
    bands: Any, counts: Any,
) -> None:  # fmt: skip
    """MinHash signatures of the sets of `size`-grams, and their bands.

    Permutation k of the 32-bit hashes x is factors[k] * x + terms[k] modulo 2^32, the factor being odd.

    Args:
        data: UTF-8 bytes, uint8.
        starts: first byte of each text, int64.
        ends: byte after its last, int64.
        classes: class of each code point, uint8.
        size: units of a shingle.
        factors: (permutations,) uint32, odd.
        terms: (permutations,) uint32.
        rows: permutations of one band.
        signatures: (texts, permutations) uint8, filled with the lowest 8 bits of the minima.
        bands: (bands, texts) uint64, filled with a hash of the minima of each band.
        counts: shingles of each text, repeated ones too, int64, filled.
    """
    smallest = np.empty(len(factors), np.uint32)
    for n in range(len(starts)):
        ring = make_ring(1, 1, size)
        smallest[:] = np.uint32(0xFFFFFFFF)
        value, at, seen = np.uint64(0), starts[n], 0
        while True:
            unit, _, at = next_unit(data, at, ends[n], classes)
            if at < 0:
                break
            value = roll(ring, value, unit, 1, 1, size)
            if ring[3][2] < size:
                continue
            seen += 1
            x = np.uint32(hash_of(value, ring) >> _S32)
            for k in range(len(factors)):
                smallest[k] = min(smallest[k], np.uint32(factors[k] * x + terms[k]))
        counts[n] = seen
        for k in range(len(factors)):
            signatures[n, k] = np.uint8(smallest[k] & np.uint32(0xFF))
        for band in range(len(bands)):
            key = np.uint64(band)
            for k in range(band * rows, (band + 1) * rows):
                key = mix(key + np.uint64(smallest[k]) * _GOLDEN)
            bands[band, n] = key


@compiled
def agreement(signatures: Any, a: int, b: int) -> Any:
    """The Jaccard similarity that two signatures of 8 bits let expect (b-bit minwise hashing, Li and König 2010)."""
    same = 0
    for k in range(signatures.shape[1]):
        same += signatures[a, k] == signatures[b, k]
    chance = 1.0 / 256.0
    return max((same / signatures.shape[1] - chance) / (1.0 - chance), 0.0)


@cached
def leaders(
    members: Any, firsts: Any, signatures: Any, threshold: float, most: int, leader: Any, likeness: Any
) -> None:
    """Divide groups around leaders: who is like an earlier leader of the group follows it, else leads.

    Args:
        members: the members of all groups, group after group, best first, int64.
        firsts: where each group begins in `members`, and the end, int64.
        signatures: (all, permutations) uint8.
        threshold: similarity from which one follows.
        most: leaders of one group that are compared with; bounds the work where thousands share a band.
        leader: for each place in `members` the leader, itself for one that leads, int64, filled.
        likeness: the estimated similarity to it, float32, filled.
    """
    chosen = np.empty(most, np.int64)
    for g in range(len(firsts) - 1):
        led = 0
        for place in range(firsts[g], firsts[g + 1]):
            member = members[place]
            leader[place], likeness[place] = member, 1.0
            for i in range(led):
                alike = agreement(signatures, chosen[i], member)
                if alike >= threshold:
                    leader[place], likeness[place] = chosen[i], alike
                    break
            if leader[place] == member and led < most:
                chosen[led] = member
                led += 1


@cached
def join(parents: Any, left: Any, right: Any) -> None:
    """Union-find over pairs: the smaller root becomes the parent (path halving; Tarjan and van Leeuwen 1984)."""
    for i in range(len(left)):
        a, b = left[i], right[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        else:
            parents[a] = b


@cached
def roots(parents: Any) -> None:
    """Replace every parent by its root; parents are never larger than their children."""
    for i in range(len(parents)):
        parents[i] = parents[parents[i]]
