"""Several real training processes on the CPU: the same result as one, resumed with another number, and failing."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_worker_families import JOBS, marian
from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.errors import DataError, TrainingError
from zen_pipeline.training import launcher
from zen_pipeline.training.initial import initial_model
from zen_pipeline.training.job import TokenData, TrainingJob, TrainingResult
from zen_pipeline.training.launcher import launch
from zen_pipeline.training.processes import Processes
from zen_pipeline.training.sources import TokenWindows, open_source
from zen_pipeline.training.worker import sharding_of

MakeJob = Callable[..., TrainingJob]
Hook = Callable[[str], None]

# Python runs a module of this name first; in the training processes it changes what happens in a step.
HOOK = """
import os, sys
if "zen_pipeline.training.worker" in sys.orig_argv:
    import json, signal, time
    from zen_pipeline.training.lean_import import import_lightning
    import_lightning()
    from zen_pipeline.training import module
    from zen_pipeline.errors import DataError
    rank, ordinary = int(os.environ.get("RANK", 0)), module.accumulate_gradients
    def changed(model, batch, **rest):
        {change}
        return ordinary(model, batch, **rest)
    module.accumulate_gradients = changed
"""


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Has the training processes run some statements before the gradients of each step."""

    def install(change: str) -> None:
        folder = tmp_path / "hook"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HOOK.format(change=change))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install


def elsewhere(job: TrainingJob, folder: Path, **changes: Any) -> TrainingJob:
    paths = {"output": str(folder / "output"), "checkpoints": str(folder / "checkpoints")}
    return job.model_copy(update={**paths, **changes})


