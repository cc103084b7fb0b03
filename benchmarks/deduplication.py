"""Near duplicates that were planted: how many are found, how many of those found are near, how fast, beside datasketch.

    python benchmarks/deduplication.py --text shared/data/wikitext-2/train.txt

Every paragraph of at least 40 words is an original; a quarter of them get a copy in which 1, 5 or 10 % of the words,
at random places, are other words of the text (at least one). A copy is found when validation would set it aside. What
is near, and so what recall and precision are measured against, is the exact Jaccard similarity of the sets of shingles,
made here with a regular expression. datasketch gets the same shingles, as many permutations, and chooses its bands.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from zen_pipeline.corpus.duplicates.exact import exact_duplicates, text_keys
from zen_pipeline.corpus.duplicates.minhash import MinHash, SignatureFiles
from zen_pipeline.corpus.duplicates.normal_form import Texts, normal_form
from zen_pipeline.settings.data import NearDuplicatesConfig

EDITS = (0.01, 0.05, 0.10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.8])
    parser.add_argument("--shingles", type=int, nargs="+", default=[5])
    parser.add_argument("--datasketch", action="store_true", help="run it too; it takes a minute")
    arguments = parser.parse_args()
    originals = [p for p in arguments.text.read_text(encoding="utf-8").split("\n") if len(p.split()) >= 40]
    copies, sources, edits = plant(originals)
    texts = [normal_form(text) for text in (*originals, *copies)]
    first = len(originals)
    megabytes = sum(len(t.encode()) for t in texts) / 1e6
    print(f"{len(originals):,} paragraphs and {len(copies):,} edited copies, {megabytes:.1f} MB")
    print(f"exact duplicates, from the text on: {megabytes / exact_seconds([*originals, *copies]):.0f} MB/s\n")
    print("| | shingle | threshold | edited words | copies | exactly as near | of these found | of all found | MB/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shingle in arguments.shingles:
        sets = [shingles(text, shingle) for text in texts]
        exact = np.array([jaccard(sets[first + n], sets[source]) for n, source in enumerate(sources)])
        for threshold in arguments.thresholds:
            ways = {"ours": ours} | ({"datasketch": datasketch} if arguments.datasketch else {})
            for name, find in ways.items():
                found, seconds = find(texts, sets, shingle, threshold)
                _print_rows(name, shingle, threshold, edits, exact, found, sources, first, megabytes / seconds)
                _print_precision(name, found, sets, threshold)


def plant(originals: list[str]) -> tuple[list[str], list[int], np.ndarray]:
    """Edited copies, the originals that they come from, and the share of words that was changed."""
    random = np.random.Generator(np.random.PCG64(7))
    vocabulary = sorted({word for text in originals for word in text.split()})
    sources = sorted(random.choice(len(originals), len(originals) // 4, replace=False).tolist())
    edits = random.choice(EDITS, len(sources))
    copies = []
    for source, share in zip(sources, edits, strict=True):
        words = originals[source].split()
        count = max(1, round(share * len(words)))
        for place in random.choice(len(words), count, replace=False):
            words[place] = vocabulary[random.integers(len(vocabulary))]
        copies.append(" ".join(words))
    return copies, sources, edits


def exact_seconds(texts: list[str]) -> float:
    """What it takes to find those that are equal; there are none."""
    began = time.perf_counter()
    keys = text_keys(Texts.of([normal_form(text) for text in texts]))
    exact_duplicates(list(keys), np.arange(len(texts)))
    return time.perf_counter() - began


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    """Runs of words, a word being letters, marks and digits: what `corpus.units` takes apart, here with a regex."""
    import re

    words = re.findall(r"[^\W_]+", text)
    return {tuple(words[n : n + size]) for n in range(len(words) - size + 1)}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / max(len(a | b), 1)


def ours(texts: list[str], _sets: object, shingle: int, threshold: float) -> tuple[dict[int, int], float]:
    """Who is set aside for whom, and the seconds for everything from the text on."""
    minhash = MinHash(NearDuplicatesConfig(threshold=threshold, shingle=shingle))
    minhash.sign(Texts.of(texts[:2]))  # compiles
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with SignatureFiles(Path(folder), minhash) as files:
            files.add(minhash.sign(Texts.of(texts)), 0)
        alike = files.find(np.ones(len(texts), bool), np.zeros(len(texts), np.int8))
        seconds = time.perf_counter() - began
    return dict(zip(alike.rows.tolist(), alike.originals.tolist(), strict=True)), seconds


def datasketch(
    _texts: list[str], sets: list[set[tuple[str, ...]]], _shingle: int, threshold: float
) -> tuple[dict[int, int], float]:
    """The same with datasketch: who is like an earlier one is set aside; making the shingles is not timed."""
    from datasketch import MinHash as Sketch
    from datasketch import MinHashLSH

    encoded = [[" ".join(s).encode() for s in one] for one in sets]
    began = time.perf_counter()
    index = MinHashLSH(threshold=threshold, num_perm=128)
    found: dict[int, int] = {}
    sketches = Sketch.generator(encoded, num_perm=128)
    for number, sketch in enumerate(sketches):
        if earlier := index.query(sketch):
            found[number] = min(earlier)
        else:
            index.insert(number, sketch)
    return found, time.perf_counter() - began


def _print_rows(
    name: str, shingle: int, threshold: float, edits: np.ndarray, exact: np.ndarray, found: dict[int, int],
    sources: list[int], first: int, speed: float,
) -> None:  # fmt: skip
    caught = np.array([first + n in found for n in range(len(sources))])
    for share in EDITS:
        mine = edits == share
        near = mine & (exact >= threshold)
        recall = f"{caught[near].mean():.3f}" if near.any() else "—"
        print(
            f"| {name} | {shingle} | {threshold} | {share:.0%} | {mine.sum():,} | {near.sum():,} | {recall} "
            f"| {caught[mine].mean():.3f} | {speed:.1f} |"
        )


def _print_precision(name: str, found: dict[int, int], sets: list[set[tuple[str, ...]]], threshold: float) -> None:
    near = [jaccard(sets[a], sets[b]) for a, b in found.items()]
    right = sum(value >= threshold for value in near)
    close = sum(value >= threshold - 0.1 for value in near)
    print(
        f"| {name} | | {threshold} | precision | {len(near):,} set aside | {right:,} are as near "
        f"| {right / max(len(near), 1):.3f} | {close / max(len(near), 1):.3f} within 0.1 | |"
    )


if __name__ == "__main__":
    main()
