"""Start several runs at once in one new folder, again and again: each must end well, and nothing may be left over.

    python benchmarks/crowd.py --at-once 4 --rounds 20

They meet where the databases are made, where a stage is built that another one wants too, and where both log to MLflow.
`--command collect` runs one stage instead of the whole chain. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.workspace import Workspace

SETTINGS = """\
name: tiny
collect: {sources: [{type: files, paths: [a.txt]}]}
tokenize: {vocab_size: 300}
embed: {dimensions: 16, epochs: 1, min_count: 1, next_token_steps: 2}
pretrain:
  model: {hidden_size: 32, layers: 2, heads: 2, context_length: 32}
  steps: 4
  batch_tokens: 128
  micro_batch: 4
  precision: fp32
evaluate: {max_test_tokens: 1000, max_questions: 2, samples: 1, sample_tokens: 4}
"""
WAIT_SECONDS = 1800.0


def crowd(folder: Path, at_once: int, command: str) -> list[str]:
    """Run the command several times at once in a new folder; what was wrong, in words."""
    folder.mkdir()
    (folder / "zen.yaml").write_text(SETTINGS)
    paragraphs = (f"Paragraph {n} says that {n} times {n} is {n * n}, and that nothing else is so." for n in range(400))
    (folder / "a.txt").write_text("\n\n".join(paragraphs))
    environment = {k: v for k, v in python_environment().items() if k not in ("ZEN_HOME", "PREFECT_API_URL")}
    runs = [
        subprocess.Popen(
            python_command("-m", "zen_pipeline", command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(at_once)
    ]
    wrong = []
    for number, run in enumerate(runs):
        _, said = run.communicate(timeout=WAIT_SECONDS)
        if run.returncode or "Traceback" in said or "did not take" in said:
            wrong.append(f"run {number} ended with {run.returncode}: {said[-2000:]}")
    records = Workspace(folder / ".zen").runs()
    built = [stage.step for record in records for stage in record.stages if stage.status == "ran"]
    wrong += [f"{name} was built {built.count(name)} times" for name in sorted(set(built)) if built.count(name) > 1]
    if sorted(record.status for record in records) != ["completed"] * at_once:
        wrong.append(f"the records say {[record.status for record in records]}")
    return wrong


def main() -> int:
    """Run all rounds and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--command", default="run")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            began = time.monotonic()
            wrong = crowd(Path(scratch) / str(number), options.at_once, options.command)
            failed += bool(wrong)
            print(f"round {number + 1}: {'; '.join(wrong) or 'well'} ({time.monotonic() - began:.0f} s)", flush=True)
    print(
        f"{options.rounds - failed} of {options.rounds} rounds of {options.at_once} `zen {options.command}` ended well"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
