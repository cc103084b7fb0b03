"""When a new model is better than the champion: by more than the noise of the seed and of the test set.

Both models are measured on the same test documents or questions, so the differences are paired: what makes a
document hard for both models cancels out. A difference counts when it is larger than what another seed would give,
and larger than two standard errors of the paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zen_pipeline.evaluation.scores import Metric, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Alias = Literal["champion", "challenger"]

# The width of an interval that holds 95 % of the differences that chance alone would give (normal approximation).
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Comparison:
    """One measure of two models on the same test set.

    Attributes:
        measure: what was measured, in words.
        unit: what the test set consists of, in the plural.
        count: how many of them.
        candidate: the new model's figure.
        champion: the champion's figure.
        improvement: how much better the new model is; negative when it is worse.
        standard_error: of `improvement`; infinite when fewer than two units were measured.
    """

    measure: str
    unit: str
    count: int
    candidate: float
    champion: float
    improvement: float
    standard_error: float


@dataclass(frozen=True)
class Decision:
    """The alias that a version gets, and why, in words and numbers.

    Attributes:
        compared: `measure`, `candidate`, `champion` and the champion's `version`; None where nothing was compared.
    """

    alias: Alias
    reason: str
    compared: Mapping[str, Any] | None = None


def refuse_below_baseline(score: Score | None) -> Decision | None:
    """Why the model cannot be champion, whatever the present one is; None for a model above its plain baseline.

    Args:
        score: the deciding figure with the baseline's; None when nothing was measured.
    """
    if score is None or score.beats_baseline is None:
        return Decision("challenger", "nothing was measured beside its plain baseline: the test split is empty")
    return None if score.beats_baseline else Decision("challenger", f"not above its plain baseline: {score}")


def compare_units(
    candidate: NDArray[np.float64],
    champion: NDArray[np.float64],
    *,
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    metric: Metric,
) -> Comparison:
    """Compare two models by the deciding figure of the same test set.

    The standard error is that of the delete-one jackknife over units (Efron and Stein 1981): each unit is left out of
    both models' sums in turn, so the differences are paired. For a mean it is the usual standard error.

    Args:
        candidate: (units, k) sums of the new model.
        champion: (units, k) sums of the champion.
        figure: makes the deciding figure of (..., k) sums.
        metric: name, unit and direction of the figure.
    """
    import numpy as np

    measure = metric.measure.format(count=len(candidate))
    count = len(candidate)
    if count == 0:
        return Comparison(measure, metric.unit, 0, math.nan, math.nan, 0.0, math.inf)
    sign = -1.0 if metric.lower_is_better else 1.0
    totals = candidate.sum(axis=0), champion.sum(axis=0)
    ours, theirs = (float(figure(total)) for total in totals)
    error = math.inf
    if count > 1:
        left_out = figure(totals[0] - candidate) - figure(totals[1] - champion)  # (units,)
        error = math.sqrt((count - 1) / count * float(np.square(left_out - left_out.mean()).sum()))
    return Comparison(measure, metric.unit, count, ours, theirs, sign * (ours - theirs), error)


def decide(comparison: Comparison, *, champion: str, seed_noise: float) -> Decision:
    """Champion when the improvement exceeds the seed's noise and two standard errors, else challenger.

    Args:
        comparison: both models on the same test set.
        champion: the champion's version, for the reason.
        seed_noise: how much two runs differ that differ in the seed alone, in the measure's own unit.
    """
    c = comparison
    if c.count == 0:
        return Decision("challenger", f"nothing was measured: there are no test {c.unit}; version {champion} stays")
    error = "unknown" if math.isinf(c.standard_error) else f"{c.standard_error:.4f}"
    figures = (
        f"{c.measure} {c.candidate:.4f} against {c.champion:.4f} of version {champion} on the same {c.count} {c.unit} "
        f"(improvement {c.improvement:+.4f}, seed noise {seed_noise:.4f}, standard error {error})"
    )
    if c.improvement <= 0:
        return Decision("challenger", f"not better: {figures}")
    if c.improvement <= seed_noise:
        return Decision("challenger", f"better by no more than the noise of the seed: {figures}")
    if c.improvement <= _STANDARD_ERRORS * c.standard_error:
        return Decision("challenger", f"better by no more than two standard errors: {figures}")
    return Decision("champion", f"better: {figures}")


def check_growth(size: int, champion_size: int, *, champion: str, max_growth: float | None) -> Decision | None:
    """The refusal of a model that has grown too much, or None.

    Args:
        size: bytes of the new model's float weights. Float weights are compared with float weights, so that the
            choice of a smaller number format neither hides growth nor looks like it.
        champion_size: bytes of the champion's float weights.
        champion: the champion's version, for the reason.
        max_growth: the largest allowed ratio of the two; None: any.
    """
    if max_growth is None or size <= max_growth * champion_size:
        return None
    return Decision(
        "challenger",
        f"too large: {size / 1e6:.2f} MB of float weights against {champion_size / 1e6:.2f} MB of version {champion}, "
        f"{size / champion_size:.2f} times as much, allowed {max_growth:g} times (release.max_growth)",
    )
