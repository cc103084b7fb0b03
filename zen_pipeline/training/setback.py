"""Going back, once, when the loss is no number any more or has left its course.

What happened is written next to the checkpoints before anything else is done, so that a process that is killed then,
or much later, takes the same way when it is started again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from zen_pipeline.files import write_atomically
from zen_pipeline.training.job import Setback, TrainingJob

RATE_FACTOR = 0.5  # of the learning rates after going back
_WINDOW = 128  # losses that say what is ordinary (the window of llm.c's outlier detector)
_DEVIATIONS = 7.0  # above their mean is none of them (the spike score of OLMo 2 counts such steps)
_LEAST_RISE = 0.1  # of the mean: a loss of almost zero varies by many deviations without harm
_PATIENCE = 10  # such steps in a row are a spike; a single hard batch is not
_FILE = "setback.json"


class Diverged(Exception):
    """The loss of a step cannot be trained on: go back, or give up the second time.

    Attributes:
        step: optimizer steps done before the one that failed.
        reason: what was wrong, as a clause.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"after {step} steps {reason}")
        self.step, self.reason = step, reason


class LossWatch:
    """Compares each loss with those before it.

    The first `_WINDOW` steps are only looked at for numbers. Afterwards a step is suspect when its loss lies more than
    `_DEVIATIONS` standard deviations, and more than a tenth, above the mean of the last `_WINDOW` steps that were not;
    `_PATIENCE` suspect steps in a row are a spike. The fall of the loss within the window widens the deviation.
    """

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._suspect = 0

    @property
    def suspect(self) -> bool:
        """True if the last step may be the beginning of a spike: no time to save."""
        return self._suspect > 0

    def see(self, step: int, loss: float, gradient_norm: float) -> None:
        """Judge one step before its gradients are used.

        Raises:
            Diverged: it cannot go on from here.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise Diverged(step, f"the loss is {loss} and the gradient norm {gradient_norm}")
        if len(self._losses) == _WINDOW:
            mean = fmean(self._losses)
            limit = mean + max(_DEVIATIONS * stdev(self._losses), _LEAST_RISE * mean)
            if loss > limit:
                self._suspect += 1
                if self._suspect >= _PATIENCE:
                    raise Diverged(
                        step, f"the loss was above {limit:.3f} for {_PATIENCE} steps, and about {mean:.3f} before"
                    )
                return
        self._suspect = 0
        self._losses.append(loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"losses": list(self._losses), "suspect": self._suspect}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._losses = deque(state["losses"], maxlen=_WINDOW)
        self._suspect = int(state["suspect"])


def read_setback(folder: Path, job: TrainingJob) -> Setback | None:
    """What is noted next to the checkpoints of this job; None when it has not gone back."""
    try:
        noted = _Note.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return noted.setback if noted.identity == job.identity else None


def note_setback(folder: Path, job: TrainingJob, setback: Setback) -> None:
    """Write down that the job goes back, atomically."""
    note = _Note(identity=job.identity, setback=setback)
    write_atomically(folder / _FILE, note.model_dump_json(indent=1))


def divergence_message(job: TrainingJob, error: Diverged, setback: Setback) -> str:
    """What the user reads when going back did not help."""
    schedule = job.schedule
    return (
        f"{error}, and training had already gone back from step {setback.failed_step} to step {setback.back_to} with "
        f"{setback.rate_factor:g} of the learning rates. Set {job.name}.learning_rate (now "
        f"{schedule.learning_rate:g}) and {job.name}.embedding_learning_rate (now "
        f"{schedule.embedding_learning_rate:g}) to a quarter of that, or less"
    )


class _Note(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: str
    setback: Setback
