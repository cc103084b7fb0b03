"""How much memory and time collecting and validating a large corpus takes.

    python benchmarks/data_memory.py --text shared/data/wikitext-2/train.txt --megabytes 200
    python benchmarks/data_memory.py --text shared/data/wikitext-2/train.txt --records 2000000

The corpus is made of words drawn from the given text, always the same ones: `--megabytes` makes records of 2,000 to
4,000 characters, of which 1 % are copies and 2 % are copies with one word changed; `--records` makes that many of about
60 characters. It is written to a temporary folder and removed. The stages run in a process of their own; what counts is
the largest sum of the resident memory of that process and its workers, so pages that they share count more than once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

_SAMPLE_SECONDS = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text whose words are used")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--megabytes", type=int, help="size of a corpus of ordinary records")
    size.add_argument("--records", type=int, help="number of tiny records")
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)  # the process that is measured
    parser.add_argument("overrides", nargs="*", help="settings, such as validate.workers=2")
    arguments = parser.parse_args()
    if arguments.stages:
        _run_stages(arguments.stages, arguments.overrides)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        words = np.array(arguments.text.read_text(encoding="utf-8").split(), object)
        data = home / "data" / "corpus.jsonl"
        data.parent.mkdir()
        lines = _tiny(words, arguments.records) if arguments.records else _ordinary(words, arguments.megabytes)
        with data.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        command = [sys.executable, __file__, "--stages", str(home), *arguments.overrides]
        print(json.dumps({"corpus_mb": round(data.stat().st_size / 1e6, 1), **_measured(command)}, indent=1))


def _ordinary(words: np.ndarray, megabytes: int) -> Iterator[str]:
    """Lines of JSON with texts of 300 to 600 words, until the size is reached."""
    random = np.random.Generator(np.random.PCG64(1))
    written, number = 0, 0
    before = words[:300]
    while written < megabytes * 1_000_000:
        number += 1
        if number % 100 == 0:
            chosen = before
        elif number % 50 == 1:
            chosen = before.copy()
            chosen[len(chosen) // 2] = "changed"
        else:
            chosen = words[random.integers(0, len(words), random.integers(300, 600))]
        before = chosen
        line = json.dumps({"text": " ".join(chosen)}, ensure_ascii=False) + "\n"
        written += len(line.encode())
        yield line


def _tiny(words: np.ndarray, records: int) -> Iterator[str]:
    """Lines of JSON with texts of 12 words."""
    random = np.random.Generator(np.random.PCG64(1))
    for _ in range(0, records, 10_000):
        for chosen in words[random.integers(0, len(words), (min(records, 10_000), 12))]:
            yield json.dumps({"text": " ".join(chosen)}, ensure_ascii=False) + "\n"


def _measured(command: list[str]) -> dict[str, object]:
    """What the process printed as JSON, and its largest memory in each stage, in MB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        process = psutil.Process(child.pid)
        os_peak: list[tuple[float, int]] = []
        while child.poll() is None:
            os_peak.append((time.time(), _resident(process)))
            time.sleep(_SAMPLE_SECONDS)
        assert child.stdout is not None
        printed = child.stdout.read()
    if child.returncode:
        sys.exit(f"the measured process ended with {child.returncode}")
    stages = json.loads(printed.splitlines()[-1])
    for stage in stages.values():
        inside = [memory for when, memory in os_peak if stage["start"] <= when <= stage["end"]]
        stage["peak_mb"] = round(max(inside, default=0) / 1e6)
        stage["seconds"] = round(stage.pop("end") - stage.pop("start"), 1)
    return {"stages": stages, "peak_mb": round(max(memory for _, memory in os_peak) / 1e6)}


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def _run_stages(home: Path, overrides: list[str]) -> None:
    """Collect and validate; the last line of what is printed says when each began and ended, and what came out."""
    from zen_pipeline.config import load_config
    from zen_pipeline.pipeline.stage import StageContext
    from zen_pipeline.stages import collect, validate
    from zen_pipeline.workspace import Workspace

    workspace = Workspace(home / ".zen")
    workspace.home.mkdir()
    context = StageContext(workspace=workspace, run_id="benchmark")
    config = load_config(data=[str(home / "data")], overrides=tuple(overrides))
    refs, found = {}, {}
    for stage in (collect, validate):
        start = time.time()
        refs[stage.STAGE.name] = ref = stage.STAGE.run(config, refs, context)
        counted = {k: v for k, v in ref.summary.items() if k in ("records", "set_aside", "reasons", "aside")}
        found[stage.STAGE.name] = {"start": start, "end": time.time(), **counted}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
