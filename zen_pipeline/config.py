"""Settings: one pydantic model per stage, presets and files in YAML, overrides as dotted keys.

Order of precedence: preset, config file, `--data` and `--budget`, `--set a.b=c`. A key that does not exist is an
error that names the nearest one. YAML is loaded safely and nothing in it can name code to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zen_pipeline.budget import parse_budget
from zen_pipeline.errors import ConfigError

DEFAULT_PRESET = "laptop"
_PATH_SETTINGS = (("pretrain", "init_from"), ("finetune", "init_from"), ("validate", "suites"))

# A field marked with this does not change what a stage makes, so it is not part of the fingerprint.
NOT_IDENTITY: dict[str, Any] = {"identity": False}

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Settings of one stage: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the stage's result, as plain JSON values."""
        skip = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("identity") is False
        }
        return self.model_dump(mode="json", exclude=skip)


# --- collect ----------------------------------------------------------------------------------------------------------


class PythonDocsSource(Section):
    """The documentation of the Python installation in use: docstrings and the language reference."""

    type: Literal["python_docs"] = "python_docs"
    packages: list[str] = Field(default=[], description="installed distributions to read besides the standard library")


class FilesSource(Section):
    """Files, folders and globs of .txt .md .jsonl .csv .parquet."""

    type: Literal["files"] = "files"
    paths: list[str] = Field(description="files, folders or globs; relative ones start at the working folder")
    text_column: str = Field("text", description="the field or column that holds the text of a record")
    split_text: Literal["auto", "headings", "blank_lines", "file"] = Field(
        "auto", description="how a plain text file becomes records"
    )

    def identity(self) -> dict[str, Any]:
        """Without `paths`: the content digests stand for them."""
        return self.model_dump(mode="json", exclude={"paths"})


Source = Annotated[PythonDocsSource | FilesSource, Field(discriminator="type")]


class CollectConfig(Section):
    """Where the text comes from."""

    sources: list[Source] = Field(default=[PythonDocsSource()], min_length=1)


# --- validate ---------------------------------------------------------------------------------------------------------


class ValidateConfig(Section):
    """What a record must be like, and when the whole corpus is refused."""

    suites: str | None = Field(None, description="folder with records.json and corpus.json; default: the shipped ones")
    min_characters: int = Field(32, ge=0, description="shorter records are set aside")
    max_characters: int = Field(1_000_000, ge=1, description="longer records are set aside")
    deduplicate: bool = Field(True, description="set aside records whose normalized text has been seen")
    max_replacement_share: Fraction = Field(0.01, description="share of U+FFFD above which it is set aside")
    max_control_share: Fraction = Field(0.01, description="share of control characters above which it is set aside")
    validation_fraction: Fraction = Field(0.05, description="share of the groups in the validation split")
    test_fraction: Fraction = Field(0.05, description="share of the groups in the test split")
    split_salt: str = Field("zen", description="changes which groups are in which split")

    @model_validator(mode="after")
    def _limits_leave_something(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters {self.min_characters} is above max_characters {self.max_characters}")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction and test_fraction together leave nothing to train on")
        return self


# --- tokenize, embed --------------------------------------------------------------------------------------------------


class TokenizeConfig(Section):
    """Byte-level BPE and the token shards."""

    vocab_size: int | None = Field(None, ge=300, le=262_144, description="default: chosen by the budget")


class EmbedConfig(Section):
    """Word2Vec: skip-gram with negative sampling (Mikolov et al. 2013)."""

    enabled: bool = Field(True, description="train word vectors")
    dimensions: int = Field(100, ge=2, le=2048)
    window: int = Field(5, ge=1, le=50)
    negatives: int = Field(5, ge=1, le=50)
    epochs: int = Field(3, ge=1, le=1000)
    min_count: int = Field(5, ge=1, description="rarer words have no vector")
    subsample: float = Field(1e-4, ge=0.0, description="threshold of the frequent-word subsampling; 0 turns it off")
    learning_rate: float = Field(0.025, gt=0.0)
    max_words: int | None = Field(None, ge=1, description="train on the first so many words of a fixed shuffle")
    next_token: bool = Field(True, description="also make the vectors that start the language model at bigram quality")
    next_token_steps: int = Field(30, ge=0, description="full-batch steps after their decomposition")


# --- training ---------------------------------------------------------------------------------------------------------


class ModelShape(Section):
    """Sizes of a decoder of the qwen3 family; what is None is chosen by the budget."""

    hidden_size: int | None = Field(None, ge=16)
    layers: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    intermediate_size: int | None = Field(None, ge=16)
    context_length: int | None = Field(None, ge=16)
    tie_embeddings: bool | None = None


class PretrainConfig(Section):
    """Next-token training of the base model."""

    init_from: str | None = Field(None, description="a Hugging Face folder to start from, with its tokenizer")
    start_vectors: Literal["next_token", "words", "none"] = Field(
        "next_token", description="what of the embedding stage the token tables start from"
    )
    model: ModelShape = ModelShape()
    steps: int | None = Field(None, ge=1)
    batch_tokens: int | None = Field(None, ge=16, description="tokens per optimizer step")
    micro_batch: int | None = Field(None, ge=1, description="sequences per forward pass")
    precision: Literal["bf16", "fp32"] | None = Field(None, description="default: the one measured faster")
    learning_rate: float | None = Field(None, gt=0.0, description="peak rate of the matrices (Muon)")
    embedding_learning_rate: float | None = Field(None, gt=0.0, description="peak rate of everything else (AdamW)")
    weight_decay: float = Field(0.1, ge=0.0)
    warmup: Fraction = Field(0.02, description="share of the steps with a rising rate")
    cooldown: Fraction = Field(0.5, description="share of the steps with a falling rate")
    gradient_clip: float = Field(1.0, gt=0.0)
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps", json_schema_extra=NOT_IDENTITY)
    validate_every: int = Field(200, ge=1, description="optimizer steps", json_schema_extra=NOT_IDENTITY)


