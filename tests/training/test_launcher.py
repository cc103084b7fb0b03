"""What the launcher says of processes that have ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.launcher import _first_cause

MakeJob = Callable[..., TrainingJob]


def cause(job: TrainingJob, codes: dict[int, int], lost: tuple[int, ...] = ()) -> str:
    """The message for exit codes by rank, and ranks that only said that they had lost another."""
    ends: list[dict[str, Any]] = [
        {"event": "error", "rank": rank, "message": "gloo: closed", "lost_another": True} for rank in lost
    ]
    found = _first_cause([*ends, {"event": "ended", "exit_codes": {str(r): code for r, code in codes.items()}}], job)
    assert found is not None
    return str(found["message"])


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "try a smaller pretrain.micro_batch, or pretrain.sharding: full"),
        ({"sharding": "full"}, "try a smaller pretrain.micro_batch"),
        ({"name": "finetune"}, "try a smaller finetune.batch_size, or pretrain.sharding: full"),
        ({"name": "finetune", "sharding": "full"}, "try a smaller finetune.batch_size"),
    ],
)
def test_a_killed_process_is_reported_with_the_setting_of_its_own_stage(
    changes: dict[str, Any], advice: str, make_job: MakeJob
) -> None:
    job = make_job(devices=2, **changes)
    assert cause(job, {1: -signal.SIGKILL}, lost=(0,)) == (
        f"process 1 of 2 was killed (SIGKILL), and the others with it: perhaps memory ran out: {advice}"
    )


def test_processes_that_nccl_aborts_have_waited_for_the_one_that_hangs(make_job: MakeJob) -> None:
    job, aborted = make_job(devices=3, rank_timeout=4.0), -signal.SIGABRT
    hanging = "process 1 of 3 did not answer the others within 4 s, and all were ended"
    assert cause(job, {0: aborted}, lost=(2,)) == f"{hanging}; process 0 aborted (SIGABRT)"
    for ended in (-signal.SIGTERM, -signal.SIGKILL):
        assert cause(job, {0: aborted, 2: aborted, 1: ended}) == f"{hanging}; process 0, 2 aborted (SIGABRT)"


def test_a_process_that_is_killed_before_others_abort_is_the_cause(make_job: MakeJob) -> None:
    found = cause(make_job(devices=3), {1: -signal.SIGKILL, 0: -signal.SIGABRT, 2: -signal.SIGTERM})
    assert found.startswith("process 1 of 3 was killed (SIGKILL)")


def test_a_process_that_aborts_alone_is_the_cause(make_job: MakeJob) -> None:
    found = cause(make_job(devices=2), {1: -signal.SIGABRT}, lost=(0,))
    assert found == "process 1 of 2 was killed (SIGABRT), and the others with it"
