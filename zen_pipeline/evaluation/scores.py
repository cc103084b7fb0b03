"""The figure that decides about each model, beside the plain baseline that it must beat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        beside = "" if self.baseline_value is None else f" ({self.baseline}: {self.baseline_value:.{self.digits}f})"
        return f"{self.value:.{self.digits}f} {self.measure}{beside}"


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics.json of an evaluation's artifact; empty when there is none."""
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def deciding_scores(metrics: Mapping[str, Any]) -> dict[str, Score]:
    """The deciding figure of every model in an evaluation's metrics.json, by the model's short name."""
    found = {}
    if base := metrics.get("base"):
        baseline, value = _best(metrics.get("baselines") or {}, lower=True)
        found["base"] = Score(
            "bits_per_byte",
            base["bits_per_byte"],
            "bits per byte of unseen text",
            baseline,
            value,
            lower_is_better=True,
        )
    if chat := metrics.get("chat"):
        baseline, value = _best({name: s["f1"] for name, s in (chat.get("baselines") or {}).items()}, lower=False)
        found["chat"] = Score("f1", chat["f1"], f"F1 of {chat['questions']} answers", baseline, value)
    return found


def _best(figures: Mapping[str, float], *, lower: bool) -> tuple[str | None, float | None]:
    if not figures:
        return None, None
    name = (min if lower else max)(figures, key=lambda n: figures[n])
    return name.replace("_", " "), figures[name]
