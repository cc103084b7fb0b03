"""Expectations that Great Expectations does not have, written as its own are; JSON files name them in snake case.

Importing this module registers them, and imports Great Expectations, which takes seconds: only judging does it. They
work on pandas frames of measures, the one engine that is used here.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnAggregateExpectation,
    ColumnMapExpectation,
    ColumnPairMapExpectation,
)
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    ColumnPairMapMetricProvider,
    column_condition_partial,
    column_pair_condition_partial,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from zen_pipeline.corpus.profile.drift import jensen_shannon_distance, population_stability_index, stability_noise

# --- shares of all records --------------------------------------------------------------------------------------------


class ColumnFilledShare(ColumnAggregateMetricProvider):
    """Share of the rows that hold something: a text that is not empty, a number above 0."""

    metric_name = "column.filled_share"

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> float:  # noqa: N805
        filled = column > 0 if pd.api.types.is_numeric_dtype(column.dtype) else column.astype(str) != ""
        return float(filled.mean()) if len(column) else 0.0


class ColumnForeignShare(ColumnAggregateMetricProvider):
    """Share of the rows in a language that was not expected."""

    metric_name = "column.foreign_share"
    value_keys = ("languages",)

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, languages: list[str] | None = None, **_: Any) -> float:  # noqa: N805
        known = column[column.astype(str) != "und"]
        if known.empty:
            return 0.0
        expected = languages or [known.astype(str).value_counts().index[0]]
        return float((~known.isin(expected)).mean())


class ColumnWeightedMean(ColumnAggregateMetricProvider):
    """The mean of a column in which each row counts as much as another column says."""

    metric_name = "column.weighted_mean"
    value_keys = ("weight_column",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> float:
        frame, _compute, accessor = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.COLUMN)
        weights = frame[metric_value_kwargs["weight_column"]].to_numpy(dtype=float)
        values = frame[accessor["column"]].to_numpy(dtype=float)
        return float(np.average(values, weights=weights)) if weights.sum() else 0.0


class ColumnLabelEvenness(ColumnAggregateMetricProvider):
    """Shannon entropy of the labels over the largest that so many labels can have (Pielou 1966); 1 for one label."""

    metric_name = "column.label_evenness"

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> float:  # noqa: N805
        counts = column.dropna().astype(str).value_counts().to_numpy(dtype=float)
        if len(counts) < 2:
            return 1.0
        shares = counts / counts.sum()
        return float(-(shares * np.log(shares)).sum() / math.log(len(counts)))


class _AtMost(ColumnAggregateExpectation):
    """A share of the records that must not be larger than `max_share`."""

    max_share: float
    success_keys: ClassVar[tuple[str, ...]] = ("max_share",)
    args_keys: ClassVar[tuple[str, ...]] = ("column", "max_share")

    @classmethod
    def is_abstract(cls) -> bool:
        """Only classes that name a metric are expectations."""
        return not cls.metric_dependencies or bool(super().is_abstract())

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        value = metrics[self.metric_dependencies[0]]
        return {"success": bool(value <= self.max_share), "result": {"observed_value": value}}


class ExpectColumnShareOfDuplicatesToBeAtMost(_AtMost):
    """Share of the records that are copies; the column names the record that each is a copy of."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.filled_share",)


class ExpectColumnShareOfPersonalDataToBeAtMost(_AtMost):
    """Share of the records in which personal data was found; the column counts the findings."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.filled_share",)


class ExpectColumnShareOfForeignLanguageToBeAtMost(_AtMost):
    """Share of the records, among those whose language is known, in none of `languages`.

    Without `languages` the most frequent one is expected.
    """

    languages: list[str] | None = None
    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.foreign_share",)
    success_keys: ClassVar[tuple[str, ...]] = ("max_share", "languages")


class ExpectColumnShareOfUnknownCharactersToBeAtMost(_AtMost):
    """Share of all characters that are U+FFFD; the column holds each record's share, `weight_column` its length."""

    weight_column: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.weighted_mean",)
    success_keys: ClassVar[tuple[str, ...]] = ("max_share", "weight_column")


class ExpectColumnLabelBalanceToBeAtLeast(ColumnAggregateExpectation):
    """How even the labels are spread: 1 when all are equally frequent, near 0 when one label has nearly all rows."""

    min_balance: float
    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.label_evenness",)
    success_keys: ClassVar[tuple[str, ...]] = ("min_balance",)

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        value = metrics["column.label_evenness"]
        return {"success": bool(value >= self.min_balance), "result": {"observed_value": value}}


