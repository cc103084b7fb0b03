from __future__ import annotations

import pytest

from zen_pipeline.config import load_config
from zen_pipeline.errors import ConfigError
from zen_pipeline.masking import masked, masked_model


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://me:word@host:5432/db?sslmode=require", "at postgresql://host:5432/db?sslmode=require"),
        ("http://word@host/api is silent", "http://host/api is silent"),
        ("https://host/a?token=word&x=1", "https://host/a?token=***&x=1"),
        ("https://host/a?x=1&X-Amz-Signature=word&X-Amz-Date=2", "https://host/a?x=1&X-Amz-Signature=***&X-Amz-Date=2"),
        ("https://host/a?sv=1&sig=word%3D", "https://host/a?sv=1&sig=***"),
        ("https://host/a?api_key=word#top", "https://host/a?api_key=***#top"),
        ("sent 'Authorization: Bearer word.word-word'", "sent 'Authorization: Bearer ***'"),
        ("mail me@host about https://host/@me/a?page=2", "mail me@host about https://host/@me/a?page=2"),
        ('["https://host","me@host"]', '["https://host","me@host"]'),
    ],
)
def test_only_what_opens_something_is_taken_out(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_every_error_of_ours_is_masked() -> None:
    assert str(ConfigError("no file at s3://key:word@bucket")) == "no file at s3://bucket"


def test_settings_are_masked_wherever_an_address_stands_in_them() -> None:
    config = load_config(data=["https://me:word@host/a.txt?token=word", "plain.txt"])
    hidden = masked_model(config)
    assert "word@" not in hidden.model_dump_json()
    assert hidden.pretrain == config.pretrain
    assert masked_model(hidden) is hidden
