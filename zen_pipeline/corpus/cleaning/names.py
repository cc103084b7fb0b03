"""Names of persons and places, where a spaCy model for them is installed (the extra `pii`)."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from zen_pipeline.corpus.cleaning.personal import Finding
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import expanded

# What the models of spaCy call them: OntoNotes' labels, and those of WikiNER in French, Spanish, German and others.
_TYPES = {"PERSON": "person", "PER": "person", "GPE": "address", "LOC": "address", "FAC": "address"}


def check_model(model: str) -> None:
    """Say at once that a model cannot be used.

    Raises:
        ConfigError: spaCy or the model is not installed.
    """
    if find_spec("spacy") is None:
        raise ConfigError(
            f"validate.clean.names_model is {model!r}, but spaCy is not installed: "
            "pip install 'zen-pipeline[pii]', or remove the setting"
        )
    if find_spec(model) is None if model.isidentifier() else not expanded(model).is_dir():
        raise ConfigError(
            f"validate.clean.names_model: {model!r} is neither an installed spaCy model nor a folder with one: "
            "python -m spacy download en_core_web_sm, for example"
        )


def find_names(text: str, model: str) -> list[Finding]:
    """Where the model finds names of persons, and of places (type `address`)."""
    found = _load(model)(text).ents
    return [Finding(name.start_char, name.end_char, _TYPES[name.label_]) for name in found if name.label_ in _TYPES]


@cache
def _load(model: str) -> Any:
    import spacy

    return spacy.load(model if model.isidentifier() else expanded(model))
