"""The expectations that a suite may name, with their arguments: an allow-list, since a suite is a file that may come
from anybody and Great Expectations runs some of what it is given.

`row_condition` with the parser `pandas` is evaluated by `DataFrame.query` and can call any function; suite parameters
(`{"$PARAMETER": …}`) are evaluated, queries are sent to a database, JSON schemas can name addresses. So only numbers,
texts and lists of them pass, under names that are known here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from zen_pipeline.errors import ConfigError


class _Form(NamedTuple):
    """What an argument must be, in words, and the check of it."""

    words: str
    fits: Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _scalar(value: Any) -> bool:
    return isinstance(value, str | bool) or _number(value)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_scalar, value))


def _range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(end is None or _number(end) for end in value)


def _quantiles(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"quantiles", "value_ranges"}
        and _list_of(_number)(value["quantiles"])
        and _list_of(_range)(value["value_ranges"])
    )


_NUMBER = _Form("a number", _number)
_YES_NO = _Form("true or false", lambda value: isinstance(value, bool))
_TEXT = _Form("a text", lambda value: isinstance(value, str))
_TEXTS = _Form("a list of texts", _list_of(lambda value: isinstance(value, str)))
_NAME = _Form("a name", lambda value: isinstance(value, str) and value.isidentifier())
_VALUES = _Form("a list of numbers or texts", _list_of(_scalar))

_FORMS: dict[str, _Form] = {
    **dict.fromkeys(("column", "column_A", "column_B", "weight_column", "distribution", "regex"), _TEXT),
    **dict.fromkeys(("column_list", "column_set", "languages", "regex_list"), _TEXTS),
    **dict.fromkeys(
        ("min_value", "max_value", "mostly", "threshold", "value", "sum_total", "max_share", "min_balance",
         "max_ratio", "column_index", "multiplier"),
        _NUMBER,
    ),
    **dict.fromkeys(
        ("strict_min", "strict_max", "ties_okay", "or_equal", "double_sided", "strictly", "exact_match"), _YES_NO
    ),
    **dict.fromkeys(("ignore_row_if", "match_on", "method", "type_"), _NAME),
    "type_list": _Form("a list of names", _list_of(lambda value: isinstance(value, str) and value.isidentifier())),
    "value_set": _VALUES,
    "value_pairs_set": _Form("a list of pairs", _list_of(_pair)),
    "quantile_ranges": _Form('{"quantiles": [numbers], "value_ranges": [[from, to], …]}', _quantiles),
}  # fmt: skip

_BETWEEN = "min_value max_value strict_min strict_max"
_BY_NAME = {
    **dict.fromkeys(
        (
            "column_max_to_be_between", "column_mean_to_be_between", "column_median_to_be_between",
            "column_min_to_be_between", "column_stdev_to_be_between", "column_sum_to_be_between",
            "column_unique_value_count_to_be_between", "column_proportion_of_unique_values_to_be_between",
            "column_proportion_of_non_null_values_to_be_between",
        ),
        f"column {_BETWEEN}",
    ),
    "column_values_to_be_between": f"column mostly {_BETWEEN}",
    "column_value_lengths_to_be_between": f"column mostly {_BETWEEN}",
    "table_row_count_to_be_between": _BETWEEN,
    "table_column_count_to_be_between": "min_value max_value",
    "column_to_exist": "column column_index",
    "column_type_to_be": "column type_",
    "column_distinct_values_to_be_in_set": "column value_set",
    "column_distinct_values_to_contain_set": "column value_set",
    "column_distinct_values_to_equal_set": "column value_set",
    "column_most_common_value_to_be_in_set": "column value_set ties_okay",
    "column_quantile_values_to_be_between": "column quantile_ranges",
    "column_value_lengths_to_equal": "column mostly value",
    "column_value_z_scores_to_be_less_than": "column mostly threshold double_sided",
    "column_values_to_be_decreasing": "column mostly strictly",
    "column_values_to_be_increasing": "column mostly strictly",
    "column_values_to_be_in_set": "column mostly value_set",
    "column_values_to_not_be_in_set": "column mostly value_set",
    "column_values_to_be_in_type_list": "column mostly type_list",
    "column_values_to_be_of_type": "column mostly type_",
    "column_values_to_be_null": "column mostly",
    "column_values_to_not_be_null": "column mostly",
    "column_values_to_be_unique": "column mostly",
    "column_values_to_match_regex": "column mostly regex",
    "column_values_to_not_match_regex": "column mostly regex",
    "column_values_to_match_regex_list": "column mostly regex_list match_on",
    "column_values_to_not_match_regex_list": "column mostly regex_list",
    "column_values_to_not_be_outliers": "column mostly method multiplier",
    "column_pair_values_a_to_be_greater_than_b": "column_A column_B mostly ignore_row_if or_equal",
    "column_pair_values_to_be_equal": "column_A column_B mostly ignore_row_if",
    "column_pair_values_to_be_in_set": "column_A column_B mostly ignore_row_if value_pairs_set",
    "compound_columns_to_be_unique": "column_list mostly ignore_row_if",
    "multicolumn_sum_to_equal": "column_list mostly ignore_row_if sum_total",
    "multicolumn_values_to_be_equal": "column_list mostly ignore_row_if",
    "select_column_values_to_be_unique_within_record": "column_list mostly ignore_row_if",
    "table_column_count_to_equal": "value",
    "table_row_count_to_equal": "value",
    "table_columns_to_match_ordered_list": "column_list",
    "table_columns_to_match_set": "column_set exact_match",
    # Written in core terms by `suites`.
    "answer_to_be_in_context": "column mostly",
    "column_values_to_have_supervised_tokens": "column mostly",
    "translation_length_ratio_to_be_at_most": "column_A column_B mostly ignore_row_if max_ratio",
    # Numbers about all rows, from `summaries`.
    "column_label_balance_to_be_at_least": "column min_balance",
    "column_share_of_duplicates_to_be_at_most": "column max_share",
    "column_share_of_foreign_language_to_be_at_most": "column max_share languages",
    "column_share_of_personal_data_to_be_at_most": "column max_share",
    "column_share_of_unknown_characters_to_be_at_most": "column max_share weight_column",
    "population_stability_index_to_be_less_than": "distribution max_value",
    "jensen_shannon_distance_to_be_less_than": "distribution max_value",
}  # fmt: skip
ALLOWED = {f"expect_{name}": frozenset(arguments.split()) for name, arguments in _BY_NAME.items()}


def check_allowed(where: str, type: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse what is not on the list.

    Raises:
        ConfigError: an expectation or argument that is unknown or not allowed, or a value of another form.
    """
    allowed = ALLOWED.get(type)
    if allowed is None:
        near = difflib.get_close_matches(type, ALLOWED, n=1)
        hint = f"did you mean {near[0]}?" if near else "docs/data.md lists them"
        raise ConfigError(f"{where}: there is no expectation {type!r} that a suite may use; {hint}")
    for name, value in kwargs.items():
        if name not in allowed:
            raise ConfigError(
                f"{where}, {type}: {name!r} is no argument that a suite may use; allowed: {', '.join(sorted(allowed))}"
            )
        form = _FORMS[name]
        if value is not None and not form.fits(value):
            raise ConfigError(f"{where}, {type}: {name} must be {form.words}, found {str(value)[:80]!r}")
        if name in ("regex", "regex_list") and value is not None:
            _check_regexes(where, [value] if name == "regex" else value)


def _check_regexes(where: str, patterns: list[str]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{where}: {pattern[:80]!r} is no regular expression: {error}") from None
