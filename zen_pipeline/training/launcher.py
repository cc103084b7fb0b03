"""Starts the training process, shows what it reports, and never leaves it behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any

from zen_pipeline import errors
from zen_pipeline.errors import TrainingError, ZenError
from zen_pipeline.logs import get_logger
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.tracking import MLFLOW_QUIET, without_our_defaults
from zen_pipeline.training.job import TrainingJob, TrainingResult
from zen_pipeline.training.training_progress import Progress

if TYPE_CHECKING:
    import psutil

JOB, RESULT, LOG = "job.json", "result.json", "training.log"
# What saving a checkpoint may take before the process is killed. A cancelled flow run is killed after 30 seconds, and
# until then the records of the run, in the workspace, in MLflow and in Prefect, must be written as well.
_STOP_SECONDS = 15.0
_GROUP_SECONDS = 10.0  # what the other processes get when one has failed
_LOG_LINES = 12

# MLflow's own 7 retries of a server that is away take minutes, in which the other processes would give this one up.
_MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

log = get_logger(__name__)


def launch(job: TrainingJob, *, work: Path, progress: bool = False) -> TrainingResult:
    """Train in a process of its own, or in one per device, and wait for the end.

    Args:
        job: what to train.
        work: folder for the job file, the result file and `training.log`; survives a kill.
        progress: draw a progress bar on stderr; else a plain line is logged now and then.

    Returns:
        What the process reported; the model lies in `job.output`.

    Raises:
        TrainingError: the process failed or was killed; the message carries its error and the end of its log.
        ZenError: another kind of error that the process reported, such as `DataError`.
        KeyboardInterrupt: passed on after the process has saved and ended.
    """
    work.mkdir(parents=True, exist_ok=True)
    job.save(work / JOB)
    result = work / RESULT
    result.unlink(missing_ok=True)
    module = "zen_pipeline.training.worker" if job.devices == 1 else "zen_pipeline.training.group"
    command = python_command("-m", module, str(work / JOB), str(result), str(os.getpid()))
    with (work / LOG).open("ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,  # Ctrl-C reaches it through us, once
            env=child_environment(max(1, job.threads // job.devices)),
        )
        failure = _watch(process, job, progress)
    if process.returncode == 0 and result.is_file():
        return TrainingResult.model_validate_json(result.read_bytes())
    raise _error(job, process.returncode, failure, work / LOG)


def _watch(process: subprocess.Popen[bytes], job: TrainingJob, progress: bool) -> dict[str, Any] | None:
    """Show the events until the process ends; the error that it reported, if any."""
    ends: list[dict[str, Any]] = []
    killer = Timer(_GROUP_SECONDS, _kill_tree, (process,))
    assert process.stdout is not None
    try:
        with Progress(job.name, job.steps, bar=progress) as shown:
            for event in _events(process.stdout):
                if event["event"] not in ("error", "ended"):
                    shown.show(event)
                    continue
                ends.append(event)
                if job.devices > 1 and len(ends) == 1:  # one has failed: the others must end, whatever they do
                    killer.start()
        process.wait()
    except BaseException:
        log.info("%s is asked to save and stop", job.name)
        stop_tree(process)
        raise
    finally:
        killer.cancel()
    return _first_cause(ends, job)


def _first_cause(ends: list[dict[str, Any]], job: TrainingJob) -> dict[str, Any] | None:
    """Of all that the processes said about their end, what the others followed from."""
    errors = [event for event in ends if event["event"] == "error"]
    own = [event for event in errors if not event.get("lost_another")]
    if own or job.devices == 1:
        return own[0] if own else None
    codes = {
        int(rank): code for event in ends if event["event"] == "ended" for rank, code in event["exit_codes"].items()
    }
    silent = set(range(job.devices)) - {int(event["rank"]) for event in errors}
    aborted = {rank for rank, code in codes.items() if code == -signal.SIGABRT}
    if silent - aborted and next(iter(codes.values()), 0) == -signal.SIGABRT:
        # NCCL aborts a process that has waited in vain for another; then the group ends what still runs
        silent, codes = silent - aborted, {}
    killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM}
    if killed:
        rank, number = next(iter(killed.items()))
        message = f"process {rank} of {job.devices} was killed ({signal.Signals(number).name}), and the others with it"
        if number == signal.SIGKILL:
            message += f": perhaps memory ran out: {job.memory_advice}"
    elif (errors or aborted) and silent:
        message = (
            f"process {_numbers(silent)} of {job.devices} did not answer the others within {job.rank_timeout:g} s, and "
            "all were ended"
        ) + (f"; process {_numbers(aborted)} aborted (SIGABRT)" if aborted else "")
    elif errors:
        message = str(errors[0]["message"])
    else:
        return None
    return {"event": "error", "error": "TrainingError", "message": message}


def _numbers(ranks: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ranks)))


def _events(stream: IO[bytes]) -> Any:
    for line in stream:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                yield event


def stop_tree(process: subprocess.Popen[bytes], seconds: float = _STOP_SECONDS) -> None:
    """SIGTERM, time to save, then SIGKILL for the process and all that it started."""
    children = _children(process)
    try:
        process.send_signal(signal.SIGTERM)
        _drain(process, time.monotonic() + seconds)
    finally:  # also when a second Ctrl-C ends the waiting
        _kill(process, children)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    import psutil

    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    _kill(process, _children(process))


def _kill(process: subprocess.Popen[bytes], children: list[psutil.Process]) -> None:
    import psutil

    for each in children:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    with suppress(ProcessLookupError):
        process.kill()


def _drain(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the process; what it still says is short enough for the pipe."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))


def child_environment(threads: int) -> dict[str, str]:
    """The environment of a training process: threads that sleep while they wait."""
    return {
        **MLFLOW_QUIET,
        **_MLFLOW_PATIENCE,
        **without_our_defaults(python_environment()),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads cost tenfold as soon as somebody else uses a core
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # glibc gives large blocks back to the kernel at every free, and faulting them in again is a tenth of a step.
        "MALLOC_MMAP_THRESHOLD_": "4000000000",
        "MALLOC_TRIM_THRESHOLD_": "8000000000",
        "MKL_DYNAMIC": "FALSE",  # another number of threads now and then would mean other rounding
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _error(job: TrainingJob, code: int, failure: dict[str, Any] | None, path: Path) -> ZenError:
    if failure is not None:
        kind = getattr(errors, str(failure["error"]), TrainingError)
        message = str(failure["message"])
        return kind(message if kind is not TrainingError else f"{job.name}: {message} (log: {path})")
    if code == -signal.SIGKILL:
        what = f"was killed (SIGKILL), perhaps because memory ran out: {job.memory_advice}"
    elif code in (143, -signal.SIGTERM):
        what = "was asked to stop (SIGTERM) by another process; it saved what it had: start again to go on"
    else:
        what = f"ended with exit code {code}"
    return TrainingError(f"{job.name}: the training process {what}. The end of {path}:\n{tail(path)}")


def tail(path: Path, lines: int = _LOG_LINES) -> str:
    """The last lines of a log, at most 4,000 characters."""
    try:
        text = path.read_bytes()[-4000:].decode(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])
