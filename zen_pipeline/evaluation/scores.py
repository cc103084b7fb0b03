"""The figure that decides about each model, with the plain baseline that it must beat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Metric:
    """The figure that decides about a model.

    Attributes:
        name: `bits_per_byte`.
        measure: name and unit in words: `bits per byte of unseen text`.
        unit: what the test set consists of, in the plural; resampling draws these.
        lower_is_better: for losses.
        seed_noise: how much two runs differ that differ in the seed alone; `release.seed_noise` overrides it.
        digits: after the decimal point, when it is shown.
    """

    name: str
    measure: str
    unit: str
    lower_is_better: bool
    seed_noise: float
    digits: int = 3


@dataclass(frozen=True)
class Score:
    """One deciding figure.

    Attributes:
        name: of the metric, as in `bits_per_byte`.
        value: the model's.
        measure: name and unit in words, as in "bits per byte of unseen text".
        baseline: name of the strongest plain baseline; None without one.
        baseline_value: its figure on the same test set.
        lower_is_better: for losses; scores are better when they are higher.
        digits: after the decimal point, when it is shown.
    """

    name: str
    value: float
    measure: str
    baseline: str | None = None
    baseline_value: float | None = None
    lower_is_better: bool = False
    digits: int = 3

    @property
    def beats_baseline(self) -> bool | None:
        """True when the model is better than the baseline; None when there is nothing to compare with."""
        if self.baseline_value is None:
            return None
        return self.value < self.baseline_value if self.lower_is_better else self.value > self.baseline_value

    def __str__(self) -> str:
        baseline = "" if self.baseline_value is None else f" ({self.baseline}: {self.baseline_value:.{self.digits}f})"
        return f"{self.value:.{self.digits}f} {self.measure}{baseline}"


def score_of(metric: Metric, value: float, baselines: Mapping[str, float], *, count: int) -> Score:
    """The score of a model, with the best of its baselines.

    Args:
        metric: of the model's task.
        value: the model's figure.
        baselines: figures on the same test set, by name.
        count: units of the test set, for the words.
    """
    best = min if metric.lower_is_better else max
    name = best(baselines, key=lambda n: baselines[n]) if baselines else None
    return Score(
        metric.name,
        value,
        metric.measure.format(count=count),
        name,
        baselines[name] if name is not None else None,
        metric.lower_is_better,
        metric.digits,
    )


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics.json of an evaluation's artifact; empty when there is none."""
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_score(folder: Path) -> Score | None:
    """The score in an evaluation's artifact; None when there is none."""
    metrics = read_metrics(folder)
    return Score(**metrics["score"]) if metrics else None
