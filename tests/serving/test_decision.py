"""A model is promoted only when the difference is larger than both kinds of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from zen_pipeline.evaluation.chrf import chrf, chrf_sums
from zen_pipeline.serving.decision import Comparison, check_growth, compare_units, decide
from zen_pipeline.tasks.chat import TASK as CHAT
from zen_pipeline.tasks.language import TASK as LANGUAGE
from zen_pipeline.tasks.translation import TASK as TRANSLATION


def compare_texts(candidate: ArrayLike, champion: ArrayLike, sizes: ArrayLike) -> Comparison:
    """Two language models by the nats of documents of so many bytes."""
    ours, theirs = (np.stack([np.asarray(nats, float), np.asarray(sizes, float)], 1) for nats in (candidate, champion))
    return compare_units(ours, theirs, figure=LANGUAGE.figure, metric=LANGUAGE.metric)


def compare_answers(candidate: ArrayLike, champion: ArrayLike) -> Comparison:
    """Two chat models by the F1 of their answers."""
    ours, theirs = (np.stack([np.asarray(f1, float), np.ones(np.shape(f1))], 1) for f1 in (candidate, champion))
    return compare_units(ours, theirs, figure=CHAT.figure, metric=CHAT.metric)


def test_bits_per_byte_is_the_ratio_of_the_sums() -> None:
    comparison = compare_texts([8.0, 900.0], [9.0, 1000.0], [10, 1000])
    assert comparison.candidate == pytest.approx(908 / 1010 / math.log(2))
    assert comparison.champion == pytest.approx(1009 / 1010 / math.log(2))
    assert comparison.improvement == pytest.approx(101 / 1010 / math.log(2))


def test_the_standard_error_of_a_mean_is_the_usual_one() -> None:
    random = np.random.default_rng(2)
    ours, theirs = random.uniform(0, 1, 40), random.uniform(0, 1, 40)
    comparison = compare_answers(ours, theirs)
    assert comparison.improvement == pytest.approx((ours - theirs).mean())
    assert comparison.standard_error == pytest.approx((ours - theirs).std(ddof=1) / math.sqrt(40))


def test_the_standard_error_of_a_ratio_agrees_with_a_paired_bootstrap() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 5000, 400)
    champion = sizes * random.normal(1.4, 0.3, 400)
    candidate = champion - sizes * random.normal(0.02, 0.05, 400)
    comparison = compare_texts(candidate, champion, sizes)
    draws = random.integers(0, 400, (4000, 400))
    resampled = (champion - candidate)[draws].sum(1) / math.log(2) / sizes[draws].sum(1)
    assert comparison.standard_error == pytest.approx(resampled.std(), rel=0.1)


def test_the_standard_error_of_chrf_agrees_with_a_paired_bootstrap() -> None:
    random = np.random.default_rng(3)
    words = ["one", "two", "three", "four", "five", "six", "seven"]

    def said(right: float, text: list[str]) -> str:
        return " ".join(word if random.uniform() < right else str(random.choice(words)) for word in text)

    references = [[str(word) for word in random.choice(words, 8)] for _ in range(150)]
    ours, theirs = (
        np.stack([chrf_sums(said(right, text), " ".join(text)) for text in references]) for right in (0.8, 0.7)
    )
    comparison = compare_units(ours, theirs, figure=TRANSLATION.figure, metric=TRANSLATION.metric)
    draws = random.integers(0, 150, (2000, 150))
    resampled = chrf(ours[draws].sum(1)) - chrf(theirs[draws].sum(1))
    assert comparison.standard_error == pytest.approx(resampled.std(), rel=0.15)


def test_equal_models_are_rarely_told_apart() -> None:
    random = np.random.default_rng(4)
    found = [compare_answers(*random.uniform(0, 1, (2, 100))) for _ in range(400)]
    promoted = [decide(comparison, champion="1", seed_noise=0.0).alias == "champion" for comparison in found]
    assert 0.005 <= np.mean(promoted) <= 0.05  # two standard errors on one side: 2.3 %


def test_pairing_removes_what_is_hard_for_both() -> None:
    hard = np.random.default_rng(1).uniform(0, 1, 50)
    comparison = compare_answers(hard + 0.05, hard)
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

    decision = decide(compare_answers(champion + gain + wobble, champion), champion="7", seed_noise=0.02)

    assert decision.alias == alias
    assert why in decision.reason
    assert "of version 7 on the same 40 questions" in decision.reason


def test_one_document_resolves_nothing() -> None:
    comparison = compare_texts([100.0], [900.0], [500])

    decision = decide(comparison, champion="1", seed_noise=0.01)

    assert decision.alias == "challenger"
    assert "standard error unknown" in decision.reason


def test_a_model_that_grew_too_much_is_refused() -> None:
    assert check_growth(150, 100, champion="1", max_growth=1.5) is None
    refusal = check_growth(151, 100, champion="1", max_growth=1.5)
    assert refusal is not None
    assert refusal.alias == "challenger"
    assert "1.51 times" in refusal.reason


@pytest.mark.parametrize("comparison", [compare_answers([], []), compare_texts([], [], [])])
def test_without_a_test_set_the_champion_stays(comparison: Comparison) -> None:
    decision = decide(comparison, champion="3", seed_noise=0.0)

    assert decision.alias == "challenger"
    assert decision.reason.startswith("nothing was measured: there are no test")
