"""The commented configuration that `zen init` writes, made from the settings' own descriptions and defaults."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zen_pipeline.config import DEFAULT_PRESET, Config

_HEAD = """\
# Settings of this project; `zen config show` prints all of them as a run would use them.
# A line that is commented out shows a default.
preset: {preset}
name: {name}
collect:
  sources:
    - type: files          # files, folders, globs (relative to this file), archives or addresses: docs/data.md
      paths: {paths}
"""


def commented_config(*, name: str, paths: list[str]) -> str:
    """YAML with the few settings that everybody sets, and every other one as a comment."""
    head = _HEAD.format(preset=DEFAULT_PRESET, name=name, paths=yaml.safe_dump(paths, default_flow_style=True).strip())
    lines = [head.rstrip()]
    for key, field in Config.model_fields.items():
        if key in ("name", "collect"):
            continue
        lines += ["", *_describe(field.alias or key, field, depth=0)]
    return "\n".join(lines) + "\n"


def _describe(key: str, field: FieldInfo, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(model := field.annotation, type) and issubclass(model, BaseModel):
        title = (model.__doc__ or "").strip().splitlines()[0]
        lines = [f"# {pad}{key}:  # {title}"]
        for name, inner in model.model_fields.items():
            lines += _describe(inner.alias or name, inner, depth + 1)
        return lines
    text = f"  # {field.description}" if field.description else ""
    return [f"# {pad}{key}: {_yaml(field.get_default(call_default_factory=True))}{text}"]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