def final(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(Path(job.output) / "model.safetensors")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal up to the order of float32 sums; a drift to one side would show in the mean."""
    for name, weight in expected.items():
        if name.endswith(("k_proj.bias", "key.bias")):
            continue  # softmax does not see it: its gradient is rounding alone, which Adam enlarges
        difference = found[name] - weight
        assert difference.abs().max() < 1e-4, name
        assert difference.mean().abs() < 1e-6, name


# A thread that still works when Python ends aborts the process, as those of gloo now and then do.
STILL_WORKING = (
    "import torch, threading; ones = torch.ones(64, 64)\n"
    "        work = lambda: [ones.mm(ones) for _ in iter(int, 1)]\n"
    "        if rank == 1 and batch.step == 11: threading.Thread(target=work, daemon=True).start()"
)


@pytest.mark.usefixtures("traps")
def test_one_process_and_two_that_accumulate_end_alike(make_job: MakeJob, tmp_path: Path, hook: Hook) -> None:
    hook(STILL_WORKING)
    whole = elsewhere(make_job(steps=12, precision="fp32", micro_batch=5, batch=5), tmp_path / "whole")
    parts = elsewhere(whole, tmp_path / "two", devices=2, micro_batch=1)
    one, two = launch(whole, work=tmp_path / "whole"), launch(parts, work=tmp_path / "two")
    assert_close(final(parts), final(whole))
    assert (two.steps, two.tokens) == (one.steps, one.tokens)
    assert two.train_loss == pytest.approx(one.train_loss, abs=1e-4)
    assert two.validation_loss == pytest.approx(one.validation_loss, abs=1e-4)
    assert two.validation_bits_per_byte == pytest.approx(one.validation_bits_per_byte, abs=1e-4)


@pytest.mark.large
@pytest.mark.parametrize("family", ["qwen3", "gpt2", "bert", "marian"])
def test_every_family_is_trained_alike_with_its_parameters_sharded(
    family: str, make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    job = make_job() if family == "qwen3" else JOBS[family](make_job, tokens_folder, tmp_path)
    # bf16 where it rounds alike on every processor: without instructions for it, the rest differs in its last bits
    precision = "bf16" if family == "qwen3" else "fp32"
    job = job.model_copy(update={"steps": 10, "devices": 2, "precision": precision})
    job = job.model_copy(update={"recompute_activations": family == "gpt2"})
    # the same sequences in the same micro-batches, so that bf16 rounds alike and dropout draws alike
    jobs = {kind: elsewhere(job, tmp_path / kind, sharding=kind) for kind in ("none", "full")}
    results = {kind: launch(each, work=tmp_path / kind) for kind, each in jobs.items()}
    assert [results[kind].sharding for kind in jobs] == list(jobs)
    assert_close(final(jobs["full"]), final(jobs["none"]))
    assert results["full"].train_loss == pytest.approx(results["none"].train_loss, abs=1e-4)
    assert results["full"].validation_loss == pytest.approx(results["none"].validation_loss, abs=1e-4)


@pytest.mark.large
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_padded_pairs_count_once_whoever_gets_them(
    sharding: str, make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    job = marian(make_job, tokens_folder, tmp_path)
    still = {**(job.model or {}), "dropout": 0.0}  # dropout differs with the process, as with the micro-batch
    job = elsewhere(job, tmp_path / "whole", model=still, steps=10, batch=15, threads=2, precision="fp32")
    two = elsewhere(job, tmp_path / "two", devices=2, micro_batch=1, sharding=sharding)
    results = [launch(each, work=tmp_path / str(each.devices)) for each in (job, two)]
    assert_close(final(two), final(job))
    assert results[0].supervised_tokens == results[1].supervised_tokens
    assert results[1].validation_loss == pytest.approx(results[0].validation_loss, abs=1e-4)


def test_parameters_are_sharded_when_one_process_has_no_memory_for_all(make_job: MakeJob) -> None:
    two, job = Processes(size=2), make_job()
    model = initial_model(job)
    assert sharding_of(job, model, two) == "none"
    large = job.model_copy(update={"micro_batch": 1 << 30})  # its activations fit no machine
    assert sharding_of(large, model, two) == "full"
    assert sharding_of(large.model_copy(update={"sharding": "none"}), model, two) == "none"
    assert sharding_of(job.model_copy(update={"sharding": "full"}), model, two) == "full"
    assert sharding_of(large, model, Processes()) == "none"


def stop_at(step: int, job: TrainingJob, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the launcher when a checkpoint is reported."""
    shown = launcher.Progress.show

    def interrupt(self: launcher.Progress, event: dict[str, Any]) -> None:
        shown(self, event)
        if event["event"] == "checkpoint" and event["step"] >= step:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(launcher.Progress, "show", interrupt)
        with pytest.raises(KeyboardInterrupt):
            launch(job, work=work)


@pytest.mark.large
@pytest.mark.parametrize("sharding", ["full", "none"])
def test_two_then_one_then_two_processes_see_every_window_once_and_end_as_one(
    sharding: str, make_job: MakeJob, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TokenData(folder=make_job().data.folder, validation_windows=9)  # type: ignore[union-attr]
    # neither rows nor layers nor batches can be halved
    shape = {**(make_job().model or {}), "intermediate_size": 65, "num_hidden_layers": 3}
    job = make_job(model=shape, data=data, batch=31, micro_batch=8, workers=1, precision="fp32", checkpoint_every=4)
    source = open_source(job)
    assert isinstance(source, TokenWindows)
    targets = source.epoch_targets(0)
    job = job.model_copy(update={"steps": len(targets) // job.context // job.batch})
    seen = tmp_path / "seen"
    line = "json.dumps([batch.step, r]) + chr(10)"
    hook(f"open({str(seen)!r}, 'a').writelines({line} for r in batch.input_ids.tolist())")

    two = job.model_copy(update={"devices": 2, "sharding": sharding})
    stop_at(4, two, tmp_path / "work", monkeypatch)
    stop_at(12, job, tmp_path / "work", monkeypatch)
    result = launch(two, work=tmp_path / "work")
    assert 4 <= result.resumed_from[0] < result.resumed_from[1] < result.steps == job.steps
    assert result.sharding == sharding

    tokens = TokenSplit.open(Path(job.data.folder), "train").tokens  # type: ignore[union-attr]
    windows = [np.asarray(tokens[t - 1 : t - 1 + job.context]).tolist() for t in targets[:: job.context]]
    # A step that is stopped before its end is read once more, and is the same.
    read = Counter(json.dumps(json.loads(line)[1]) for line in set(seen.read_text().splitlines()))
    # where shares differ in length, a sharded process reads a sequence again without targets: here it is the same one
    assert read.total() == job.steps * job.batch > len(windows) - job.batch
    assert not read - Counter(map(json.dumps, windows))

    hook("pass")
    alone = elsewhere(job, tmp_path / "alone", micro_batch=31)
    expected = launch(alone, work=tmp_path / "alone-work")
    assert_close(final(job), final(alone))
    assert result.tokens == expected.tokens
    assert result.train_loss == pytest.approx(expected.train_loss, abs=1e-4)
    assert result.validation_loss == pytest.approx(expected.validation_loss, abs=1e-4)


@pytest.mark.large
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_all_processes_go_back_together(sharding: str, make_job: MakeJob, tmp_path: Path, hook: Hook) -> None:
    flag = f"open({str(tmp_path / 'flag')!r} + str(rank), 'a')"
    hook(f"if batch.step == 22 and not {flag}.tell():\n"
         f"            {flag}.write('once'); next(model.parameters()).data.fill_(float('nan'))")  # fmt: skip
    result = launch(make_job(steps=30, devices=2, sharding=sharding, precision="fp32"), work=tmp_path / "work")
    assert result.setback is not None
    assert (result.setback.failed_step, result.setback.back_to) == (22, 10)
    assert (result.steps, result.tokens) == (30, 30 * 4 * 64)


@pytest.mark.parametrize("where", ["step", pytest.param("checkpoint", marks=pytest.mark.large)])
def test_a_gpu_without_memory_left_is_reported_with_what_to_set(
    where: str, make_job: MakeJob, tmp_path: Path, hook: Hook
) -> None:
    hook(
        "import torch; error = torch.OutOfMemoryError('CUDA out of memory')\n"
        f"        if {where!r} == 'step': raise error\n"
        "        torch.save = lambda *_: (_ for _ in ()).throw(error)"
    )
    message = "finetune: the GPU has no memory left: try a smaller finetune.batch_size. CUDA out of memory"
    with pytest.raises(TrainingError, match=message):
        launch(make_job(name="finetune", workers=1), work=tmp_path / "work")


CASES = {
    "raises": ("raise DataError('record 7 is broken')", DataError, "^record 7 is broken$"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", TrainingError, r"process 1 of 2 was killed \(SIGKILL\)"),
    "hangs": ("time.sleep(1000)", TrainingError, "process 1 of 2 did not answer the others within 4 s"),
}


OFTEN = [("is killed", "full")]
SELDOM = [("is killed", "none"), ("hangs", "full"), ("hangs", "none"), ("raises", "none")]


@pytest.mark.parametrize(
    ("case", "sharding"), [*OFTEN, *(pytest.param(*case, marks=pytest.mark.large) for case in SELDOM)]
)
def test_a_process_that_fails_ends_all_with_its_error_and_the_next_start_goes_on(
    case: str, sharding: str, make_job: MakeJob, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "hangs":  # else the group ends by itself, and says why
        monkeypatch.setattr(launcher, "_GROUP_SECONDS", 2.0)
    statement, error, message = CASES[case]
    moment = tmp_path / "moment"
    hook(f"if rank == 1 and batch.step == 12 and not open({str(moment)!r}, 'a').tell():\n"
         f"            open({str(moment)!r}, 'a').write(str(time.time())); {statement}")  # fmt: skip
    job = make_job(steps=20, devices=2, sharding=sharding, rank_timeout=4.0)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(error, match=message):
        launch(job, work=tmp_path / "work")
    seconds = time.time() - float(moment.read_text())
    print(f"{case}: all had ended after {seconds:.1f} s")
    assert seconds < 60.0
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    if case == "hangs":  # what follows is the same for all
        return
    patient = job.model_copy(update={"rank_timeout": 60.0})  # this one is to end well, on a busy machine too
    result: TrainingResult = launch(patient, work=tmp_path / "work")
    assert result.resumed_from == [10]
    assert result.steps == 20
