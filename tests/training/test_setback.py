"""Going back from a loss that is no number or a spike: what counts as one, and that kills change nothing."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.test_worker import disturb, weights
from zen_pipeline.errors import TrainingDiverged
from zen_pipeline.training.job import TrainingJob, TrainingResult
from zen_pipeline.training.launcher import child_environment, launch
from zen_pipeline.training.setback import Diverged, LossWatch

MakeJob = Callable[..., TrainingJob]

# A worker whose embeddings overflow in one step unless the learning rates have been lowered; and which holds one model
# at a time.
FRAGILE = """
import gc, sys
from zen_pipeline.training import worker
from zen_pipeline.training.module import LanguageModelTraining as Training

ordinary = Training._rate_factor
Training._rate_factor = lambda self, step: 1e38 if step == 37 and self.setback is None else ordinary(self, step)

def count(self):
    begin(self)
    assert sum(type(each) is Training for each in gc.get_objects()) == 1, "a second model is in memory"

begin, Training.on_fit_start = Training.on_fit_start, count
sys.exit(worker.main(sys.argv[1:]))
"""


def noisy(seed: int, steps: int) -> list[float]:
    """A falling loss with the heavy-tailed noise of very small batches (Student's t with 3 degrees of freedom)."""
    draw = random.Random(seed)
    tail = [draw.gauss(0, 1) / math.sqrt(sum(draw.gauss(0, 1) ** 2 for _ in range(3)) / 3) for _ in range(steps)]
    return [1.0 + 5.0 * math.exp(-step / 300) + 0.2 * noise for step, noise in enumerate(tail)]


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_noise_is_no_spike(seed: int) -> None:
    watch = LossWatch()
    for step, loss in enumerate(noisy(seed, 3000)):
        watch.see(step, loss, 1.0)


def test_a_spike_is_found_after_ten_steps_and_a_single_bad_batch_is_not_one() -> None:
    watch, losses = LossWatch(), noisy(0, 1000)
    for step, loss in enumerate(losses[:500]):
        watch.see(step, loss, 1.0)
    watch.see(500, 60.0, 1.0)
    assert watch.suspect
    watch.see(501, losses[501], 1.0)
    assert not watch.suspect
    again = LossWatch()
    again.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    for each in (watch, again):
        for step in range(502, 511):
            each.see(step, losses[step] + 12.0, 1.0)
        with pytest.raises(Diverged, match="for 10 steps"):
            each.see(511, losses[511] + 12.0, 1.0)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)])
def test_what_is_no_number_is_found_in_the_first_step(loss: float, norm: float) -> None:
    with pytest.raises(Diverged, match="gradient norm"):
        LossWatch().see(0, loss, norm)


def fragile(job: TrainingJob, work: Path) -> subprocess.Popen[str]:
    work.mkdir(exist_ok=True)
    job.save(work / "job.json")
    command = [sys.executable, "-c", FRAGILE, str(work / "job.json"), str(work / "result.json")]
    with (work / "log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=child_environment(job.threads)
        )


@pytest.mark.parametrize("kills", [(45,), pytest.param((20, 30, 45), marks=pytest.mark.large)])
def test_it_goes_back_once_and_a_kill_before_or_after_it_changes_no_bit(
    kills: tuple[int, ...], make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(steps=60, threads=1, precision="fp32")
    changes = {"output": str(tmp_path / "whole"), "checkpoints": str(tmp_path / "whole-checkpoints")}
    with fragile(job.model_copy(update=changes), tmp_path / "whole-work") as process:
        said = [json.loads(line) for line in process.communicate()[0].splitlines()]
    assert process.returncode == 0
    result = TrainingResult.model_validate_json((tmp_path / "whole" / "training.json").read_bytes())
    assert result.setback is not None
    assert (result.setback.failed_step, result.setback.back_to, result.setback.rate_factor) == (38, 25, 0.5)
    assert result.setback.sentence in [event.get("message") for event in said]
    assert result.tokens == 60 * 4 * 64
    history = [json.loads(line) for line in (tmp_path / "whole" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == list(range(1, 61))
    assert [line["step"] for line in history if "went_back_from_step" in line] == [26]
    assert history[25]["learning_rate"] == pytest.approx(history[24]["learning_rate"] / 2, rel=1e-4)

    for step in kills:
        assert disturb(fragile(job, tmp_path / "work"), step, signal.SIGKILL) == -signal.SIGKILL
    with fragile(job, tmp_path / "work") as process:
        process.communicate()
    assert weights(job.output) == weights(tmp_path / "whole")


def test_the_second_time_is_an_error_that_says_what_to_set(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    schedule = job.schedule.model_copy(update={"learning_rate": 1e30, "embedding_learning_rate": 1e30})
    job = job.model_copy(update={"schedule": schedule})
    for _ in range(2):  # a new start finds what happened, and does not go back again
        with pytest.raises(TrainingDiverged, match=r"had already gone back .* pretrain.learning_rate \(now 1e\+30\)"):
            launch(job, work=tmp_path / "work")