# --- one record at a time ---------------------------------------------------------------------------------------------


class ColumnValuesYes(ColumnMapMetricProvider):
    """Rows that hold a yes: 1."""

    condition_metric_name = "column_values.yes"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:  # noqa: N805
        return column == 1


class ColumnValuesPositive(ColumnMapMetricProvider):
    """Rows that hold a number above 0."""

    condition_metric_name = "column_values.positive"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:  # noqa: N805
        return column > 0


class ColumnPairRatio(ColumnPairMapMetricProvider):
    """Rows in which the larger number is at most `max_ratio` times the smaller one, and neither is 0."""

    condition_metric_name = "column_pair_values.ratio_at_most"
    condition_value_keys = ("max_ratio",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        column_A: pd.Series,  # noqa: N803
        column_B: pd.Series,  # noqa: N803
        max_ratio: float,
        **_: Any,
    ) -> pd.Series:
        smaller, larger = np.minimum(column_A, column_B), np.maximum(column_A, column_B)
        return pd.Series((smaller > 0) & (larger <= max_ratio * smaller), index=column_A.index)


class ExpectAnswerToBeInContext(ColumnMapExpectation):
    """Every question that has an answer has it in its context, as it is written there."""

    map_metric = "column_values.yes"


class ExpectColumnValuesToHaveSupervisedTokens(ColumnMapExpectation):
    """Every conversation keeps at least one token of an answer when it is cut to the context length."""

    map_metric = "column_values.positive"


class ExpectTranslationLengthRatioToBeAtMost(ColumnPairMapExpectation):
    """Neither side of a translation is more than `max_ratio` times as long as the other, and neither is empty."""

    max_ratio: float
    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = "either_value_is_missing"
    map_metric = "column_pair_values.ratio_at_most"
    success_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B", "ignore_row_if", "mostly", "max_ratio")
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B", "max_ratio")


# --- drift ------------------------------------------------------------------------------------------------------------


class _DistributionMetric(TableMetricProvider):
    """A figure about one distribution: rows of a frame `distribution, bin, before, now` with counts."""

    value_keys = ("distribution",)

    @classmethod
    def counts(
        cls, engine: PandasExecutionEngine, domain: dict[str, Any], name: str
    ) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
        """The counts before and now of the bins of one distribution."""
        frame, _compute, _accessor = engine.get_compute_domain(domain, MetricDomainTypes.TABLE)
        rows = frame[frame["distribution"] == name]
        if rows.empty:
            raise ValueError(f"there is no distribution {name!r}; known: {sorted(set(frame['distribution']))}")
        return rows["before"].to_numpy(dtype=float), rows["now"].to_numpy(dtype=float)


class TableStability(_DistributionMetric):
    """Population stability index, and what chance alone gives."""

    metric_name = "table.population_stability_index"

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> tuple[float, float]:
        before, now = cls.counts(execution_engine, metric_domain_kwargs, metric_value_kwargs["distribution"])
        return population_stability_index(before, now), stability_noise(before, now)


class TableJensenShannon(_DistributionMetric):
    """Jensen-Shannon distance."""

    metric_name = "table.jensen_shannon_distance"

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> float:
        before, now = cls.counts(execution_engine, metric_domain_kwargs, metric_value_kwargs["distribution"])
        return jensen_shannon_distance(before, now)


class ExpectPopulationStabilityIndexToBeLessThan(BatchExpectation):
    """A distribution has not moved: its index is below `max_value`, or no larger than chance alone makes it."""

    distribution: str
    max_value: float
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.population_stability_index",)
    success_keys: ClassVar[tuple[str, ...]] = ("distribution", "max_value")

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        value, noise = metrics["table.population_stability_index"]
        met = value < self.max_value or value <= noise
        return {"success": bool(met), "result": {"observed_value": value, "details": {"chance_gives_up_to": noise}}}


class ExpectJensenShannonDistanceToBeLessThan(BatchExpectation):
    """A distribution has not moved: its distance is below `max_value`; 0 for the same shares, 1 for nothing shared."""

    distribution: str
    max_value: float
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.jensen_shannon_distance",)
    success_keys: ClassVar[tuple[str, ...]] = ("distribution", "max_value")

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        value = metrics["table.jensen_shannon_distance"]
        return {"success": bool(value < self.max_value), "result": {"observed_value": value}}
