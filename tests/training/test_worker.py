"""Real training processes: killed, stopped, resumed, failing."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from zen_pipeline.errors import ConfigError, StoreError, TrainingError
from zen_pipeline.files import read_json_lines
from zen_pipeline.models.families import flops_per_token
from zen_pipeline.models.qwen3 import Qwen3Config
from zen_pipeline.tracking import mlflow_client
from zen_pipeline.training import launcher
from zen_pipeline.training.checkpoint import CheckpointFolder
from zen_pipeline.training.job import TrainingJob, TrainingResult
from zen_pipeline.training.launcher import child_environment, launch

MakeJob = Callable[..., TrainingJob]


@pytest.fixture(scope="session")
def undisturbed() -> dict[str, bytes]:
    """The final weights of jobs that nobody disturbed, not even to hear what they say, by identity."""
    return {}


def weights(folder: str | Path) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def reference(job: TrainingJob, work: Path, undisturbed: dict[str, bytes]) -> bytes:
    if job.identity not in undisturbed:
        changes = {"output": str(work / "whole"), "checkpoints": str(work / "whole-checkpoints"), "tokenizer": None}
        launch(job.model_copy(update=changes), work=work / "whole-work")
        undisturbed[job.identity] = weights(work / "whole")
    return undisturbed[job.identity]


def start(job: TrainingJob, work: Path) -> subprocess.Popen[str]:
    work.mkdir(exist_ok=True)
    job.save(work / "job.json")
    command = [sys.executable, "-m", "zen_pipeline.training.worker", str(work / "job.json"), str(work / "result.json")]
    with (work / "log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=child_environment(job.threads)
        )


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def disturb(process: subprocess.Popen[str], step: int, number: signal.Signals, said: list[str] | None = None) -> int:
    """Send the signal when the checkpoint of `step` is reported; the exit code. `said` is filled with the warnings."""
    with process:
        for event in events(process):
            if event["event"] == "warning" and said is not None:
                said.append(event["message"])
            if event["event"] == "checkpoint" and event["step"] >= step:
                process.send_signal(number)
                break
        process.communicate()
    return process.returncode


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.large)])
def test_killed_at_random_steps_it_ends_in_the_same_bits(
    kills: int, make_job: MakeJob, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    job = make_job()
    expected = reference(job, tmp_path, undisturbed)
    for step in sorted(random.Random(0).sample(range(1, 140), kills)):
        assert disturb(start(job, tmp_path / "work"), step, signal.SIGKILL) == -signal.SIGKILL
        assert not (tmp_path / "output").exists()
    result = launch(job, work=tmp_path / "work")
    assert weights(job.output) == expected
    assert len(result.resumed_from) >= 1
    assert result.steps == 150
    assert result.tokens == 150 * 4 * 64
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == list(range(1, 151))
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    sampled = {line["step"] for line in read_json_lines(tmp_path / "output" / "samples.jsonl")}
    assert {50} <= sampled <= {50, 100, 150}  # once for certain, then as time allows
    assert result.validation_bits_per_byte is not None


def test_sigterm_saves_the_step_it_is_in_and_the_next_start_goes_on(
    make_job: MakeJob, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    job = make_job()
    expected = reference(job, tmp_path, undisturbed)
    assert disturb(start(job, tmp_path / "work"), 5, signal.SIGTERM) == 143
    saved = sorted(int(path.stem.removeprefix("step-")) for path in Path(job.checkpoints).glob("step-*.json"))
    result = launch(job, work=tmp_path / "work")
    assert result.resumed_from == [saved[-1]]
    assert weights(job.output) == expected


@contextmanager
def tracker() -> Iterator[tuple[str, list[int]]]:
    """The address of a server that takes MLflow's metrics, and the steps whose losses have arrived."""
    steps: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # it is asked whether it is there
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            steps.extend(metric["step"] for metric in content["metrics"] if metric["key"] == "loss")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", steps
        server.shutdown()


def test_what_was_not_yet_logged_is_logged_when_training_is_stopped(make_job: MakeJob, tmp_path: Path) -> None:
    with tracker() as (address, logged):
        job = make_job(steps=100_000, validate_every=100_000, tracking_uri=address, tracking_run_id="1")
        assert disturb(start(job, tmp_path / "work"), 5, signal.SIGTERM) == 143
    history = read_json_lines(Path(job.checkpoints) / "history.jsonl")
    assert len(history) >= 5
    assert logged == [line["step"] for line in history]


