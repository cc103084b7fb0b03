"""What is measured of each record, and the limits beyond which it is set aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.duplicates.normal_form import Integers, Texts, code_point_classes
from zen_pipeline.settings.data import ValidateConfig

Columns = dict[str, npt.NDArray[Any]]

COUNTED = ("characters", "visible", "words", "longest_line", "replacements", "controls", "digits")

# Why a record is set aside by its own measures: the reason, which records, and its figures in words.
_Limit = tuple[str, Callable[[Columns, ValidateConfig], npt.NDArray[np.bool_]], str]
_LIMITS: tuple[_Limit, ...] = (
    (
        "too short",
        lambda m, config: m["visible"] < _shortest(m, config),
        "{characters} characters, at least {shortest}",
    ),
    (
        "too long",
        lambda m, config: m["characters"] > config.max_characters,
        "{characters} characters, at most {config.max_characters}",
    ),
    (
        "too many replacement characters",
        lambda m, config: m["replacement_share"] > config.max_replacement_share,
        "{replacement_share:.1%}",
    ),
    (
        "too many control characters",
        lambda m, config: m["control_share"] > config.max_control_share,
        "{control_share:.1%}",
    ),
)


def _shortest(measures: Columns, config: ValidateConfig) -> npt.NDArray[np.int64]:
    """The fewest characters of each record, by its kind; what shows nothing is too short always."""
    kinds, place = np.unique(measures["kind"], return_inverse=True)
    return np.array([config.shortest(str(kind)) for kind in kinds], np.int64)[place]


_FIGURES = {reason: figures for reason, _, figures in _LIMITS}


def measure(texts: Texts, removed_controls: Integers | None = None) -> Columns:
    """The measures of some texts, a column each.

    Args:
        texts: as they are now, cleaned or not.
        removed_controls: control characters that cleaning has taken out of each. They count as if they were there
            still: what was full of them is binary data or terminal output, and no text after their removal either.

    Returns:
        `characters`, `visible` (without white space at both ends), `bytes`, `words`, `longest_line` as int64, and
        `replacement_share`, `control_share`, `digit_share` of the characters as float32.
    """
    from zen_pipeline.corpus.duplicates.text_kernels import count

    counts = np.empty((len(texts.starts), len(COUNTED)), np.int64)
    count(*texts, code_point_classes(), counts)
    columns = dict(zip(COUNTED, counts.T, strict=True))
    characters = np.maximum(columns["characters"], 1)
    removed = np.int64(0) if removed_controls is None else removed_controls
    controls = (columns.pop("controls") + removed) / (characters + removed)
    shares = {
        "replacement_share": (columns.pop("replacements") / characters).astype(np.float32),
        "control_share": controls.astype(np.float32),
        "digit_share": (columns.pop("digits") / characters).astype(np.float32),
    }
    return {**columns, "bytes": texts.ends - texts.starts, **shares}


def reasons(measures: Columns, config: ValidateConfig) -> list[str]:
    """For each record why its measures and its `kind` set it aside; empty for one that they do not."""
    found = np.full(len(measures["characters"]), "", object)
    for reason, beyond, _ in reversed(_LIMITS):  # the first limit has the last word
        found[beyond(measures, config)] = reason
    return list(found)


def explain(reason: str, measures: dict[str, Any], config: ValidateConfig) -> str:
    """A reason with the figures of one record; one that is not from `reasons` stays as it is."""
    figures = _FIGURES.get(reason)
    if figures is None:
        return reason
    return f"{reason}: {figures.format(config=config, shortest=config.shortest(measures['kind']), **measures)}"
