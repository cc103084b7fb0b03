"""Imports point one way: cli, flows, stages, then down; and Prefect is known to the flows alone."""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tools.module_graph import imports, modules

BASE = {
    "artifacts",
    "blocks",
    "budget",
    "config",
    "errors",
    "family_specs",
    "files",
    "limited",
    "locks",
    "logs",
    "loopback",
    "machine",
    "masking",
    "presets",
    "progress",
    "settings",
    "subprocesses",
    "terminal",
    "tracking",
    "workspace",
}
LEVELS = [
    BASE,
    {"models", "inference"},
    {"corpus", "embeddings", "training"},
    {"evaluation"},
    {"reporting"},
    {"tasks"},
    {"optimization", "serving"},
    {"pipeline"},
    {"judging"},
    {"stages"},
    {"flows"},
    {"cli"},
    {"__main__"},
]
LEVEL = {area: number for number, areas in enumerate(LEVELS) for area in areas}


def area_of(module: str) -> str | None:
    """`zen_pipeline.corpus.tokens.shards` is in `corpus`, `flows.pipeline` in `flows`; other packages are in none."""
    top, _, rest = module.partition(".")
    if top == "flows":
        return "flows"
    return rest.partition(".")[0] if top == "zen_pipeline" and rest else None


def edges() -> list[tuple[str, str]]:
    """All pairs (module, imported module) between areas of the two packages."""
    return [(m, i) for m in modules() for i in sorted(imports(m)) if area_of(m) and area_of(i)]


def test_every_module_has_a_level() -> None:
    unknown = {area_of(m) for m in modules()} - set(LEVEL) - {None}
    assert not unknown, f"give these a place in LEVELS: {unknown}"


def test_nothing_imports_upwards() -> None:
    upward = [f"{m} imports {i}" for m, i in edges() if LEVEL[str(area_of(m))] < LEVEL[str(area_of(i))]]
    assert not upward, "\n".join(upward)


def test_there_is_no_cycle_between_areas() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in edges():
        if area_of(module) != area_of(imported):
            graph.setdefault(str(area_of(module)), set()).add(str(area_of(imported)))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_there_is_no_cycle_between_modules() -> None:
    graph = {m: {i for i in imports(m) if i in modules()} for m in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_only_flows_and_the_command_line_know_prefect() -> None:
    guilty = [
        f"{m} imports {i}"
        for m in modules()
        for i in imports(m)
        if i.partition(".")[0].startswith("prefect") and area_of(m) not in ("flows", "cli")
    ]
    assert not guilty, "\n".join(guilty)


def test_flows_hold_nothing_but_prefect() -> None:
    # `flows.serve` is Prefect's server as a process of ours: it runs under uvicorn.
    allowed = {"flows", "zen_pipeline", "prefect", "pydantic", "uvicorn", *sys.stdlib_module_names}
    guilty = [
        f"{m} imports {i}"
        for m in modules()
        for i in imports(m)
        if area_of(m) == "flows" and i.partition(".")[0] not in allowed
    ]
    assert not guilty, "\n".join(guilty)


def test_no_stage_imports_another_one() -> None:
    stages = {m for m in modules() if m.startswith("zen_pipeline.stages.")}
    guilty = [f"{m} imports {i}" for m in stages for i in imports(m) if i in stages]
    assert not guilty, "\n".join(guilty)
