"""The models that a pipeline makes: each is a task, a family, and the model that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from zen_pipeline.artifacts import step_name
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError
from zen_pipeline.family_specs import DEFAULT_FAMILY
from zen_pipeline.files import read_json_object
from zen_pipeline.settings.models import Family


@dataclass(frozen=True)
class ModelSpec:
    """One model of a pipeline.

    Attributes:
        name: short name, which the registered model ends with: `chat` of `NAME-chat`.
        task: name of what it is taught (`zen_pipeline.tasks`).
        family: of the network.
        start: short name of the model that it is fine-tuned from; None: it is pretrained.
    """

    name: str
    task: str
    family: Family
    start: str | None = None

    @property
    def training(self) -> str:
        """The step that trains it."""
        return step_name("pretrain" if self.start is None else "finetune", self.name)


def start_folder(config: Config) -> str | None:
    """The given model that training starts from, if any: fine-tuning's own makes pretraining needless."""
    return config.pretrain.init_from or (config.finetune.init_from if config.finetune.enabled else None)


def pretrains(config: Config) -> bool:
    """True if there is a pretraining: not when only a given model is fine-tuned."""
    return not (config.finetune.enabled and config.finetune.init_from and not config.pretrain.init_from)


def family_of(config: Config) -> Family:
    """The family of the models that are trained: that of a given model, else the one that is set.

    Raises:
        ConfigError: the given model is of a family that is not known, or of another one than is set.
    """
    own, folder = config.pretrain.family, start_folder(config)
    if folder is None:
        return own or DEFAULT_FAMILY
    try:
        found: Any = read_json_object(Path(folder) / "config.json").get("model_type")
    except ConfigError as error:
        raise ConfigError(f"init_from names {folder}, which is not a model folder: {error}") from None
    if found not in get_args(Family):
        known = ", ".join(get_args(Family))
        raise ConfigError(
            f"init_from names {folder}, a model of the family {str(found)[:80]!r}: known ones are {known}"
        )
    if own is not None and own != found:
        raise ConfigError(f"pretrain.family is {own}, but init_from names a {found} model: leave the family out")
    family: Family = found
    return family