class FinetuneConfig(Section):
    """Answering questions; the loss is on the answer only."""

    enabled: bool = True
    init_from: str | None = Field(None, description="a Hugging Face chat or base folder; pretraining is then skipped")
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1, description="conversations per optimizer step")
    learning_rate: float | None = Field(None, gt=0.0)
    embedding_learning_rate: float | None = Field(None, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)
    warmup: Fraction = 0.05
    cooldown: Fraction = 0.5
    gradient_clip: float = Field(1.0, gt=0.0)
    test_fraction: Fraction = Field(0.1, description="share of the questions kept for the test")
    checkpoint_every: int = Field(100, ge=1, json_schema_extra=NOT_IDENTITY)
    validate_every: int = Field(100, ge=1, json_schema_extra=NOT_IDENTITY)


# --- evaluate, optimize, release --------------------------------------------------------------------------------------


class EvaluateConfig(Section):
    """What is measured on the test split."""

    ngram_order: int = Field(5, ge=2, le=8, description="highest order of the Kneser-Ney baseline")
    max_test_tokens: int = Field(200_000, ge=1000, description="the first so many tokens of the test split")
    max_questions: int = Field(100, ge=1)
    samples: int = Field(5, ge=0)
    sample_tokens: int = Field(80, ge=1)


class OptimizeConfig(Section):
    """Smaller and faster weights, kept only when they are as good."""

    enabled: bool = True
    max_test_tokens: int = Field(50_000, ge=1000, description="both forms are compared on the first so many of them")
    max_bits_per_byte_loss: float = Field(0.01, ge=0.0, description="how much worse the optimized model may be")


class ReleaseConfig(Section):
    """When a model becomes the champion."""

    seed_noise_bits_per_byte: float = Field(
        0.011, ge=0.0, description="two runs that differ in the seed alone differ by this much; docs/experiments.md"
    )
    seed_noise_f1: float = Field(0.02, ge=0.0, description="the same for the answer F1")
    max_growth: float | None = Field(
        None, ge=1.0, description="largest allowed size, as a multiple of the champion's; null: any"
    )


# --- everything -------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,40}$")


class Config(Section):
    """The whole pipeline; `zen config show` prints it."""

    name: str = Field("zen", description="releases are called NAME-base and NAME-chat")
    seed: int = Field(0, ge=0, lt=2**31)
    budget: str = Field("4m", description="what training may take: 90s, 5m, 2h, 3e9tokens or 30Mparams")
    collect: CollectConfig = CollectConfig()
    validate_: ValidateConfig = Field(ValidateConfig(), alias="validate")
    tokenize: TokenizeConfig = TokenizeConfig()
    embed: EmbedConfig = EmbedConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    optimize: OptimizeConfig = OptimizeConfig()
    release: ReleaseConfig = ReleaseConfig()

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
        if not _NAME.match(value):
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
    overrides: Iterable[str] = (),
) -> Config:
    """The resolved configuration.

    Args:
        preset: name of a shipped preset; default: the one that the file names under `preset`, or `laptop`.
        file: YAML file laid over the preset; relative paths in it start at its folder.
        data: paths that replace the configured sources; relative ones start at the working folder.
        budget: replaces the configured budget.
        overrides: `a.b=c`, the value in YAML.

    Raises:
        ConfigError: unknown preset, unreadable file, unknown key (with the nearest one), value out of range.
    """
    own = _read_yaml(file.read_text, str(file)) if file is not None else {}
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
    for override in overrides:
        settings = merge(settings, _parse_override(override))
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _absolute(path: str, folder: Path) -> str:
    """`path` seen from `folder`; the folder's own brackets and stars are no pattern when the path is one."""
    from glob import escape, has_magic

    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"the path {path!r} cannot be used: {error}") from None
    if expanded.is_absolute():
        return str(expanded)
    return str(Path(escape(str(folder)) if has_magic(path) and not (folder / path).exists() else folder) / expanded)


def _anchored(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths of a config file as absolute ones, so that it means the same from every working folder."""

    def absolute(value: Any) -> Any:
        return _absolute(value, folder) if isinstance(value, str) else value

    anchored = dict(settings)
    for section, key in _PATH_SETTINGS:
        if isinstance(part := anchored.get(section), dict) and key in part:
            anchored[section] = {**part, key: absolute(part[key])}
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


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        merged[key] = merge(present, value) if isinstance(present, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no preset {name!r}: {hint}presets are {', '.join(preset_names())}")
    resource = resources.files("zen_pipeline.presets") / f"{name}.yaml"
    return _read_yaml(resource.read_text, f"preset {name}")


def _read_yaml(read: Any, where: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(read(encoding="utf-8"))
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
        names = _keys_at(location[:-1])
        near = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
        return f"unknown setting {where!r}: {hint}{more}"
    found = "" if isinstance(problem.get("input"), dict | list) else f", found {problem.get('input')!r}"
    return f"setting {where!r}: {problem['msg'].removeprefix('Value error, ')}{found}{more}"


def _keys_at(location: list[str]) -> list[str]:
    """The keys that are known below a location such as ['collect', 'sources', '0', 'files']."""
    model: Any = Config
    for part in location:
        if part.isdigit():
            continue
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
            if field is None:
                return []
            model = field.annotation
            continue
        tagged = [m for m in _models_in(model) if part == m.model_fields["type"].default]
        model = tagged[0] if tagged else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or n for n, f in model.model_fields.items()]
    return []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [m for arg in get_args(annotation) for m in _models_in(arg)]
