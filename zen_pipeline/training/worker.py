"""The training process: `python -m zen_pipeline.training.worker JOB.json RESULT.json [PARENT]`.

It prints one JSON event per line; everything else goes to stderr. Exit code 0: the result file is written; 1: the
last event says what failed; 143: it was asked to stop and has saved what it had.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import override

from zen_pipeline.errors import TrainingDiverged, TrainingError, ZenError
from zen_pipeline.files import explain_os_error, read_json_lines, write_atomically
from zen_pipeline.locks import hold_lock
from zen_pipeline.machine.memory import peak_memory, peak_resident_memory
from zen_pipeline.subprocesses import die_with_parent
from zen_pipeline.training.events import Events, Stop, Stopped
from zen_pipeline.training.job import Setback, Sharding, TrainingJob, TrainingResult
from zen_pipeline.training.lean_import import import_lightning
from zen_pipeline.training.processes import Processes, lost_another, sharding_for
from zen_pipeline.training.setback import (
    RATE_FACTOR,
    Diverged,
    divergence_message,
    note_setback,
    read_setback,
)

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy
    from torch import Tensor

    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.callbacks import Recorder
    from zen_pipeline.training.data import Source
    from zen_pipeline.training.module import LanguageModelTraining

STOPPED = 143  # 128 + SIGTERM, as a shell reports it
_AFTER_LOSS_SECONDS = 1.0


class StopSignal(Stop):
    """SIGTERM as a flag while there is something to save, and as an immediate exit before and after that.

    Args:
        alone: no other process has to agree on where to stop.
    """

    def __init__(self, *, alone: bool = True) -> None:
        super().__init__()
        self._alone, self._deferred = alone, False
        self.install()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle

    def install(self) -> None:
        """Handle the signal; again after Lightning has put its own handler there, which waits for other processes."""
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.arrived = True
        self.due = self.due or self._alone
        if not self._deferred:
            raise SystemExit(STOPPED)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While this lasts, the signal only sets the flag; one that nobody asked about stops at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.arrived:  # after the last step: its checkpoint is there
            raise Stopped


class _WarningEvents(logging.Handler):
    """Warnings of our own loggers as events, such as who else holds the checkpoint folder."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._events.warn(record.getMessage())


def main(arguments: list[str]) -> int:
    """Run one job; returns the exit code."""
    processes = Processes.from_environment()
    stop = StopSignal(alone=processes.size == 1)
    if len(arguments) > 2:
        die_with_parent(int(arguments[2]))
    events = Events(processes.rank)
    logging.getLogger("zen_pipeline").addHandler(_WarningEvents(events))
    try:
        job = TrainingJob.load(Path(arguments[0]))
        result = run_job(job, processes, events, stop)
        if processes.rank == 0:
            write_atomically(Path(arguments[1]), result.model_dump_json())
        return 0
    except ZenError as error:
        events.send("error", error=type(error).__name__, message=str(error), rank=processes.rank)
        return 1
    except Exception as error:
        traceback.print_exc()
        if (message := explain_os_error(error, Path(arguments[0]).parent)) is not None:
            events.send("error", error="StoreError", message=message, rank=processes.rank)
            return 1
        lost = processes.size > 1 and lost_another(error)
        message = f"{type(error).__name__}: {error}"
        events.send("error", error="TrainingError", message=message, rank=processes.rank, lost_another=lost)
        if lost:
            time.sleep(_AFTER_LOSS_SECONDS)  # so that the group is ended for the one that was lost, not for this one
        return 1


