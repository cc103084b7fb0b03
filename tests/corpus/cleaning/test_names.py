"""Names of persons and places, by a model of spaCy that the user has."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from zen_pipeline.corpus.cleaning import Cleaner
from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import ConfigError
from zen_pipeline.settings.data import CleanSettings


@pytest.mark.skipif(find_spec("spacy") is not None, reason="spaCy is installed")
def test_without_spacy_the_setting_is_refused_with_the_extra_to_install() -> None:
    with pytest.raises(ConfigError, match=r"zen-pipeline\[pii\]"):
        Cleaner(CleanSettings(names_model="en_core_web_sm"))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("spacy", reason="needs the extra pii")
    with pytest.raises(ConfigError, match="missing_model"):
        Cleaner(CleanSettings(names_model="missing_model"))
    with pytest.raises(ConfigError, match="nowhere"):
        Cleaner(CleanSettings(names_model=str(tmp_path / "nowhere")))


def test_names_that_the_model_finds_are_replaced(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy", reason="needs the extra pii")
    model = spacy.blank("en")
    patterns = [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}]
    model.add_pipe("entity_ruler").add_patterns([*patterns, {"label": "ORG", "pattern": "Acme"}])
    model.to_disk(tmp_path / "names")
    cleaner = Cleaner(CleanSettings(names_model=str(tmp_path / "names"), personal_types={"address": "report"}))
    cleaned = cleaner.clean(Record("1", "g", "Ada Lovelace of Acme lived in London: ada@firm.com", "f", "en"))
    assert cleaned.record.text == "<PERSON> of Acme lived in London: <EMAIL>"
    assert cleaned.personal == {"person": 1, "email": 1, "address": 1}
