"""From Hugging Face's `model_type` and architecture to a family's config and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import FamilyConfig, FamilyModel
from zen_pipeline.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
)
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.marian import Marian, MarianConfig
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

# Config and models of each family, the model that pretraining makes first. In the order of `family_specs`.
_FAMILIES: Sequence[tuple[type[FamilyConfig], Sequence[type[FamilyModel]]]] = (
    (Qwen3Config, (Qwen3,)),
    (GPT2Config, (GPT2,)),
    (BertConfig, (BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification)),
    (MarianConfig, (Marian,)),
)
CONFIGS: Mapping[str, type[FamilyConfig]] = {config.model_type: config for config, _ in _FAMILIES}
MODELS: Mapping[str, Sequence[type[FamilyModel]]] = {config.model_type: models for config, models in _FAMILIES}


def config_class(data: Mapping[str, Any], path: Path) -> type[FamilyConfig]:
    """The config class for a config.json.

    Raises:
        ConfigError: another family; `path` is named.
    """
    found = data.get("model_type")
    if not isinstance(found, str) or found not in CONFIGS:
        raise ConfigError(f"{path}: model_type is {str(found)[:80]!r}, but only {_listed(CONFIGS)} can be read")
    return CONFIGS[found]


def model_class(data: Mapping[str, Any], path: Path) -> type[FamilyModel]:
    """The model class for a config.json; without `architectures`, the one that pretraining makes.

    Raises:
        ConfigError: another architecture; `path` is named.
    """
    models = MODELS[config_class(data, path).model_type]
    if not data.get("architectures"):
        return models[0]
    named = data["architectures"]
    known = {name: model for model in models for name in (model.architecture, *model.also_reads)}
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str) or named[0] not in known:
        raise ConfigError(f"{path}: architectures is {str(named)[:200]}, but only {_listed(known)} is supported")
    return known[named[0]]


def new_model(config: FamilyConfig, *, seed: int | None = 0) -> FamilyModel:
    """The model of the config's family that pretraining makes, with weights from `seed`; None leaves them unset."""
    return MODELS[config.model_type][0](config, seed=seed)


def outline(config: FamilyConfig) -> FamilyModel:
    """The model without memory for its weights, to count on."""
    with torch.device("meta"):
        return new_model(config, seed=None)


def num_parameters(config: FamilyConfig) -> int:
    """All trained numbers of a model of this shape; shared ones count once."""
    return sum(parameter.numel() for parameter in outline(config).parameters())


def flops_per_token(config: FamilyConfig, context: int) -> float:
    """`FamilyModel.flops_per_token` of a model of this shape."""
    return outline(config).flops_per_token(context)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in names)