def run_job(job: TrainingJob, processes: Processes, events: Events, stop: StopSignal) -> TrainingResult:
    """Train, going on from the newest good checkpoint, and fill the output folder."""
    import torch

    from zen_pipeline.training.token_shards import gathered

    torch.set_num_threads(max(1, job.threads // processes.size))
    make_deterministic()
    with _checkpoints_locked(job, processes), processes.joined(job.rank_timeout):
        try:
            module, recorder = fit(job, processes, events, stop)
        except Stopped:
            raise SystemExit(STOPPED) from None
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"the GPU has no memory left: {job.memory_advice}. {error}") from error
        result = _result(job, module, recorder)
        weights = gathered(module.model.state_dict(keep_vars=True), keep=processes.rank == 0)
        if processes.rank == 0:
            _fill_output(job, module, weights, result)
    return result


def _checkpoints_locked(job: TrainingJob, processes: Processes) -> AbstractContextManager[None]:
    if processes.size > 1:  # whoever started the group holds it
        return nullcontext()
    return hold_lock(Path(job.checkpoints) / "lock", what=f"the checkpoint folder of {job.name}", run_id=job.run_id)


def fit(
    job: TrainingJob, processes: Processes, events: Events, stop: StopSignal
) -> tuple[LanguageModelTraining, Recorder]:
    """Run the steps that are left under Lightning; a loss that goes astray costs the steps since a checkpoint, once.

    Raises:
        TrainingDiverged: it went astray for the second time.
    """
    from zen_pipeline.training.sources import open_source

    source = open_source(job)  # a user's mistake shows here, before the slow imports

    folder = Path(job.checkpoints)
    setback = processes.of_first(read_setback(folder, job))
    if setback is None:
        try:
            return _fit_once(job, source, None, processes, events, stop)
        except Diverged as error:
            astray = error.with_traceback(None)  # whose frames hold the model and the optimizer
        gc.collect()  # Lightning's trainer and module hold each other
        setback = processes.of_first(_go_back(job, astray, events) if processes.rank == 0 else None)
        assert setback is not None
    try:
        return _fit_once(job, source, setback, processes, events, stop)
    except Diverged as error:
        raise TrainingDiverged(divergence_message(job, error, setback)) from None


def _go_back(job: TrainingJob, error: Diverged, events: Events) -> Setback:
    """Note where training goes on, and say so."""
    from zen_pipeline.training.checkpoint import CLEARANCE, CheckpointFolder

    folder = Path(job.checkpoints)
    found = CheckpointFolder(folder, job.identity, events.warn).newest(until=error.step - CLEARANCE)
    setback = Setback(
        failed_step=error.step, back_to=found[0] if found else 0, rate_factor=RATE_FACTOR, reason=error.reason
    )
    note_setback(folder, job, setback)
    events.warn(setback.sentence)
    return setback


def _fit_once(
    job: TrainingJob,
    source: Source,
    setback: Setback | None,
    processes: Processes,
    events: Events,
    stop: StopSignal,
) -> tuple[LanguageModelTraining, Recorder]:
    from zen_pipeline.training.data import StepLoader
    from zen_pipeline.training.initial import initial_model

    model = initial_model(job)

    import_lightning()
    import lightning.pytorch as pl
    import torch

    from zen_pipeline.training.callbacks import HISTORY, Checkpointer, OwnSignals, Recorder, StepClock, Validator
    from zen_pipeline.training.checkpoint import CheckpointFolder
    from zen_pipeline.training.module import LanguageModelTraining
    from zen_pipeline.training.samples import SAMPLES, Sampler

    quiet_lightning()
    folder = CheckpointFolder(Path(job.checkpoints), job.identity, events.warn, setback)
    found = processes.of_first(folder.newest() if processes.rank == 0 else None)
    sharding = processes.of_first(sharding_of(job, model, processes))
    module = LanguageModelTraining(model, job, stop=stop, setback=setback, processes=processes)
    recorder = Recorder(job, events, Path(job.checkpoints) / HISTORY if processes.rank == 0 else None)
    events.send("start", steps=job.steps, step=found[0] if found else 0, parameters=_parameters(module))
    trainer = pl.Trainer(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",  # what was measured; never MPS
        devices=processes.size,
        strategy=_strategy(processes, sharding),
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        max_steps=job.steps,
        max_epochs=1,
        callbacks=[
            OwnSignals(stop.install),
            StepClock(recorder),
            Validator(source, job),
            Sampler(job, source, recorder, folder.folder / SAMPLES if processes.rank == 0 else None, processes),
            recorder,
            Checkpointer(job, folder, events, stop.check, recorder),
        ],
        plugins=[folder.io],
        default_root_dir=job.checkpoints,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,  # every process knows the whole step and takes its share
    )
    loader = StepLoader(source, job.steps, lambda: trainer.global_step)
    with stop.deferred():
        trainer.fit(module, train_dataloaders=loader, ckpt_path=found[1] if found else None, weights_only=True)
    return module, recorder


def sharding_of(job: TrainingJob, model: FamilyModel, processes: Processes) -> Sharding:
    """Whether each of the processes is to hold all parameters of this model, or a part of each."""
    from zen_pipeline.training.rules import memory_bytes_for

    needed = memory_bytes_for(model.config, job.micro_batch, job.context)
    return sharding_for(job.sharding, needed=needed, memory=processes.memory(), processes=processes.size)


def _strategy(processes: Processes, sharding: Sharding) -> Strategy | str:
    from lightning.pytorch.strategies import DDPStrategy

    from zen_pipeline.training.strategy import ShardedStrategy

    if processes.size == 1:
        return "auto"
    if sharding == "full":
        return ShardedStrategy(processes.size)
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def quiet_lightning() -> None:
    """Lightning's advice is for people who write a Trainer by hand; real problems are errors or our own warnings."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def make_deterministic() -> None:
    """Same bits for same inputs on the CPU; CUDA's attention would lose its fastest kernels, so it is left alone."""
    import torch

    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # would fill every new tensor with NaN, to catch reads of unset memory; costs time in every step
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _parameters(module: LanguageModelTraining) -> int:
    return sum(p.numel() for p in module.model.parameters())


def _result(job: TrainingJob, module: LanguageModelTraining, recorder: Recorder) -> TrainingResult:
    from zen_pipeline.training.callbacks import HISTORY

    totals = recorder.totals
    # A full disk may have left none.
    lines = read_json_lines(Path(job.checkpoints) / HISTORY, missing_ok=True) or [module.last]
    losses = [line["loss"] for line in lines[-max(1, job.steps // 10) :]]
    return TrainingResult(
        name=job.name,
        steps=module.trainer.global_step,
        tokens=totals["tokens"],
        supervised_tokens=totals["supervised_tokens"],
        parameters=_parameters(module),
        seconds=round(totals["seconds"], 3),
        tokens_per_second=round(totals["tokens"] / max(totals["seconds"], 1e-9), 1),
        train_loss=sum(losses) / len(losses),
        validation_loss=totals.get("validation_loss"),
        validation_bits_per_byte=totals.get("validation_bits_per_byte"),
        resumed_from=totals["resumed_from"],
        setback=module.setback,
        peak_memory_bytes=peak_memory(),
        peak_resident_bytes=peak_resident_memory(),
        flops=totals["flops"],
        mfu=totals["mfu"],
        checkpoint_seconds=round(totals["checkpoint_seconds"], 3),
        sample_seconds=round(totals["sample_seconds"], 3),
        energy_joules=round(totals["joules"], 1),
        energy_measured=totals["energy_measured"],
        energy_source=totals["energy_source"],
        device=str(module.trainer.strategy.root_device),
        devices=job.devices,
        sharding="full" if module.sharded else "none",
        precision=job.precision,
        threads=job.threads,
    )


def _fill_output(
    job: TrainingJob, module: LanguageModelTraining, weights: Mapping[str, Tensor], result: TrainingResult
) -> None:
    import shutil

    from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
    from zen_pipeline.models.folder import save_model
    from zen_pipeline.training.callbacks import HISTORY
    from zen_pipeline.training.samples import SAMPLES

    output = Path(job.output)
    output.mkdir(parents=True, exist_ok=True)
    save_model(module.model, output, weights=weights)
    if job.tokenizer is not None:
        copy_tokenizer_files(Path(job.tokenizer), output)
    for name in (HISTORY, SAMPLES):
        if (written := Path(job.checkpoints) / name).is_file():
            shutil.copyfile(written, output / name)
    (output / "training.json").write_text(result.model_dump_json(indent=1) + "\n")


def _end_of_group(code: int) -> NoReturn:
    """End a process of a group at once, without Python's teardown; everything is written.

    A thread of gloo lets go of the tensors of the last exchange some time after it. When Python is already ending, that
    aborts the process (SIGABRT), and the launcher would take the training for failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    if Processes.from_environment().size > 1:
        _end_of_group(code)
    sys.exit(code)
