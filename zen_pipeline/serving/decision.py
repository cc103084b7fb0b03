"""When a new model is better than the champion: by more than the noise of the seed and of the test set.

Both models are measured on the same test documents or questions, so the differences are paired: what makes a
document hard for both models cancels out. A difference counts when it is larger than what another seed would give,
and larger than two standard errors of the paired difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zen_pipeline.evaluation.scores import Score

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
    """The alias that a version gets, and why, in words and numbers."""

    alias: Alias
    reason: str


def refuse_below_baseline(score: Score | None) -> Decision | None:
    """Why the model cannot be champion, whatever the present one is; None for a model above its plain baseline.

    Args:
        score: the deciding figure beside the baseline's; None when nothing was measured.
    """
    if score is None or score.beats_baseline is None:
        return Decision("challenger", "nothing was measured beside its plain baseline: the test split is empty")
    return None if score.beats_baseline else Decision("challenger", f"not above its plain baseline: {score}")


def compare_bits_per_byte(
    candidate_nats: NDArray[np.float64], champion_nats: NDArray[np.float64], text_bytes: NDArray[np.int64]
) -> Comparison:
    """Compare two models by the bits that they need per byte of the same documents.

    The figure is a ratio of sums, so its standard error is that of the ratio estimator (Cochran, Sampling
    Techniques, 1977, chapter 6) with documents as the units.

    Args:
        candidate_nats: (documents,) float64, the new model's nats over all tokens of each document.
        champion_nats: (documents,) float64, the champion's.
        text_bytes: (documents,) int64, UTF-8 bytes of each document.
    """
    count = len(text_bytes)
    if count == 0:
        return _nothing("bits per byte", "documents")
    scale = math.log(2) * float(text_bytes.sum())
    candidate, champion = float(candidate_nats.sum()) / scale, float(champion_nats.sum()) / scale
    improvement = champion - candidate
    residual = (champion_nats - candidate_nats) / math.log(2) - improvement * text_bytes
    error = math.inf
    if count > 1:
        error = math.sqrt(count / (count - 1) * float((residual**2).sum())) / float(text_bytes.sum())
    return Comparison("bits per byte", "documents", count, candidate, champion, improvement, error)


def compare_f1(candidate: NDArray[np.float64], champion: NDArray[np.float64]) -> Comparison:
    """Compare two models by the mean F1 of their answers to the same questions.

    Args:
        candidate: (questions,) float64, F1 of the new model's answers.
        champion: (questions,) float64, F1 of the champion's.
    """
    difference = candidate - champion
    count = len(difference)
    if count == 0:
        return _nothing("answer F1", "questions")
    error = float(difference.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Comparison(
        "answer F1",
        "questions",
        count,
        float(candidate.mean()),
        float(champion.mean()),
        float(difference.mean()),
        error,
    )


def _nothing(measure: str, unit: str) -> Comparison:
    return Comparison(measure, unit, 0, math.nan, math.nan, 0.0, math.inf)


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
