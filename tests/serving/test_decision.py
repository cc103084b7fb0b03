"""A model is promoted only when the difference is larger than both kinds of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zen_pipeline.serving.decision import Comparison, check_growth, compare_bits_per_byte, compare_f1, decide


def test_bits_per_byte_is_the_ratio_of_the_sums() -> None:
    sizes = np.array([10, 1000])
    comparison = compare_bits_per_byte(np.array([8.0, 900.0]), np.array([9.0, 1000.0]), sizes)

    assert comparison.candidate == pytest.approx(908 / 1010 / math.log(2))
    assert comparison.champion == pytest.approx(1009 / 1010 / math.log(2))
    assert comparison.improvement == pytest.approx(101 / 1010 / math.log(2))


def test_the_standard_error_agrees_with_a_paired_bootstrap() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 5000, 400)
    champion = sizes * random.normal(1.4, 0.3, 400)
    candidate = champion - sizes * random.normal(0.02, 0.05, 400)

    comparison = compare_bits_per_byte(candidate, champion, sizes)

    draws = random.integers(0, 400, (4000, 400))
    resampled = (champion - candidate)[draws].sum(1) / math.log(2) / sizes[draws].sum(1)
    assert comparison.standard_error == pytest.approx(resampled.std(), rel=0.1)


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
    comparison = compare_bits_per_byte(np.array([100.0]), np.array([900.0]), np.array([500]))

    decision = decide(comparison, champion="1", seed_noise=0.01)

    assert decision.alias == "challenger"
    assert "standard error unknown" in decision.reason


def test_a_model_that_grew_too_much_is_refused() -> None:
    assert check_growth(150, 100, champion="1", max_growth=1.5) is None
    refusal = check_growth(151, 100, champion="1", max_growth=1.5)
    assert refusal is not None
    assert refusal.alias == "challenger"
    assert "1.51 times" in refusal.reason


@pytest.mark.parametrize(
    "comparison",
    [compare_f1(np.array([]), np.array([])), compare_bits_per_byte(np.array([]), np.array([]), np.array([], np.int64))],
)
def test_without_a_test_set_the_champion_stays(comparison: Comparison) -> None:
    decision = decide(comparison, champion="3", seed_noise=0.0)

    assert decision.alias == "challenger"
    assert decision.reason.startswith("nothing was measured: there are no test")
