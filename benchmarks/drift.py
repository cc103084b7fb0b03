"""How far parts of one corpus are apart: what the thresholds of the suite `drift` are compared with.

python benchmarks/drift.py .zen/store/validate/FINGERPRINT/records.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zen_pipeline.corpus.profile.drift import (
    drift_frame,
    jensen_shannon_distance,
    population_stability_index,
    stability_noise,
)
from zen_pipeline.corpus.profile.profile import Profile
from zen_pipeline.corpus.records import Record, read_records

INDEXED = ("length", "language", "source")


def profile(records: Sequence[Record]) -> Profile:
    """The profile of some records."""
    made = Profile()
    for record in records:
        made.add(record)
    return made


def row(name: str, before: Sequence[Record], now: Sequence[Record]) -> str:
    """One line of the table: an index with what chance gives for each distribution, the distance of the words."""
    frame = drift_frame(profile(before), profile(now))
    counts = {n: (f["before"].to_numpy(float), f["now"].to_numpy(float)) for n, f in frame.groupby("distribution")}
    cells = [f"{population_stability_index(*counts[n]):.3f} ({stability_noise(*counts[n]):.3f})" for n in INDEXED]
    return f"| {name} | {' | '.join(cells)} | {jensen_shannon_distance(*counts['vocabulary']):.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    records = list(read_records(arguments.records))
    order = np.random.default_rng(arguments.seed).permutation(len(records))
    half = len(records) // 2
    print(f"| compared | {' | '.join(INDEXED)} | vocabulary |\n|---|---|---|---|---|")
    print(row("random halves", [records[i] for i in order[:half]], [records[i] for i in order[half:]]))
    for count in (500, 100):
        one, other = order[:count], order[count : 2 * count]
        print(row(f"random {count} and {count}", [records[i] for i in one], [records[i] for i in other]))
    print(row("all and all but every tenth", records, [r for i, r in enumerate(records) if i % 10]))
    print(row("first and second half", records[:half], records[half:]))


if __name__ == "__main__":
    main()
