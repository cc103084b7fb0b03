"""Where people read a default that the code derives, they read the code's."""

from __future__ import annotations

import inspect
from pathlib import Path

from zen_pipeline.cli import embeddings as commands
from zen_pipeline.embeddings.glove import GloveSettings
from zen_pipeline.embeddings.word2vec import Word2VecSettings
from zen_pipeline.settings.models import EmbedConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "embeddings.md"


def test_learning_rates_are_described_as_they_are() -> None:
    rates = [Word2VecSettings(method=method).first_rate for method in ("skipgram", "cbow")]
    described = f"{rates[0]}, CBOW {rates[1]}, GloVe {GloveSettings().learning_rate}"
    assert EmbedConfig.model_fields["learning_rate"].description == f"default: {described}"
    assert described in inspect.getsource(commands)
    assert f"| `learning_rate` | {described} |" in DOCUMENT.read_text(encoding="utf-8")


def test_noise_words_are_described_as_they_are() -> None:
    skipgram, cbow = (Word2VecSettings(method=method).shared_noise for method in ("skipgram", "cbow"))
    assert f"default: {skipgram} and {cbow}." in (Word2VecSettings.__doc__ or "")
    text = DOCUMENT.read_text(encoding="utf-8").replace("\n", " ")
    assert f"16 neighbours share {skipgram} in skip-gram, every eighth of 64 shares {cbow} in CBOW" in text
