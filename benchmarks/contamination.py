"""Leaks that were planted into WikiText-2: how many are found with its test set declared as evaluation data.

    python benchmarks/contamination.py --data shared/data/wikitext-2

100 leaks of each kind join the paragraphs of the training file: whole paragraphs of the test file, and sentences of
20 words of it in the middle of a training paragraph; each as it is, and in capitals with doubled spaces. What else is
set aside is WikiText repeating itself.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

import numpy as np

KINDS = ("paragraph", "paragraph in capitals", "sentence", "sentence in capitals")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with train.txt, valid.txt, test.txt")
    parser.add_argument("overrides", nargs="*", help="settings, such as validate.contamination.max_overlap=0.1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        leaks, originals = plant(arguments.data, Path(folder) / "data", each=100)
        found = contaminated(Path(folder), arguments.data / "test.txt", arguments.overrides)
    print("| leak | planted | found |\n|---|---|---|")
    for kind, numbers in leaks.items():
        print(f"| {kind} | {len(numbers)} | {len(numbers & found)} |")
    others = len(found - set().union(*leaks.values()))
    print(f"| none: paragraphs of the training file | {originals:,} | {others} ({others / originals:.2%}) |")


def plant(source: Path, folder: Path, *, each: int, most: int | None = None) -> tuple[dict[str, set[int]], int]:
    """Write train.jsonl with leaks at its end, valid.jsonl and test.jsonl.

    Returns:
        for each kind of leak the numbers of its lines in train.jsonl, and how many lines before are no leaks.
    """
    everything, held_out = paragraphs(source / "train.txt"), paragraphs(source / "test.txt")
    hosts, training = everything[: 2 * each], everything[2 * each :][:most]
    random = np.random.Generator(np.random.PCG64(3))
    chosen = [held_out[n] for n in random.choice(len(held_out), 4 * each, replace=False)]
    whole, quoted = chosen[: 2 * each], [inside(h, t) for h, t in zip(hosts, chosen[2 * each :], strict=True)]
    planted = [*whole[:each], *map(capitals, whole[each:]), *quoted[:each], *map(capitals, quoted[each:])]
    valid = paragraphs(source / "valid.txt")
    folder.mkdir()
    for name, texts in {"train": [*training, *planted], "valid": valid[:100], "test": valid[100:200]}.items():
        lines = (json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    first = len(training) + 1
    numbers = {kind: set(range(first + n * each, first + (n + 1) * each)) for n, kind in enumerate(KINDS)}
    return numbers, len(training)


def contaminated(folder: Path, evaluation_data: Path, overrides: list[str]) -> set[int]:
    """The lines of train.jsonl that validation takes for contaminated."""
    from zen_pipeline.config import load_config
    from zen_pipeline.corpus.records import read_columns
    from zen_pipeline.pipeline.stage import StageContext
    from zen_pipeline.stages import collect, validate
    from zen_pipeline.workspace import Workspace

    workspace = Workspace(folder / ".zen")
    workspace.home.mkdir()
    context = StageContext(workspace=workspace, run_id="benchmark")
    settings = (f"validate.evaluation_data=[{evaluation_data}]", *overrides)
    config = load_config(data=[str(folder / "data")], overrides=settings)
    ref = validate.STAGE.run(config, {"collect": collect.STAGE.run(config, {}, context)}, context)
    rows = (
        row
        for columns in read_columns(ref.path / "set_aside.parquet", "id", "reason")
        for row in zip(*columns, strict=True)
    )
    return {int(name.rsplit("#", 1)[1]) for name, reason in rows if reason.startswith("contaminated")}


def paragraphs(path: Path) -> list[str]:
    """The paragraphs of at least 40 words."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    return [line for line in lines if len(re.findall(r"\w+", line)) >= 40]


def inside(host: str, text: str) -> str:
    """The first 20 words of a text in the middle of another; WikiText's single punctuation marks are no words."""
    words, host_words = text.split(), host.split()
    counted = np.cumsum([bool(re.search(r"\w", word)) for word in words])
    sentence = words[: int(np.searchsorted(counted, 20)) + 1]
    middle = len(host_words) // 2
    return " ".join([*host_words[:middle], *sentence, *host_words[middle:]])


def capitals(text: str) -> str:
    return text.upper().replace(" ", "  ")


if __name__ == "__main__":
    main()
