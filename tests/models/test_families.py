"""The declarations of the families and their models say the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zen_pipeline.family_specs import DEFAULT_FAMILY, FAMILIES
from zen_pipeline.models.families import CONFIGS, MODELS, new_model
from zen_pipeline.settings.models import ModelShape
from zen_pipeline.training.resolved import Request
from zen_pipeline.training.rules import model_config, shape_for, shape_of


def request(family: str, **sizes: object) -> Request:
    return Request(budget="1m", train_bytes=10**6, cores=1, family=family, model=ModelShape.model_validate(sizes))


def test_every_declared_family_has_models() -> None:
    assert list(CONFIGS) == list(MODELS) == list(FAMILIES)
    assert DEFAULT_FAMILY == "qwen3"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_has_the_sizes_that_its_family_was_given(family: str) -> None:
    own = request(family, hidden_size=96, layers=4, heads=3, intermediate_size=160, context_length=48)
    shape = shape_for(64, own, corpus_tokens=10**6)
    config = model_config(shape, 500, family)
    assert shape_of(config, own) == shape
    assert config.vocab_size == 500
    assert config.tie_word_embeddings == FAMILIES[family].tied
    model = new_model(config, seed=0)
    assert model.token_embeddings.weight.shape == (500, 96)
    assert sum(len(stack) for stack in model.stacks()) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_feed_forward_layers_of_all_families_have_about_as_many_weights(family: str) -> None:
    spec, hidden = FAMILIES[family], 768
    matrices = 3 if spec.gated else 2
    assert matrices * hidden * spec.intermediate_size(hidden) == pytest.approx(8 * hidden**2, rel=0.02)


def test_heads_are_grouped_where_the_family_can() -> None:
    for name, spec in FAMILIES.items():
        own = request(name, hidden_size=1024)
        config = model_config(shape_for(1024, own, corpus_tokens=10**9), 500, name)
        assert (config.num_key_value_heads < config.num_attention_heads) == spec.grouped_queries, name


def test_settings_and_declarations_need_no_torch() -> None:
    program = "import sys, zen_pipeline.config, zen_pipeline.training.rules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
