from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows.parameters import Choice, Settings, resolve
from zen_pipeline.config import Config, load_config, preset_names
from zen_pipeline.errors import ConfigError


def validated(parameters: dict[str, Any]) -> Settings:
    """The `config` parameter of a flow after Prefect has sent it as JSON and checked it."""
    from flows.pipeline import pipeline

    arguments = pipeline.validate_parameters(json.loads(json.dumps(parameters)))
    config: Settings = arguments["config"]
    return config


def test_a_choice_is_read_like_the_command_line(tmp_path: Path) -> None:
    choice = Choice(data=[str(tmp_path)], overrides={"budget": "2h", "pretrain.steps": 7, "embed": {"enabled": False}})

    expected = load_config(data=[str(tmp_path)], overrides=["budget=2h", "pretrain.steps=7", "embed.enabled=false"])
    assert resolve(choice) == expected


def test_the_preset_that_a_file_names_holds_unless_another_one_is_chosen(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\n")
    assert resolve(Choice(file=str(file))) == load_config(file=file)
    assert resolve(Choice(file=str(file))).name == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"pretrain.stepps": 3}, "did you mean 'steps'"), ({"budget": "long"}, "write 90s, 5m")],
)
def test_a_wrong_override_is_named_with_the_nearest_key(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(Choice(overrides=overrides))


def test_a_full_config_survives_the_way_through_prefects_parameters() -> None:
    from flows.pipeline import pipeline

    config = load_config(data=["corpus"], overrides=["validate.min_characters=5", "pretrain.learning_rate=0.01"])
    sent = pipeline.serialize_parameters({"config": config})

    assert validated(sent) == config


def test_a_mapping_is_a_choice_or_a_config_by_its_keys() -> None:
    assert validated({"config": {"preset": "laptop"}}) == Choice()
    assert validated({"config": {}}) == Choice()
    assert isinstance(validated({"config": {"budget": "2h", "validate": {"min_characters": 5}}}), Config)
    assert not set(Choice.model_fields) & {f.alias or n for n, f in Config.model_fields.items()}


def test_the_form_offers_the_presets_and_every_setting_with_its_description() -> None:
    schema = TypeAdapter(Settings).json_schema()
    choice, config = (schema["$defs"][name]["properties"] for name in ("Choice", "Config"))
    assert choice["preset"]["enum"] == preset_names()
    assert all("description" in field for field in choice.values())
    assert "validate" in config
    assert "validate_" not in config
