"""Precision and recall of the detectors of personal data on labelled texts, by type, with every miss.

    python benchmarks/personal_data.py [FOLDER] [--details]

FOLDER holds .json files in the format of presidio-research; default: presidio-pii below ZEN_SHARED_DATA.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from zen_pipeline.corpus.cleaning.personal_eval import Score, evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data")) / "presidio-pii"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--details", action="store_true", help="list findings without a label, too")
    args = parser.parse_args()
    results = {path.name: evaluate(path) for path in sorted(args.folder.glob("*.json"))}
    print("| file | type | labelled | recall | exact | findings | precision |")
    print("|---|---|---|---|---|---|---|")
    for name, scores in results.items():
        for kind, score in scores.items():
            exact = score.exact / score.labelled if score.labelled else 1.0
            print(
                f"| {name} | {kind} | {score.labelled} | {score.recall:.3f} | {exact:.3f} "
                f"| {score.findings} | {score.precision:.3f} |"
            )
    for name, scores in results.items():
        for kind, score in scores.items():
            print_list(name, kind, score, args.details)


def print_list(name: str, kind: str, score: Score, details: bool) -> None:
    if score.missed:
        print(f"\nmissed, {name}, {kind}:")
        print("\n".join(f"  {before!r} {value!r}" for before, value in score.missed))
    if details and score.wrong:
        print(f"\nnot labelled as such, {name}, {kind}:")
        print("\n".join(f"  {before!r} {value!r} ({labels})" for before, value, labels in score.wrong))


if __name__ == "__main__":
    main()
