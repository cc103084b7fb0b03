"""What a flow is asked to do: a preset, a file and overrides, or every setting written out.

A deployment is best described by the few settings that differ from a preset: it then follows the preset when that
is improved, and its form in the Prefect UI is short. So `Choice` comes first. The whole `Config` is accepted as well:
it is what `zen run` passes, so that a run's parameters in the UI say exactly what ran.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zen_pipeline.config import DEFAULT_PRESET, Config, load_config, preset_names


def _preset_choices(schema: dict[str, Any]) -> None:
    schema["enum"] = preset_names()


PROJECT_FILE = Path("zen.yaml")  # what `zen run` uses in the same folder


class Choice(BaseModel):
    """A preset, and what differs from it; the same words as on the command line.

    None of these names is a setting of `Config`, so a mapping is always one or the other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = Field(DEFAULT_PRESET, description="a shipped preset", json_schema_extra=_preset_choices)
    file: str | None = Field(
        None, description="a YAML config laid over the preset; default: zen.yaml in the worker's project folder"
    )
    data: list[str] = Field(default=[], description="files, folders or globs that replace the configured sources")
    overrides: dict[str, Any] = Field(
        default={}, description='single settings laid over all that, such as {"budget": "2h", "pretrain.steps": 500}'
    )

    def resolve(self) -> Config:
        """The whole configuration.

        Raises:
            ConfigError: unknown preset, unreadable file, unknown key, value out of range.
        """
        file = Path(self.file) if self.file else PROJECT_FILE if PROJECT_FILE.is_file() else None
        return load_config(
            preset=None if file and self.preset == DEFAULT_PRESET else self.preset,
            file=file,
            data=self.data,
            overrides=[f"{key}={json.dumps(value)}" for key, value in self.overrides.items()],
        )


Settings = Choice | Config
DEFAULT = Choice()


def resolve(settings: Settings) -> Config:
    """The whole configuration behind a flow's `config` parameter.

    Raises:
        ConfigError: see `Choice.resolve`.
    """
    return settings.resolve() if isinstance(settings, Choice) else settings
