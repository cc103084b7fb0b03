"""Every shipped preset can be used as it is."""

from __future__ import annotations

import pytest

from zen_pipeline.budget import parse_budget
from zen_pipeline.config import load_config, preset_names


def test_the_laptop_preset_is_shipped() -> None:
    assert "laptop" in preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_has_a_budget(name: str) -> None:
    config = load_config(preset=name)
    assert parse_budget(config.budget).amount > 0
    assert config.collect.sources
