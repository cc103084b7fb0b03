"""Precision and recall of the detectors of personal data on labelled texts, by type, with every miss.

    python benchmarks/personal_data.py [FOLDER] [--details]
    python benchmarks/personal_data.py --unlabelled FILE | FOLDER | python_docs

FOLDER holds .json files in the format of presidio-research; default: presidio-pii below ZEN_SHARED_DATA. With
--unlabelled every place that would be replaced in a text is listed, with their number per million words (a character
that stands alone, as in Chinese, is a word), so that one can see which of them are none.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from pathlib import Path

from cleaning import read_texts

from zen_pipeline.corpus.cleaning.personal import DETECTORS, find_personal
from zen_pipeline.corpus.cleaning.personal_eval import Score, evaluate

WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data")) / "presidio-pii"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--details", action="store_true", help="list findings without a label, too")
    parser.add_argument("--unlabelled", metavar="TEXT", help="as in benchmarks/cleaning.py")
    args = parser.parse_args()
    if args.unlabelled:
        print_findings(args.unlabelled)
        return
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


def print_findings(name: str) -> None:
    texts = read_texts(name)
    words = sum(len(WORD.findall(text)) for text in texts)
    found = [(text, finding) for text in texts for finding in find_personal(text, DETECTORS)]
    counts = dict(Counter(finding.type for _, finding in found))
    print(f"{words:,} words, {len(found)} replacements, {1e6 * len(found) / words:.1f} per million words: {counts}")
    for text, (start, end, kind) in found:
        print(f"  {kind} {text[max(start - 30, 0) : start]!r} {text[start:end]!r}")


def print_list(name: str, kind: str, score: Score, details: bool) -> None:
    if score.missed:
        print(f"\nmissed, {name}, {kind}:")
        print("\n".join(f"  {before!r} {value!r}" for before, value in score.missed))
    if details and score.wrong:
        print(f"\nnot labelled as such, {name}, {kind}:")
        print("\n".join(f"  {before!r} {value!r} ({labels})" for before, value, labels in score.wrong))


if __name__ == "__main__":
    main()
