"""How far two data sets are apart: figures over the counts of the same bins.

Thresholds in use: a population stability index below 0.1 is no change, from 0.25 on a major one (Siddiqi, Credit Risk
Scorecards, 2006); a Jensen-Shannon distance of 0.1 is where Evidently, a tool for monitoring data, reports drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.profile.profile import Profile

if TYPE_CHECKING:
    import pandas as pd

Counts = npt.NDArray[np.float64]
_FLOOR = 1e-4  # share of an empty bin: the index is infinite without one; the usual choice
_NOISE_QUANTILE = 0.95
_WORDS = 500  # the most frequent of each side; rarer words differ between any two samples


def population_stability_index(before: Counts, now: Counts) -> float:
    """Sum over the bins of the difference of shares times the logarithm of their ratio; 0 for equal shares.

    Args:
        before: (bins,) counts of the earlier data set.
        now: (bins,) counts of this one.
    """
    old, new = (np.maximum(c / c.sum(), _FLOOR) for c in (before, now))
    return float(((new - old) * np.log(new / old)).sum())


def stability_noise(before: Counts, now: Counts) -> float:
    """The index that chance exceeds in 1 of 20 cases when nothing has moved.

    It is about chi-square distributed, with one degree of freedom less than there are bins, times (1/n + 1/m) for n
    and m records (Yurdakul, Statistical Properties of Population Stability Index, 2018).
    """
    from scipy.stats import chi2

    bins = int(((before > 0) | (now > 0)).sum())
    return float(chi2.ppf(_NOISE_QUANTILE, bins - 1) * (1 / before.sum() + 1 / now.sum())) if bins > 1 else 0.0


def jensen_shannon_distance(before: Counts, now: Counts) -> float:
    """Square root of the Jensen-Shannon divergence in bits: 0 for equal shares, 1 when nothing is shared.

    Args:
        before: (bins,) counts of the earlier data set.
        now: (bins,) counts of this one.
    """
    old, new = before / before.sum(), now / now.sum()
    middle = (old + new) / 2

    def divergence(shares: Counts) -> float:
        there = shares > 0
        return float((shares[there] * np.log2(shares[there] / middle[there])).sum())

    return float(np.sqrt(max((divergence(old) + divergence(new)) / 2, 0.0)))


def drift_frame(before: Profile, now: Profile) -> pd.DataFrame:
    """One row per bin of each distribution: `distribution, bin, before, now`, in counts.

    Distributions are `length`, `language`, `source`, `kind` (in records) and `vocabulary` (in words).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for name, old in before.distributions().items():
        new = now.distributions()[name]
        if name == "vocabulary":
            old, new = _frequent(old, new)
        rows += [
            {"distribution": name, "bin": key, "before": old.get(key, 0), "now": new.get(key, 0)}
            for key in sorted({*old, *new})
        ]
    return pd.DataFrame(rows, columns=["distribution", "bin", "before", "now"])


def _frequent(old: dict[str, int], new: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Both sides with the most frequent words of either, all others counted as one."""
    kept = {*list(old)[:_WORDS], *list(new)[:_WORDS]}

    def folded(counts: dict[str, int]) -> dict[str, int]:
        shown = {word: count for word, count in counts.items() if word in kept}
        return {**shown, "": sum(counts.values()) - sum(shown.values())}

    return folded(old), folded(new)


def largest_moves(frame: pd.DataFrame, name: str, count: int = 8) -> list[tuple[str, float, float]]:
    """The bins of one distribution whose shares moved most: (bin, share before, share now)."""
    rows = frame[frame["distribution"] == name]
    before, now = rows["before"] / max(rows["before"].sum(), 1), rows["now"] / max(rows["now"].sum(), 1)
    order = (now - before).abs().sort_values(ascending=False, kind="stable").index[:count]
    return [(str(rows.loc[i, "bin"]), float(before[i]), float(now[i])) for i in order if before[i] != now[i]]
