"""A model is promoted only when the difference is larger than both kinds of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from zen_pipeline.evaluation.scores import Metric
from zen_pipeline.serving.decision import Comparison, check_growth, compare_units, decide

F1 = Metric("f1", "answer F1", "questions", lower_is_better=False, seed_noise=0.02)
BITS = Metric("bits_per_byte", "bits per byte", "documents", lower_is_better=True, seed_noise=0.01)


def ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first sum over the second."""
    result: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
    return result


def compare_f1(candidate: NDArray[np.float64], champion: NDArray[np.float64]) -> Comparison:
    ours, theirs = (np.stack([f1, np.ones_like(f1)], axis=-1) for f1 in (candidate, champion))
    return compare_units(ours, theirs, figure=ratio, metric=F1)


def compare_bits(
    candidate: NDArray[np.float64], champion: NDArray[np.float64], sizes: NDArray[np.float64]
) -> Comparison:
    ours, theirs = (np.stack([bits, sizes], axis=-1) for bits in (candidate, champion))
    return compare_units(ours, theirs, figure=ratio, metric=BITS)


def test_the_figure_is_made_of_the_sums() -> None:
    comparison = compare_bits(np.array([8.0, 900.0]), np.array([9.0, 1000.0]), np.array([10.0, 1000.0]))

    assert comparison.candidate == pytest.approx(908 / 1010)
    assert comparison.champion == pytest.approx(1009 / 1010)
    assert comparison.improvement == pytest.approx(101 / 1010)


def test_the_standard_error_of_a_mean_is_the_usual_one() -> None:
    random = np.random.default_rng(2)
    candidate, champion = random.uniform(0, 1, (2, 37))

    usual = (candidate - champion).std(ddof=1) / math.sqrt(37)
    assert compare_f1(candidate, champion).standard_error == pytest.approx(usual)


def test_the_standard_error_of_a_ratio_agrees_with_a_paired_bootstrap() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 5000, 400).astype(np.float64)
    champion = sizes * random.normal(1.4, 0.3, 400)
    candidate = champion - sizes * random.normal(0.02, 0.05, 400)

    comparison = compare_bits(candidate, champion, sizes)

    draws = random.integers(0, 400, (4000, 400))
    resampled = (champion - candidate)[draws].sum(1) / sizes[draws].sum(1)
    assert comparison.standard_error == pytest.approx(resampled.std(), rel=0.1)


def test_without_a_difference_one_in_twenty_is_beyond_two_standard_errors() -> None:
    random = np.random.default_rng(3)
    beyond = 0
    for _ in range(2000):
        sizes = random.integers(50, 5000, 60).astype(np.float64)
        hard = sizes * random.normal(1.4, 0.3, 60)
        ours, theirs = (hard + sizes * random.normal(0, 0.05, 60) for _ in range(2))
        comparison = compare_bits(ours, theirs, sizes)
        beyond += abs(comparison.improvement) > 2 * comparison.standard_error
    assert 0.03 < beyond / 2000 < 0.08


def test_pairing_removes_what_is_hard_for_both() -> None:
    random = np.random.default_rng(1)
    hard = random.uniform(0, 1, 50)

    comparison = compare_f1(hard + 0.05, hard)

    assert comparison.standard_error < 1e-9
    assert decide(comparison, champion="1", seed_noise=0.02).alias == "champion"


@pytest.mark.parametrize(
    ("gain", "spread", "alias", "why"),
    [
        (0.30, 0.01, "champion", "better:"),
        (-0.10, 0.01, "challenger", "not better"),
        (0.0, 0.0, "challenger", "not better"),
        (0.01, 0.001, "challenger", "noise of the seed"),
        (0.05, 2.0, "challenger", "two standard errors"),
    ],
)
def test_the_decision_and_its_reason(gain: float, spread: float, alias: str, why: str) -> None:
    champion = np.full(40, 0.5)
    wobble = np.tile([spread, -spread], 20)

    decision = decide(compare_f1(champion + gain + wobble, champion), champion="7", seed_noise=0.02)

    assert decision.alias == alias
    assert why in decision.reason
    assert "of version 7 on the same 40 questions" in decision.reason


def test_one_document_resolves_nothing() -> None:
    comparison = compare_bits(np.array([100.0]), np.array([900.0]), np.array([500.0]))

    decision = decide(comparison, champion="1", seed_noise=0.01)

    assert decision.alias == "challenger"
    assert "standard error unknown" in decision.reason


def test_a_model_that_grew_too_much_is_refused() -> None:
    assert check_growth(150, 100, champion="1", max_growth=1.5) is None
    refusal = check_growth(151, 100, champion="1", max_growth=1.5)
    assert refusal is not None
    assert refusal.alias == "challenger"
    assert "1.51 times" in refusal.reason


@pytest.mark.parametrize("metric", [F1, BITS])
def test_without_a_test_set_the_champion_stays(metric: Metric) -> None:
    nothing = np.empty((0, 2))
    decision = decide(compare_units(nothing, nothing, figure=ratio, metric=metric), champion="3", seed_noise=0.0)

    assert decision.alias == "challenger"
    assert decision.reason.startswith("nothing was measured: there are no test")
