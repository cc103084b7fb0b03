"""Kill `zen run` again and again in every stage and at its start, start it again, and compare with an undisturbed run.

    python benchmarks/kill.py --kills 50 --seed 0 & python benchmarks/kill.py --kills 50 --seed 1

Each command keeps one core busy: that of its seed's number. The code must not change meanwhile.

One round is one new project: a kill at a random instant of the start, then one in each step, each followed by the same
command again; at its end nothing may be left over and every weight, token and vector must be that of the undisturbed
run. Who is killed changes in turn: `zen` alone, one of the processes that it started (the training process where there
is one), or the whole tree. With `--signal TERM` or `INT`, `zen` must also end by itself and without a traceback. Exit
code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from zen_pipeline.config import Config
from zen_pipeline.pipeline.chain import all_steps
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.workspace import Workspace

SETTINGS = """\
name: tiny
collect: {sources: [{type: files, paths: [texts]}]}
tokenize: {vocab_size: 512}
embed: {dimensions: 16, epochs: 1, next_token_steps: 4}
pretrain:
  model: {hidden_size: 32, layers: 2, heads: 2, context_length: 64}
  steps: 60
  batch_tokens: 512
  micro_batch: 8
  precision: fp32
finetune: {steps: 20, batch_size: 8}
evaluate: {max_test_tokens: 3000, max_questions: 4, samples: 1, sample_tokens: 10}
"""
STEPS = tuple(step.name for step in all_steps(Config()))  # the settings choose no other family
START, END = "start", "end of the round"
VICTIMS = ("zen", "child", "tree")
COMPARED = (".safetensors", ".npy", ".npz", ".bin", "tokenizer.json")
MARK = "ZEN_KILL_FOLDER"  # in the environment of all that a round has started
STOP_SECONDS = 60.0


class Kill(NamedTuple):
    """One kill: when, who, seconds after that began, and what was wrong afterwards."""

    aim: str
    victim: str
    seconds: float
    wrong: str


@dataclass
class Project:
    """One folder with a `zen.yaml`, its text, and what is run in it, on one core.

    With one core there is one way to train: with more the measured speeds decide, and other threads are other bits.
    """

    folder: Path
    core: int

    def prepare(self, texts: Path) -> None:
        self.folder.mkdir()
        (self.folder / "zen.yaml").write_text(SETTINGS)
        shutil.copytree(texts, self.folder / "texts")

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / ".zen")

    def start(self) -> Run:
        environment = {k: v for k, v in python_environment().items() if k not in ("ZEN_HOME", "PREFECT_API_URL")}
        process = subprocess.Popen(
            python_command("-m", "zen_pipeline", "run"),
            cwd=self.folder,
            env={**environment, MARK: str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        psutil.Process(process.pid).cpu_affinity([self.core])
        return Run(process)

    def processes(self) -> list[psutil.Process]:
        """The living processes that a run here has started, orphans included."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE
        return False

    def contents(self) -> dict[str, str]:
        """SHA-256 of every file that another run must make bit for bit, by stage and name."""
        return {
            f"{folder.parent.name}/{path.relative_to(folder)}": hashlib.sha256(path.read_bytes()).hexdigest()
            for folder, _ in self.workspace.store.manifests()
            for path in sorted(folder.rglob("*"))
            if path.name.endswith(COMPARED)
        }

    def leftovers(self) -> list[str]:
        """What a run that ended well should not have left."""
        home = self.workspace.home
        patterns = (".building-*", ".removing-*", "*.tmp", "*.lock", "*.holder.json", "damaged")
        ours = [p for p in home.rglob("*") if home / "prefect" not in p.parents]
        found = [str(p.relative_to(home)) for p in ours if any(p.match(pattern) for pattern in patterns)]
        found += [str(p.relative_to(home)) for p in (home / "work").glob("*")]
        found += [f"record {r.run_id} says running" for r in self.workspace.killed_runs()]
        with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
            rows = database.execute("SELECT name FROM runs WHERE status NOT IN ('FINISHED', 'FAILED', 'KILLED')")
            return found + [f"MLflow's run {name} is open" for (name,) in rows]


class Run:
    """One `zen run`, whose log is read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self.began: dict[str, float] = {}  # by step, when the log said so
        self.took: dict[str, float] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            for stage in STEPS:
                if line.rstrip().endswith(f"{stage}: started"):
                    self.began[stage] = time.monotonic()
                elif f" {stage}: " in line and stage in self.began and stage not in self.took:
                    self.took[stage] = time.monotonic() - self.began[stage]

    def wait_for(self, stage: str) -> bool:
        """Wait until a step begins; False when the run ends before."""
        while stage not in self.began:
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        return True

    def was_refused(self) -> bool:
        """It ended with an error that it explained, as one whose helper was killed may."""
        return self.process.poll() in (1, 2) and not any("Traceback" in line for line in self.log)

    def end(self, seconds: float) -> bool:
        """Wait for the end; whether it came in time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(5)
        return True


