"""Several training processes: `python -m zen_pipeline.training.group JOB.json RESULT.json PARENT`.

torch's elastic launcher starts one worker per device and ends all when one fails. There is no restart in here: the
stage fails with the error of the process that failed first, and its retry goes on from the newest checkpoint.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from zen_pipeline.locks import hold_lock
from zen_pipeline.subprocesses import die_with_parent, python_command
from zen_pipeline.training.events import Events
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.worker import STOPPED

SAVE_SECONDS = 12  # what saving may take when all are asked to stop; less than the launcher waits


def main(arguments: list[str]) -> int:
    """Run the workers of one job; returns the exit code."""
    die_with_parent(int(arguments[2]))
    events = Events()
    job = TrainingJob.load(Path(arguments[0]))
    lock = Path(job.checkpoints) / "lock"
    with hold_lock(lock, what=f"the checkpoint folder of {job.name}", run_id=job.run_id):
        return _run_workers(job, arguments[:2], events)


def _run_workers(job: TrainingJob, files: list[str], events: Events) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=job.devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=SAVE_SECONDS,
    )
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing goes over the network
    python, *arguments = python_command("-m", "zen_pipeline.training.worker", *files, str(os.getpid()))
    os.dup2(events.fileno(), 1)  # the workers' standard output is that of this process: their events go the same way
    try:
        elastic_launch(config, python)(*arguments)
    except ChildFailedError as error:
        events.send("ended", exit_codes={rank: failure.exitcode for rank, failure in error.failures.items()})
        return 1
    except SignalException:
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
