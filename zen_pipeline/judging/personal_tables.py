"""The tables of the validation report about cleaning and personal data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zen_pipeline.blocks import Amount, Cell, Phrase, Table
from zen_pipeline.corpus.cleaning.personal import PLACEHOLDERS
from zen_pipeline.corpus.cleaning.personal_eval import Score, evaluate
from zen_pipeline.settings.data import CleanSettings

_MISSES = 20  # shown of each type
_DONE = {
    "replace": "replaced by {placeholder}",
    "drop": "record set aside",
    "report": "left in the text",
    "ignore": "not looked for",
}


def cleaning_tables(changes: Mapping[str, int], personal: Mapping[str, int], settings: CleanSettings) -> list[Table]:
    """What cleaning changed, and what personal data it found.

    Args:
        changes: places changed, by step.
        personal: findings, by type.
        settings: what was done about them.
    """
    found = [
        (kind, personal[kind], Phrase(_DONE[settings.action(kind)], {"placeholder": placeholder}))
        for kind, placeholder in PLACEHOLDERS.items()
        if personal.get(kind)
    ]
    note = "" if settings.names_model else "Names of persons and places are looked for with validate.clean.names_model."
    return [
        Table(("step", "places changed"), list(changes.items()), title="Cleaning"),
        Table(("type", "found", "what was done"), found, title="Personal data", note=note),
    ]


def detector_tables(labelled: list[Path]) -> list[Table]:
    """Precision and recall of the detectors on labelled texts, and what they missed.

    Missed values are shown by their shape, digits as 0 and letters as a: the labelled texts may be real.

    Raises:
        DataError: a file is not in the format of `personal_eval`.
    """
    scores = [(path.name, kind, score) for path in labelled for kind, score in evaluate(path).items()]
    return [
        Table(
            ("labelled texts", "type", "labelled", "recall", "exact", "found", "precision"),
            [(name, kind, *_figures(score)) for name, kind, score in scores],
            title="How much personal data is found",
            note="Measured on the files of validate.personal_labels. A label counts as found when a finding of its "
            "type overlaps it, and as exact when both ends agree.",
        ),
        Table(
            ("labelled texts", "type", "after", "shape"),
            [
                (name, kind, f"…{_shape(before)}", _shape(value))
                for name, kind, score in scores
                for before, value in score.missed[:_MISSES]
            ],
            title="Personal data that was missed",
        ),
    ]


def _figures(score: Score) -> tuple[Cell, ...]:
    exact = score.exact / score.labelled if score.labelled else 1.0
    return (
        score.labelled,
        Amount(f"{score.recall:.3f}"),
        Amount(f"{exact:.3f}"),
        score.findings,
        Amount(f"{score.precision:.3f}"),
    )


def _shape(text: str) -> str:
    return "".join("0" if c.isdigit() else "a" if c.isalpha() else c if c.isprintable() else " " for c in text)