# A worker that is asked to stop while it scores the held-out sequences.
STOPPED_IN_VALIDATION = """
import signal, sys
from zen_pipeline.training import module, worker

ordinary = module.target_losses

def interrupted(model, batch):
    signal.raise_signal(signal.SIGTERM)
    return ordinary(model, batch)

module.target_losses = interrupted
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.mark.large
def test_sigterm_in_the_last_validation_costs_neither_its_figures_nor_its_line(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(steps=4, validate_every=4, threads=1, workers=1, batch=2)
    job.save(tmp_path / "job.json")
    command = [sys.executable, "-c", STOPPED_IN_VALIDATION, str(tmp_path / "job.json"), str(tmp_path / "result.json")]
    stopped = subprocess.run(command, env=child_environment(1), capture_output=True, check=False)
    assert stopped.returncode == 143
    result = launch(job, work=tmp_path / "work")
    assert result.resumed_from == []
    assert result.validation_loss is not None
    lines = read_json_lines(Path(job.output) / "history.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["validation_loss"] == pytest.approx(result.validation_loss, rel=1e-4)


@pytest.mark.large
def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    make_job: MakeJob, tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job()
    expected = reference(job, tmp_path, undisturbed)
    disturb(start(job, tmp_path / "work"), 30, signal.SIGKILL)
    manifest = max(Path(job.checkpoints).glob("step-*.json"))
    content = manifest.read_bytes()
    place = content.index(b'"step":') + len(b'"step":')
    manifest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])  # another number
    said: list[str] = []
    disturb(start(job, tmp_path / "work"), 60, signal.SIGKILL, said)
    assert f"checkpoint {manifest.with_suffix('.ckpt')} is not used: {manifest.name} is damaged" in said
    newest = max(Path(job.checkpoints).glob("step-*.json")).with_suffix(".ckpt")
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level("WARNING"):
        result = launch(job, work=tmp_path / "work")
    assert weights(job.output) == expected
    assert result.resumed_from[-1] < int(newest.stem.removeprefix("step-"))
    assert f"checkpoint {newest} is not used" in caplog.text


def test_the_model_folder_is_whole_and_a_finished_training_is_not_done_again(make_job: MakeJob, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    job = make_job(steps=3, precision="fp32", threads=1, peak_flops=1e11)
    result = launch(job, work=tmp_path / "work")
    output = Path(job.output)
    assert TrainingResult.model_validate_json((output / "training.json").read_bytes()) == result
    assert result.flops == 3 * 4 * 64 * flops_per_token(Qwen3Config.model_validate(job.model), 64)
    assert result.mfu == pytest.approx(result.flops / result.seconds / 1e11, rel=0.05)  # rounded
    assert result.energy_joules > 0
    assert result.energy_source
    assert result.checkpoint_seconds > 0
    last = read_json_lines(output / "history.jsonl")[-1]
    energy = "energy_joules" if result.energy_measured else "estimated_energy_joules"
    assert 0 < last["mfu"] == pytest.approx(last["tokens_per_second"] * result.flops / result.tokens / 1e11, rel=1e-3)
    assert 0 < last["memory_bytes"] <= result.peak_resident_bytes * 1.001
    assert 0 < last[energy] <= result.energy_joules + 0.1
    assert last["embedding_learning_rate"] == pytest.approx(last["learning_rate"] / 2, rel=1e-4)
    assert {line["step"] for line in read_json_lines(output / "samples.jsonl")} == {3}
    model = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(output)
    prompt = tokenizer("The with statement", return_tensors="pt").input_ids
    assert model(prompt).logits.shape == (1, prompt.shape[1], 400)
    assert not list(tmp_path.rglob("lightning_logs"))
    again = launch(job.model_copy(update={"output": str(tmp_path / "again")}), work=tmp_path / "work")
    assert weights(tmp_path / "again") == weights(output)
    assert (again.tokens, again.validation_loss) == (result.tokens, result.validation_loss)


@pytest.mark.large
def test_a_full_disk_costs_checkpoints_and_not_the_training(
    make_job: MakeJob,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = make_job()
    expected = reference(job, tmp_path, undisturbed)
    shown = launcher.Progress.show
    warnings: list[str] = []
    kept: list[tuple[int, Path] | None] = []

    def fill_the_disk(self: launcher.Progress, event: dict[str, Any]) -> None:
        shown(self, event)
        if event["event"] == "checkpoint" and not warnings:  # the kernel refuses to write on, as on a full disk
            limit_files(30_000)
        elif event["event"] == "warning":
            if not warnings:
                kept.append(CheckpointFolder(Path(job.checkpoints), job.identity, warnings.append).newest())
            warnings.append(event["message"])
            limit_files(psutil.RLIM_INFINITY)

    def limit_files(size: int) -> None:
        for child in psutil.Process().children():
            if str(tmp_path / "work" / "job.json") in child.cmdline():
                child.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))

    monkeypatch.setattr(launcher.Progress, "show", fill_the_disk)
    with caplog.at_level("WARNING"):
        launch(job, work=tmp_path / "work")
    assert re.match(r"the checkpoint of step \d+ could not be written", warnings[0])
    assert "training goes on" in caplog.text
    assert kept[0] is not None
    assert f"step {kept[0][0]} " not in warnings[0]
    assert weights(job.output) == expected


def test_the_process_reports_a_users_mistake_in_its_own_class(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a model folder"):
        launch(make_job(model=None, init_from=str(tmp_path)), work=tmp_path / "work")


def test_an_interrupt_stops_the_process_after_it_has_saved(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(steps=100_000, checkpoint_every=100_000)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    shown = launcher.Progress.show

    def interrupt(self: launcher.Progress, event: dict[str, Any]) -> None:
        shown(self, event)
        if event["event"] == "progress":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(launcher.Progress, "show", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launch(job, work=tmp_path / "work")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert list(Path(job.checkpoints).glob("step-*.json"))


def test_a_killed_process_is_reported_with_the_end_of_its_log(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(self: launcher.Progress, event: dict[str, Any]) -> None:
        for child in psutil.Process().children():
            if event["event"] == "checkpoint" and str(tmp_path / "work" / "job.json") in child.cmdline():
                child.kill()

    monkeypatch.setattr(launcher.Progress, "show", kill)
    with pytest.raises(TrainingError, match=r"was killed \(SIGKILL\).*training.log"):
        launch(make_job(steps=100_000), work=tmp_path / "work")


@pytest.mark.large
def test_a_workspace_that_is_removed_ends_the_training_at_its_next_checkpoint(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(steps=100_000)

    def remove(self: launcher.Progress, event: dict[str, Any]) -> None:
        if event["event"] == "checkpoint":
            shutil.rmtree(Path(job.checkpoints), ignore_errors=True)

    monkeypatch.setattr(launcher.Progress, "show", remove)
    with pytest.raises(StoreError, match=rf"{job.checkpoints} was removed while pretrain was running"):
        launch(job, work=tmp_path / "work")


def test_the_worker_ends_when_its_launcher_is_killed(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(steps=100_000)
    code = (
        "import sys; from pathlib import Path; from zen_pipeline.training.job import TrainingJob\n"
        "from zen_pipeline.training.launcher import launch\n"
        "launch(TrainingJob.load(Path(sys.argv[1])), work=Path(sys.argv[2]))"
    )
    job.save(tmp_path / "job.json")
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "job.json"), str(tmp_path / "work")], env=child_environment(1)
    )
    workers: list[psutil.Process] = []
    while not workers or not list(Path(job.checkpoints).glob("step-*.json")):
        assert parent.poll() is None
        workers = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert gone
    assert not alive


def test_threads_of_the_child_sleep_while_they_wait() -> None:
    environment = child_environment(3)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_tracking_server_that_is_away_holds_training_up_for_less_than_the_others_wait(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)

    def longest() -> float:
        environment = child_environment(1)
        tries = int(environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) + 1
        return tries * float(environment["MLFLOW_HTTP_REQUEST_TIMEOUT"])

    assert longest() < make_job().rank_timeout / 2
    with tracker() as (address, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow_client(Path())  # which has more patience in the flow's own process
    assert longest() < make_job().rank_timeout / 2
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")  # the user's own wish is kept
    assert longest() == 300
