"""What the shell is offered to complete: models, presets and settings.

Whatever goes wrong, nothing is offered: a message in the middle of a command line would be worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin


def models(incomplete: str) -> list[str]:
    """Names of registered models by alias and by version, and `champion`."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    try:
        known = registry.list_models(Workspace.find())
    except Exception:
        return []
    names = [f"{m.name}@{alias}" for m in known for alias in m.aliases] + [f"{m.name}/{m.version}" for m in known]
    return _fitting(["champion", *names] if known else [], incomplete)


def presets(incomplete: str) -> list[str]:
    """Names of the shipped presets."""
    from importlib.resources import files

    found = sorted(path.name for path in files("zen_pipeline.presets").iterdir() if path.name.endswith(".yaml"))
    return _fitting([name.removesuffix(".yaml") for name in found], incomplete)


def families(incomplete: str) -> list[str]:
    """Names of the families."""
    from zen_pipeline.family_specs import FAMILIES

    return _fitting(FAMILIES, incomplete)


def settings(incomplete: str) -> list[str]:
    """`a.b=` for every setting, and its values behind the sign where there are only a few."""
    from zen_pipeline.config import Config

    if "=" not in incomplete:
        return _fitting([f"{name}=" for name, _ in _settings(Config, "")], incomplete)
    return _fitting([f"{name}={value}" for name, values in _settings(Config, "") for value in values], incomplete)


def _settings(model: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    for name, field in model.model_fields.items():
        name = f"{prefix}{field.alias or name}"
        inner = [part for part in _parts(field.annotation) if hasattr(part, "model_fields")]
        for part in inner:
            yield from _settings(part, f"{name}.")
        if not inner:
            yield name, _values(field.annotation)


def _parts(annotation: Any) -> list[Any]:
    """The types of a union, or the one that it is; those inside lists are left out, since they have no names."""
    if get_origin(annotation) in (list, tuple, dict, Literal) or not get_args(annotation):
        return [annotation]
    return [part for one in get_args(annotation) for part in _parts(one)]


def _values(annotation: Any) -> list[str]:
    parts = _parts(annotation)
    named = [str(value) for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return named + ["true", "false"] * (bool in parts)


def _fitting(names: Any, incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
