"""Summaries: single numbers about all rows of a frame, such as the share of duplicates or the drift of a distribution.

Great Expectations has no expectation for them, so they are computed here and given to it as a table of one row, which
its own `expect_column_max_to_be_between` bounds. A suite names them like any other expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zen_pipeline.corpus.profile.drift import jensen_shannon_distance, population_stability_index, stability_noise
from zen_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

CORE = "expect_column_max_to_be_between"  # of one row, the largest value is the value


class Summary(NamedTuple):
    """One number about a frame, and what it may be.

    Attributes:
        value: the number; NaN, which meets no limit, where there is nothing to compute it from.
        limits: arguments of `CORE`.
        chance: the number that chance alone reaches; None where that is not known.
    """

    value: float
    limits: Mapping[str, Any]
    chance: float | None = None


Arguments = Mapping[str, Any]


def summarize(where: str, type: str, kwargs: Arguments, frame: pd.DataFrame) -> Summary:
    """The number that an expectation of `SUMMARIES` is about.

    Args:
        where: file and number of the expectation, for messages.
        type: its name.
        kwargs: its arguments; columns among them are in the frame.
        frame: the rows that it is about.

    Raises:
        ConfigError: an argument is missing, there is no such distribution, or the column does not hold numbers.
    """
    made = SUMMARIES[type]
    missing = [name for name in made.needs if kwargs.get(name) is None]
    if missing:
        raise ConfigError(f"{where} ({type}): {', '.join(missing)} must be given")
    try:
        return made.of(frame, kwargs)
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigError(
            f"{where}, {type} could not be computed over {len(frame)} rows ({str(error)[:300]}): "
            f"check its kwargs {dict(kwargs)}"
        ) from None


# --- shares of all records --------------------------------------------------------------------------------------------


def _filled(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """Share of the rows that hold something: a text that is not empty, a number above 0."""
    import pandas as pd

    column = frame[kwargs["column"]].dropna()
    filled = column > 0 if pd.api.types.is_numeric_dtype(column.dtype) else column.astype(str) != ""
    return _at_most(float(np.mean(filled.to_numpy(bool))) if len(column) else 0.0, kwargs)


def _foreign(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """Share of the rows of a known language that are in another than `languages`; default: than the most frequent."""
    column = frame[kwargs["column"]].dropna().astype(str)
    known = column[column != "und"]
    if known.empty:
        return _at_most(0.0, kwargs)
    expected = kwargs.get("languages") or [known.value_counts().index[0]]
    return _at_most(float(np.mean(~known.isin(expected).to_numpy(bool))), kwargs)


def _weighted_mean(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """The mean of a column in which each row counts as much as `weight_column` says."""
    values, weights = (frame[kwargs[name]].to_numpy(dtype=float) for name in ("column", "weight_column"))
    return _at_most(float(np.average(values, weights=weights)) if weights.sum() else 0.0, kwargs)


def _evenness(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """Shannon entropy of the labels over the largest that so many labels can have (Pielou 1966); 1 for one label."""
    counts = frame[kwargs["column"]].dropna().astype(str).value_counts().to_numpy(dtype=float)
    shares = counts / counts.sum()
    even = float(-(shares * np.log(shares)).sum() / math.log(len(counts))) if len(counts) > 1 else 1.0
    return Summary(even, {"min_value": kwargs["min_balance"]})


def _at_most(share: float, kwargs: Arguments) -> Summary:
    return Summary(share, {"max_value": kwargs["max_share"]})


# --- drift ------------------------------------------------------------------------------------------------------------


def _stability(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """Population stability index: below `max_value`, or no larger than chance alone makes it."""
    before, now = _counts(frame, kwargs["distribution"])
    limit, noise = kwargs["max_value"], stability_noise(before, now)
    allowed = {"max_value": max(limit, noise), "strict_max": limit > noise}
    return Summary(population_stability_index(before, now), allowed, noise)


def _jensen_shannon(frame: pd.DataFrame, kwargs: Arguments) -> Summary:
    """Jensen-Shannon distance, below `max_value`: 0 for the same shares, 1 for nothing shared."""
    distance = jensen_shannon_distance(*_counts(frame, kwargs["distribution"]))
    return Summary(distance, {"max_value": kwargs["max_value"], "strict_max": True})


_Counts = np.ndarray[Any, np.dtype[np.float64]]


def _counts(frame: pd.DataFrame, name: str) -> tuple[_Counts, _Counts]:
    """The counts before and now of the bins of one distribution; the frame is that of `drift_frame`."""
    rows = frame[frame["distribution"] == name]
    if rows.empty:
        raise LookupError(f"there is no distribution {name!r}; known: {', '.join(sorted(set(frame['distribution'])))}")
    return rows["before"].to_numpy(dtype=float), rows["now"].to_numpy(dtype=float)


class _Made(NamedTuple):
    of: Callable[[pd.DataFrame, Arguments], Summary]
    needs: tuple[str, ...]


SUMMARIES: Mapping[str, _Made] = {
    "expect_column_share_of_duplicates_to_be_at_most": _Made(_filled, ("column", "max_share")),
    "expect_column_share_of_personal_data_to_be_at_most": _Made(_filled, ("column", "max_share")),
    "expect_column_share_of_foreign_language_to_be_at_most": _Made(_foreign, ("column", "max_share")),
    "expect_column_share_of_unknown_characters_to_be_at_most": _Made(
        _weighted_mean, ("column", "weight_column", "max_share")
    ),
    "expect_column_label_balance_to_be_at_least": _Made(_evenness, ("column", "min_balance")),
    "expect_population_stability_index_to_be_less_than": _Made(_stability, ("distribution", "max_value")),
    "expect_jensen_shannon_distance_to_be_less_than": _Made(_jensen_shannon, ("distribution", "max_value")),
}
