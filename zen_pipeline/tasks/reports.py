"""Blocks of an evaluation's report that tasks share; a task adds what is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.blocks import (
    Bar,
    Bars,
    Block,
    Card,
    Cell,
    Facts,
    Label,
    ModelReport,
    Note,
    Passages,
    Phrase,
    Section,
    Verdict,
    phrase,
)
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Score
from zen_pipeline.reporting.formatting import megabytes, number

Metrics = Mapping[str, Any]  # the content of an evaluation's metrics.json
Rows = Sequence[tuple[Label, Cell]]


def score_report(
    metrics: Metrics,
    samples: Sequence[Sample],
    *,
    verdicts: tuple[str, str, str],
    card: Label,
    title: Label,
    note: Label,
    rows: Rows = (),
    cards: Sequence[Card] = (),
    sampled: Label = "",
    continued: bool = False,
    more: Sequence[Block] = (),
) -> ModelReport:
    """A report of the deciding figure with its baselines, the sizes of the test set, speed, and samples.

    Args:
        metrics: of the evaluation.
        samples: some of what the model made.
        verdicts: sentences without a baseline, above it, and below it, with `{value}`, `{baseline}` and `{other}`.
        card: name and unit of the figure, short.
        title: of the section of scores.
        note: what the figure means, and what the baselines are.
        rows: further figures.
        cards: further ones.
        sampled: what the samples are; empty: they are not shown.
        continued: texts go on from their prompts in the same line.
        more: blocks below the figures.
    """
    score, speed = Score(**metrics["score"]), metrics["speed"]
    bars = [Bar(name, value) for name, value in metrics["baselines"].items()]
    bars.append(Bar("this model", score.value, "bad" if score.beats_baseline is False else "good"))
    bars.sort(key=lambda bar: -bar.value if score.lower_is_better else bar.value)
    tested: list[tuple[Label, Cell]] = [(_TESTED.get(name, name), number(n)) for name, n in metrics["test"].items()]
    blocks: list[Block] = [
        Note(note),
        Bars(title, bars, score.digits),
        Facts([*rows, *tested, *speed_rows(speed)]),
        *more,
    ]
    sections = [Section("scores", title, blocks)]
    if sampled and samples:
        end = "" if continued else "\n"
        shown = [Passages(s.prompt + end, [("the model", s.text), ("the truth", s.reference)]) for s in samples]
        sections.append(Section("samples", "Samples", [Note(sampled), *shown]))
    all_cards = [score_card(score, card), *cards, _speed_card(speed)]
    return ModelReport(verdict(score, verdicts), all_cards, sections)


_TESTED: Mapping[str, str] = {
    "documents": "test documents",
    "tokens": "test tokens",
    "bytes": "test bytes",
    "questions": "test questions",
    "pairs": "test pairs",
    "baseline_tokens": "training tokens of the n-gram models",
}


def verdict(score: Score, verdicts: tuple[str, str, str], **values: str | int | float | Phrase) -> Phrase:
    """The sentence that fits: without a baseline, above it, or below it."""
    chosen = {None: verdicts[0], True: verdicts[1], False: verdicts[2]}[score.beats_baseline]
    found: dict[str, str | int | float | Phrase] = {**values, "value": f"{score.value:.{score.digits}f}"}
    if score.baseline_value is not None:
        baseline = phrase(unbroken(score.baseline))
        found |= {"baseline": baseline, "other": f"{score.baseline_value:.{score.digits}f}"}
    return Phrase(chosen, found)


def score_card(score: Score, label: Label) -> Card:
    """The deciding figure with its baseline, coloured by which is better."""
    digits, more = score.digits, phrase("")
    if score.baseline_value is not None:
        other = f"{score.baseline_value:.{digits}f}"
        more = phrase("{baseline}: {other}", baseline=phrase(unbroken(score.baseline)), other=other)
    colours: dict[bool | None, Verdict] = {None: "", True: "good", False: "bad"}
    return Card(f"{score.value:.{digits}f}", label, colours[score.beats_baseline], more)


def speed_rows(speed: Mapping[str, Any]) -> list[tuple[Label, Cell]]:
    """Size of a model, and what generating costs.

    Args:
        speed: `parameters`, `tokens_per_second`, `threads`, `peak_memory_bytes`, `device`.
    """
    rate = {"rate": f"{speed['tokens_per_second']:.1f}", "threads": speed["threads"]}
    return [
        ("parameters", number(speed["parameters"])),
        ("generation", Phrase("{rate} tokens/s, batch 1, {threads} thread(s)", rate)),
        ("memory while generating", megabytes(speed["peak_memory_bytes"])),
        ("device", str(speed["device"])),
    ]


def _speed_card(speed: Mapping[str, Any]) -> Card:
    return Card(number(round(speed["tokens_per_second"])), "tokens per second, one at a time")


def unbroken(name: str | None) -> str:
    """`5-gram` with a hyphen at which no line ends."""
    return (name or "").replace("-", "\u2011")
