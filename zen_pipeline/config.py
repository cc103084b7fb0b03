"""The whole configuration: the settings of every stage, presets and files in YAML, overrides as dotted keys.

Order of precedence: preset, config file, `--data`, `--budget` and what is said of rows, `--set a.b=c`. A key that does
not exist is an error that names the nearest one. YAML is loaded safely and nothing in it can name code to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from zen_pipeline.budget import parse_budget
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import expanded, read_small_text
from zen_pipeline.settings.base import Section
from zen_pipeline.settings.data import CollectConfig, TokenizeConfig, ValidateConfig
from zen_pipeline.settings.models import EmbedConfig, FinetuneConfig, PretrainConfig
from zen_pipeline.settings.outcome import EvaluateConfig, OptimizeConfig, ReleaseConfig

DEFAULT_PRESET = "laptop"
_PATH_SETTINGS = (
    ("pretrain", "init_from"),
    ("finetune", "init_from"),
    ("validate", "suites"),
    ("validate", "evaluation_data"),
    ("validate", "personal_labels"),
    ("embed", "probes"),
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


class Config(Section):
    """The whole pipeline; `zen config show` prints it."""

    name: str = Field("zen", description="releases are called NAME-base and NAME-chat")
    seed: int = Field(0, ge=0, lt=2**31)
    budget: str = Field(
        "5m", description="what a run may take until its models are trained: 90s, 5m, 2h, 3e9tokens or 30Mparams"
    )
    collect: CollectConfig = CollectConfig()
    validate_: ValidateConfig = Field(ValidateConfig(), alias="validate")
    tokenize: TokenizeConfig = TokenizeConfig()
    embed: EmbedConfig = EmbedConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    optimize: OptimizeConfig = OptimizeConfig()
    release: ReleaseConfig = ReleaseConfig()

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        pretrain = self.pretrain
        made_by = {"words": "enabled", "next_token": "next_token"}.get(pretrain.start)
        if made_by is not None and pretrain.init_from is None and not getattr(self.embed, made_by):
            raise ValueError(f"pretrain.start is {pretrain.start}, and embed.{made_by} is false: there are no vectors")
        return self

    def of(self, stage: str) -> Section:
        """The section of one stage.

        Raises:
            KeyError: the stage has no settings of its own.
        """
        section = getattr(self, "validate_" if stage == "validate" else stage, None)
        if not isinstance(section, Section):
            raise KeyError(stage)
        return section

    @field_validator("name")
    @classmethod
    def _name_is_a_slug(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("use lower-case letters, digits, '-' and '_', at most 41 characters")
        return value

    @field_validator("budget")
    @classmethod
    def _budget_is_readable(cls, value: str) -> str:
        parse_budget(value)
        return value


def preset_names() -> list[str]:
    """The presets that are shipped."""
    folder = resources.files("zen_pipeline.presets")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(
    *,
    preset: str | None = None,
    file: Path | None = None,
    data: Iterable[str] = (),
    budget: str | None = None,
    rows: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """The resolved configuration.

    Args:
        preset: name of a shipped preset; default: the one that the file names under `preset`, or `laptop`.
        file: YAML file laid over the preset; relative paths in it start at its folder.
        data: paths that replace the configured sources; relative ones start at the working folder.
        budget: replaces the configured budget.
        rows: settings that every source of files gets, such as `text_column`.
        overrides: `a.b=c`, the value in YAML.

    Raises:
        ConfigError: unknown preset, unreadable file, unknown key (with the nearest one), value out of range.
    """
    own = _read_yaml(lambda: read_small_text(file), str(file)) if file is not None else {}
    named = own.pop("preset", None)
    if not isinstance(named, str | None):
        raise ConfigError(f"{file}: preset must be the name of a preset, found {named!r}")
    settings = _read_preset(preset or named or DEFAULT_PRESET)
    if file is not None:
        settings = merge(settings, _anchored(own, file.resolve().parent))
    if paths := [_absolute(p, Path.cwd()) for p in data]:
        settings = merge(settings, {"collect": {"sources": [{"type": "files", "paths": paths}]}})
    if budget is not None:
        settings = merge(settings, {"budget": budget})
    if rows:
        settings = merge(settings, {"collect": {"sources": _sources_with(settings, rows)}})
    for override in overrides:
        settings = merge(settings, _parse_override(override))
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _absolute(path: str, folder: Path) -> str:
    """`path` seen from `folder`; the folder's own brackets and stars are no pattern when the path is one."""
    from glob import escape, has_magic

    if "://" in path:  # an address means the same everywhere
        return path
    place = expanded(path)
    if place.is_absolute():
        return str(place)
    return str(Path(escape(str(folder)) if has_magic(path) and not (folder / path).exists() else folder) / place)


