"""All probes of one set of vectors, as JSON and as figures to follow over time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zen_pipeline.embeddings import probes, weat
from zen_pipeline.embeddings.vectors import WordVectors


def evaluate(vectors: WordVectors, files: Iterable[Path], *, seed: int = 0) -> dict[str, Any]:
    """Run every probe.

    Args:
        vectors: to probe.
        files: word pairs with scores, or analogies.
        seed: of the permutations that are drawn.

    Returns:
        `similarity` and `analogies` by file, `bias` by test (those with enough words), `frequency`.

    Raises:
        DataError: a file is missing or is no probe.
    """
    found: dict[str, dict[str, Any]] = {"similarity": {}, "analogies": {}}
    for path in files:
        outcome = probes.probe(vectors, path)
        kind = "similarity" if isinstance(outcome, probes.Similarity) else "analogies"
        found[kind][outcome.name] = outcome.entry()
    bias = {outcome.name: outcome.entry() for outcome in weat.english(vectors, seed=seed)}
    return {**found, "bias": bias, "frequency": probes.frequency_effects(vectors)}


def headline(evaluated: dict[str, Any]) -> dict[str, Any]:
    """The outcome without what was asked and covered in each section, for a summary."""
    return {
        "similarity": {
            name: {"spearman": e["spearman"], "coverage": _share(e["covered"], e["pairs"])}
            for name, e in evaluated["similarity"].items()
        },
        "analogies": {
            name: {
                "accuracy_add": e["accuracy_add"],
                "accuracy_mul": e["accuracy_mul"],
                "coverage": _share(e["covered"], e["questions"]),
            }
            for name, e in evaluated["analogies"].items()
        },
        "bias": {
            name: {"effect_size": e["effect_size"], "p_value": e["p_value"]} for name, e in evaluated["bias"].items()
        },
        "frequency": evaluated["frequency"],
    }


def figures(evaluated: dict[str, Any]) -> dict[str, float]:
    """The headline as a flat map of numbers, such as `probe.similarity.EN-MC-30.spearman`."""
    flat: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}", inner)
        elif value is not None:
            flat[prefix.replace(" ", "_")] = float(value)

    walk("probe", headline(evaluated))
    return flat


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
