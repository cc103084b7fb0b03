"""Settings of what comes out: what is measured, made smaller, and released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from zen_pipeline.settings.base import Section


class EvaluateConfig(Section):
    """What is measured on the test split."""

    ngram_order: int = Field(5, ge=2, le=8, description="highest order of the Kneser-Ney baseline")
    max_test_tokens: int | None = Field(
        None, ge=1000, description="the first so many tokens of the test split; null: as many as suit the budget"
    )
    max_questions: int | None = Field(None, ge=1, description="null: as many as suit the budget")
    max_pairs: int | None = Field(None, ge=1, description="translations; null: as many as suit the budget")
    samples: int = Field(5, ge=0)
    sample_tokens: int = Field(80, ge=1)


class OptimizeConfig(Section):
    """Smaller and faster weights, kept only when they are as good."""

    former: ClassVar[Mapping[str, str]] = {"max_bits_per_byte_loss": "set max_loss, in the unit of the model's task"}

    enabled: bool = True
    max_test_tokens: int | None = Field(
        None,
        ge=1000,
        description="both forms are compared on the first so many tokens of the test split; null: as suits the budget",
    )
    max_loss: float = Field(
        0.01,
        ge=0.0,
        description="how much worse another form of a model may be, in the unit of its task (bits per byte of text)",
    )


class ReleaseConfig(Section):
    """When a model becomes the champion."""

    former: ClassVar[Mapping[str, str]] = {
        "seed_noise_bits_per_byte": "set seed_noise: {bits_per_byte: 0.011}",
        "seed_noise_f1": "set seed_noise: {f1: 0.02}",
    }

    seed_noise: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        default_factory=dict,
        description="how much two runs differ that differ in the seed alone, by figure, such as {f1: 0.02}; "
        "what is not named is as the task says",
    )
    above_baseline: bool = Field(
        True, description="only a model above its plain baseline (n-grams, most frequent answer) becomes champion"
    )
    max_growth: float | None = Field(
        None, ge=1.0, description="largest allowed size, as a multiple of the champion's; null: any"
    )