def _anchored(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths of a config file as absolute ones, so that it means the same from every working folder."""

    def absolute(value: Any) -> Any:
        return _absolute(value, folder) if isinstance(value, str) else value

    anchored = dict(settings)
    for section, key in _PATH_SETTINGS:
        if isinstance(part := anchored.get(section), dict) and key in part:
            value = part[key]
            found = [absolute(each) for each in value] if isinstance(value, list) else absolute(value)
            anchored[section] = {**part, key: found}
    collect = anchored.get("collect")
    if isinstance(collect, dict) and isinstance(sources := collect.get("sources"), list):
        anchored["collect"] = {
            **collect,
            "sources": [
                {**s, "paths": [absolute(p) for p in s["paths"]]}
                if isinstance(s, dict) and isinstance(s.get("paths"), list)
                else s
                for s in sources
            ],
        }
    return anchored


def _sources_with(settings: Mapping[str, Any], rows: Mapping[str, Any]) -> list[Any]:
    """The sources, those of files with these settings laid over their own."""
    collect = settings.get("collect")
    sources = collect.get("sources") if isinstance(collect, Mapping) else None
    sources = sources if isinstance(sources, list) else []
    is_files = [isinstance(source, Mapping) and source.get("type") == "files" for source in sources]
    if not any(is_files):
        raise ConfigError(f"{', '.join(rows)} says how files are read, but no source is of files: name some by --data")
    return [merge(each, rows) if files else each for each, files in zip(sources, is_files, strict=True)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it: mappings are merged, everything else is replaced.

    A mapping of numbers over a list is merged with the entries that the numbers count from 0.

    Raises:
        ConfigError: a list has no such entry.
    """
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            merged[key] = merge(present, value)
        elif isinstance(value, Mapping) and isinstance(present, list) and all(k.isdecimal() for k in value):
            merged[key] = _merge_entries(key, present, value)
        else:
            merged[key] = value
    return merged


def _merge_entries(name: str, entries: list[Any], over: Mapping[str, Any]) -> list[Any]:
    numbered = {str(number): entry for number, entry in enumerate(entries)}
    if missing := over.keys() - numbered.keys():
        raise ConfigError(f"{name} has no entry {min(missing)}: it has {len(entries)}, counted from 0")
    return list(merge(numbered, over).values())


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no preset {name!r}: {hint}presets are {', '.join(preset_names())}")
    resource = resources.files("zen_pipeline.presets") / f"{name}.yaml"
    return _read_yaml(lambda: resource.read_text(encoding="utf-8"), f"preset {name}")


def _read_yaml(read: Callable[[], str], where: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(read())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config {where}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{where} must be a mapping of settings, found {type(loaded).__name__}")
    return loaded


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write it as key=value, for example pretrain.learning_rate=0.01")
    try:
        nested: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML: {' '.join(str(error).split())}") from None
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    result: dict[str, Any] = nested
    return result


def _explain(error: ValidationError) -> str:
    """One problem in words, with the nearest key for an unknown one, and how many more there are.

    An unknown key comes first: it is often why another one is missing.
    """
    problem = min(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        model = _model_at(location[:-1])
        if model is not None and issubclass(model, Section) and location[-1] in model.former:
            return f"the setting {where!r} is gone: {model.former[location[-1]]}{more}"
        names = [f.alias or n for n, f in model.model_fields.items()] if model is not None else []
        near = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
        return f"unknown setting {where!r}: {hint}{more}"
    found = "" if isinstance(problem.get("input"), dict | list) else f", found {problem.get('input')!r}"
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        near = difflib.get_close_matches(str(problem["input"]), choices, n=1, cutoff=0.5)
        found += f": did you mean {near[0]!r}?" if near else ""
    where = f"setting {where!r}" if where else "settings"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}{more}"


def _model_at(location: list[str]) -> type[BaseModel] | None:
    """The settings at a location such as ['collect', 'sources', '0', 'files']."""
    model: Any = Config
    for part in location:
        if part.isdigit():
            continue
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
            if field is None:
                return None
            model = field.annotation
            continue
        tagged = [m for m in _models_in(model) if part == m.model_fields["type"].default]
        model = tagged[0] if tagged else None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [m for arg in get_args(annotation) for m in _models_in(arg)]
