from __future__ import annotations

import pytest

from zen_pipeline.training.schedule import learning_rate_factor


def factors(total: int, warmup: float, cooldown: float) -> list[float]:
    return [learning_rate_factor(s, total, warmup=warmup, cooldown=cooldown) for s in range(total)]


def test_rises_stays_and_falls_in_straight_lines() -> None:
    found = factors(10, 0.2, 0.4)
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5])


def test_every_step_moves_and_the_rate_after_the_last_is_zero() -> None:
    assert min(factors(37, 0.3, 0.7)) > 0
    assert learning_rate_factor(37, 37, warmup=0.3, cooldown=0.7) == 0


def test_without_warmup_and_cooldown_the_rate_is_constant() -> None:
    assert factors(5, 0.0, 0.0) == [1.0] * 5


def test_one_step_is_a_whole_run() -> None:
    assert factors(1, 0.02, 0.5) == [1.0]
