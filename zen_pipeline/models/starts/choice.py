"""From the setting `pretrain.start` to what is put into the weights of a new model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from zen_pipeline.family_specs import FAMILIES, StartPart
from zen_pipeline.logs import get_logger
from zen_pipeline.settings.models import Family, StartName

# Files that the embedding stage leaves.
NEXT_TOKEN_FILE = "next_token.safetensors"  # `input` and `output`, each (vocab_size, width) float32
TOKEN_VECTORS_FILE = "token_vectors.safetensors"  # `vectors`, (vocab_size, dimensions) float32
NEXT_TOKEN_RATE = 0.3  # of the tables' learning rate when they start at bigram quality; docs/experiments.md

# What each start is made of, where the family takes it.
_PARTS: Mapping[StartName, tuple[StartPart, ...]] = {
    "auto": ("next_token", "heads"),
    "words": ("words", "heads"),
    "next_token": ("next_token",),
    "heads": ("heads",),
    "random": (),
}

log = get_logger(__name__)


class Start(BaseModel):
    """Parts that are put into the weights of a new model; by default none.

    Attributes:
        token_vectors: safetensors file with `vectors`, (vocab_size, dimensions), for the token embeddings.
        next_token_vectors: safetensors file with `input` and `output`, (vocab_size, width), for embedding and head.
        previous_token_heads: the first layer of a qwen3 model starts with heads that attend to the tokens before; see
            `previous_token_heads`.
        induction_heads: its second layer starts with them; needs next-token vectors, previous-token heads and two
            layers; see `induction_heads`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_vectors: str | None = None
    next_token_vectors: str | None = None
    previous_token_heads: bool = False
    induction_heads: bool = False

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.token_vectors is not None and self.next_token_vectors is not None:
            raise ValueError("the token table starts from token_vectors or from next_token_vectors, not from both")
        if self.induction_heads and not (self.previous_token_heads and self.next_token_vectors):
            raise ValueError("induction_heads need previous_token_heads and next_token_vectors")
        return self


def _parts(name: StartName, family: Family) -> list[StartPart]:
    return [part for part in _PARTS[name] if part in FAMILIES[family].starts]


def tables_file(name: StartName, family: Family) -> str | None:
    """The file of the embedding stage that the token tables of a family start from; None: they start at random."""
    parts = _parts(name, family)
    if "next_token" in parts:
        return NEXT_TOKEN_FILE
    return TOKEN_VECTORS_FILE if "words" in parts else None


def choose_start(name: StartName, *, family: Family, layers: int, tied: bool, vectors: Path | None) -> Start:
    """The parts of a start that fit the model; vectors that do not, or are missing, are named in the log.

    Args:
        name: the setting `pretrain.start`.
        family: of the model.
        layers: of the model.
        tied: the head is the embedding's table.
        vectors: folder of the embedding stage; None: the tables start at random.
    """
    file = tables_file(name, family) if vectors is not None else None
    if file == NEXT_TOKEN_FILE and tied:
        log.info("next-token vectors need a head of its own; with tied embeddings the tables start at random")
        file = None
    path = None if file is None or vectors is None else vectors / file
    if path is not None and not path.is_file():
        log.warning("the embedding stage made no %s; the token tables start at random", file)
        path = None
    next_token = None if path is None or file != NEXT_TOKEN_FILE else str(path)
    words = None if path is None or file != TOKEN_VECTORS_FILE else str(path)
    heads = "heads" in _parts(name, family)
    return Start(
        token_vectors=words,
        next_token_vectors=next_token,
        previous_token_heads=heads,
        induction_heads=heads and next_token is not None and layers > 1,
    )