def hit(project: Project, run: Run, victim: str, number: signal.Signals) -> list[str]:
    """Send the signal and see to its consequences; what was wrong with them.

    When a child alone is hit, `zen` must go on: its run is not waited for.
    """
    tree = psutil.Process(run.process.pid).children(recursive=True)
    working = ("training.", "evaluation.decoding_speed")
    trained = [p for p in tree if any(name in " ".join(_command(p)) for name in working)]
    targets = {"zen": [], "child": trained[:1] or tree[:1], "tree": tree}[victim]
    for each in targets:
        with suppress(psutil.Error):
            each.send_signal(number)
    if victim == "child" and targets:
        return []
    run.process.send_signal(number)
    wrong = [] if run.end(STOP_SECONDS) else ["zen did not end"]
    _, alive = psutil.wait_procs(project.processes(), timeout=10)
    wrong += [f"left: {' '.join(_command(p))[-60:]}" for p in alive]
    for each in alive:
        with suppress(psutil.Error):
            each.kill()
    if any("Traceback" in line for line in run.log):
        wrong.append("a traceback: " + run.log[-1].strip())
    return wrong


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def round_of(
    project: Project, took: dict[str, float], whole: dict[str, str], draw: random.Random, first: int, signals: list[str]
) -> Iterator[Kill]:
    """Kill once at the start and once in each step, then run to the end and compare."""
    run, survived = project.start(), False
    for number, aim in enumerate((START, *STEPS), start=first):
        victim, name = VICTIMS[number % len(VICTIMS)], signals[number % len(signals)]
        delay = draw.uniform(0.0, took[aim])
        if run.process.poll() is not None:
            run = project.start()
        if aim != START and not run.wait_for(aim) and run.was_refused() and survived:
            run = project.start()
        survived = False
        if aim != START and not run.wait_for(aim):
            yield Kill(aim, "-", 0.0, f"ended with {run.process.returncode}: {''.join(run.log[-3:]).strip()}")
        elif not run.end(delay):
            survived = victim == "child"
            yield Kill(aim, victim, delay, "; ".join(hit(project, run, victim, signal.Signals[f"SIG{name}"])))
    run.end(900)
    if run.process.returncode != 0:  # that of the last kill
        run = project.start()
    wrong = [] if run.end(900) and run.process.returncode == 0 else ["".join(run.log[-3:]).strip()]
    if not wrong:
        found = project.contents()
        wrong = [f"other bits: {name}" for name in sorted(whole) if found.get(name) != whole[name]]
        wrong += [f"too much: {name}" for name in sorted(found.keys() - whole.keys())]
        wrong += project.leftovers()
    yield Kill(END, "", 0.0, "; ".join(wrong))


def undisturbed(project: Project) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of the start and of each step, and the contents."""
    began = time.monotonic()
    run = project.start()
    run.end(900)
    if run.process.returncode != 0:
        sys.exit(f"the undisturbed run failed:\n{''.join(run.log)}")
    if left := project.leftovers():
        sys.exit(f"the undisturbed run left: {left}")
    return {START: run.began[STEPS[0]] - began, **run.took}, project.contents()


def write_texts(folder: Path) -> None:
    """Documents, questions and conversations from the language reference that every Python has."""
    import json
    from pydoc_data.topics import topics

    folder.mkdir()
    names = sorted(topics)
    (folder / "reference.txt").write_text("\n\n".join(topics[name] for name in names)[:400_000])
    pairs = ({"question": f"What is said of {n}?", "answer": topics[n].strip().split("\n\n")[0][:300]} for n in names)
    (folder / "questions.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def main() -> None:
    """Run the kills, print a table, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=14, help="14 are one round")
    options.add_argument("--seed", type=int, default=0, help="of the instants")
    options.add_argument("--signal", nargs="+", default=["KILL"], choices=["KILL", "TERM", "INT"], help="in turn")
    given = options.parse_args()
    draw = random.Random(given.seed)
    cores = sorted(os.sched_getaffinity(0))
    core = cores[given.seed % len(cores)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    wrong = count = 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_texts(work / "texts")
        whole = Project(work / "whole", core)
        whole.prepare(work / "texts")
        took, contents = undisturbed(whole)
        print("| kill | in | of | after s | wrong |\n|---|---|---|---|---|", flush=True)
        while count < given.kills:
            project = Project(work / f"round-{count}", core)
            project.prepare(work / "texts")
            for each in round_of(project, took, contents, draw, count, given.signal):
                count += each.aim != END
                wrong += bool(each.wrong)
                shown = "" if each.aim == END else count
                print(f"| {shown} | {each.aim} | {each.victim} | {each.seconds:.2f} | {each.wrong} |", flush=True)
            shutil.rmtree(project.folder)
    print(f"\n{count} kills, {len(contents)} files compared after each round of them; {wrong or 'nothing'} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
