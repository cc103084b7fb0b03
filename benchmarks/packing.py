"""How much text two ways of cutting training windows leave out, and how many documents they cut.

    python benchmarks/packing.py DATA... [--vocab-size 16384] [--contexts 256 1024 2048]

Every way gets the same documents, encoded once, and goes through them once.

- `stream`: ours. Documents one after the other, cut into windows of T + 1 tokens that overlap in one.
- `best fit`: nanochat's loader. Each row of T + 1 tokens begins with a document; the longest of 1,000 waiting documents
  that fits is put in, again and again; when none fits, the shortest is cropped to the room, and its rest thrown away.
"""

from __future__ import annotations

import argparse
import bisect
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import Record
from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.training.data import TokenWindows
from zen_pipeline.training.job import TokenData

BUFFER = 1000


class Cut(NamedTuple):
    """What one way of packing does in one epoch."""

    tokens: int
    left_out: int
    documents: int
    documents_cut: int
    lose_text: int


def stream(folder: str, lengths: np.ndarray, context: int) -> Cut:
    """Our own windows, as training asks for them: which targets does the first epoch hold?"""
    data = TokenData(folder=folder, validation_windows=1)
    windows = TokenWindows(data, context=context, batch=1, seed=0, micro=1)
    targets = windows.epoch_targets(0)
    first, last = targets.start, targets.stop - 1
    ends = np.cumsum(lengths)
    starts = ends - lengths  # of the start token, which is no text
    edges = np.arange(first, last + 1, context)
    inside = np.searchsorted(edges, ends - 1, side="right") - np.searchsorted(edges, starts, side="right")
    lose = (starts < first - 1) | (ends - 1 > last)
    # The very first token of the stream is nobody's target in any way of packing.
    left_out = int(ends[-1]) - 1 - len(targets)
    return Cut(int(ends[-1]), left_out, len(lengths), int(((inside > 0) | lose).sum()), int(lose.sum()))


def best_fit(lengths: np.ndarray, context: int) -> Cut:
    """Rows of `context` + 1 tokens filled with whole documents as far as they fit."""
    waiting: list[int] = []  # lengths, sorted
    coming = iter(lengths.tolist())
    left_out = cut = 0
    while True:
        room = context + 1
        while room:
            while len(waiting) < BUFFER and (length := next(coming, None)) is not None:
                bisect.insort(waiting, length)
            if not waiting:
                # The last row stays short: it is not counted, for there would be a next epoch.
                return Cut(int(lengths.sum()), left_out, len(lengths), cut, cut)
            place = bisect.bisect_right(waiting, room) - 1
            if place >= 0:
                length = waiting.pop(place)
            else:
                length = waiting.pop(0)
                left_out += length - room
                cut += 1
            room -= min(length, room)


def documents(paths: list[str], *, paragraphs: bool) -> Iterator[str]:
    """The texts of the files' records, as collection reads them, or each paragraph by itself."""
    for entry in FilesReader(Shape("text", None, {}), "auto").read(find_files(paths).files):
        if isinstance(entry, Record):
            yield from (p for p in entry.text.split("\n") if p.strip()) if paragraphs else (entry.text,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--vocab-size", type=int, default=16_384)
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 1024, 2048])
    arguments = parser.parse_args()

    tokenizer = train_tokenizer(documents(arguments.data, paragraphs=False), arguments.vocab_size)
    print("| documents | context | way | tokens left out | documents cut | documents that lose text |")
    print("|---|---|---|---|---|---|")
    for paragraphs in (False, True):
        with TemporaryDirectory() as folder:
            texts = list(documents(arguments.data, paragraphs=paragraphs))
            counts = {
                s: write_split(Path(folder), s, t, tokenizer) for s, t in (("train", texts), ("valid", texts[:1]))
            }
            write_index(Path(folder), tokenizer, counts)
            lengths = np.diff(np.load(Path(folder, "train.offsets.npy")))
            name = (
                f"{len(texts):,} {'paragraphs' if paragraphs else 'records'}, median {int(np.median(lengths))} tokens"
            )
            for context in arguments.contexts:
                for way, cut in (
                    ("stream", stream(folder, lengths, context)),
                    ("best fit", best_fit(lengths, context)),
                ):
                    shares = f"{cut.documents_cut / cut.documents:.1%} | {cut.lose_text / cut.documents:.1%}"
                    print(f"| {name} | {context} | {way} | {cut.left_out / cut.tokens:.2%} | {shares} |")


if __name__ == "__main__":
    main()
