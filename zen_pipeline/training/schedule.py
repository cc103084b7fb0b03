"""The learning rate as a pure function of the step."""

from __future__ import annotations


def learning_rate_factor(step: int, total: int, *, warmup: float, cooldown: float) -> float:
    """What the peak learning rate is multiplied with in one step: linear rise, constant, linear fall to zero.

    The trapezoid of Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations".
    The first step already moves and so does the last one.

    Args:
        step: number of optimizer steps before this one, from 0.
        total: steps of the run.
        warmup: share of the steps with a rising rate.
        cooldown: share of the steps with a falling rate.
    """
    rising = round(warmup * total)
    falling = round(cooldown * total)
    up = (step + 1) / (rising + 1)
    down = (total - step) / (falling + 1)
    return max(0.0, min(1.0, up, down))
