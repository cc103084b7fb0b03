"""A count that was killed goes on behind its last run; one that ended is taken; neither is mistaken for another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.zen_command import ROOT
from zen_pipeline.embeddings.cooccurrence import Cooccurrences, count_cooccurrences, discard_counts
from zen_pipeline.embeddings.words import WordCorpus

WINDOW = 10


def long_corpus() -> WordCorpus:
    """Words in equal shares, so that there are many different pairs."""
    words, documents = 4000, 300
    ids = np.random.default_rng(0).integers(0, words, documents * 2000).astype(np.int32)
    offsets = np.arange(documents + 1) * 2000
    names = [f"w{n}" for n in range(words)]
    return WordCorpus(names, np.bincount(ids, minlength=words), ids, offsets, len(ids))


@pytest.fixture(scope="module")
def whole() -> Cooccurrences:
    return count_cooccurrences(long_corpus(), WINDOW)


COUNT = """
import sys
from pathlib import Path
from tests.embeddings.test_cooccurrence import WINDOW, count_cooccurrences, long_corpus
count_cooccurrences(long_corpus(), WINDOW, memory=1 << 22, folder=Path(sys.argv[1]))
"""


def killed(folder: Path) -> int:
    """Kill a process that counts in the folder once it has written some runs; returns how many."""
    manifest = folder / "cooccurrences" / "counted.json"
    process = subprocess.Popen([sys.executable, "-c", COUNT, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while process.poll() is None and not (manifest.exists() and json.loads(manifest.read_text())["number"] > 2):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    told = json.loads(manifest.read_text())
    assert (0, 0) < (told["document"], told["position"]) < (300, 600_000)
    return int(told["number"])


def same(first: Cooccurrences, second: Cooccurrences) -> bool:
    return np.array_equal(first.keys, second.keys) and np.array_equal(first.counts, second.counts)


def test_a_killed_count_goes_on_behind_its_last_run(tmp_path: Path, whole: Cooccurrences) -> None:
    runs = killed(tmp_path)
    resumed = count_cooccurrences(long_corpus(), WINDOW, folder=tmp_path)
    assert resumed.runs == runs + 1, "with so much memory the rest is one run, and the whole would be"
    assert whole.runs == 1
    assert same(resumed, whole)

    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cooccurrences").iterdir()}
    assert sorted(name.split("-")[0] for name in kept) == ["counted.json", "merged", "merged"]
    taken = count_cooccurrences(long_corpus(), WINDOW, folder=tmp_path)
    assert same(taken, whole)
    assert kept == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cooccurrences").iterdir()}
    discard_counts(tmp_path)
    assert not list(tmp_path.iterdir())
    assert same(taken, whole)  # what was mapped is still there


def test_what_was_counted_of_another_window_or_is_damaged_is_not_used(tmp_path: Path, whole: Cooccurrences) -> None:
    few = count_cooccurrences(long_corpus(), 1, memory=1 << 22, folder=tmp_path)
    assert few.runs > 1
    assert same(count_cooccurrences(long_corpus(), WINDOW, folder=tmp_path), whole)

    count_cooccurrences(long_corpus(), 1, memory=1 << 22, folder=tmp_path)
    [keys] = (tmp_path / "cooccurrences").glob("merged-*.keys")
    os.truncate(keys, 80)
    again = count_cooccurrences(long_corpus(), 1, memory=1 << 22, folder=tmp_path)
    assert same(again, few)
