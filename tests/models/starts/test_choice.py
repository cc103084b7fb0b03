"""`pretrain.start` becomes the parts that fit a model, and those that cannot be had are left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from zen_pipeline.family_specs import FAMILIES
from zen_pipeline.models.starts.choice import NEXT_TOKEN_FILE, TOKEN_VECTORS_FILE, choose_start, tables_file


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    for name in (NEXT_TOKEN_FILE, TOKEN_VECTORS_FILE):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "changes", "tables", "previous_token", "induction"),
    [
        ("auto", {}, NEXT_TOKEN_FILE, True, True),
        ("next_token", {}, NEXT_TOKEN_FILE, False, False),
        ("words", {}, TOKEN_VECTORS_FILE, True, False),
        ("heads", {}, None, True, False),
        ("random", {}, None, False, False),
        ("auto", {"layers": 1}, NEXT_TOKEN_FILE, True, False),
        ("auto", {"tied": True}, None, True, False),
        ("words", {"tied": True}, TOKEN_VECTORS_FILE, True, False),
        ("auto", {"vectors": None}, None, True, False),
        ("auto", {"family": "gpt2"}, None, False, False),
        ("words", {"family": "gpt2", "tied": True}, TOKEN_VECTORS_FILE, False, False),
        ("auto", {"family": "bert"}, None, False, False),
    ],
)
def test_a_start_gives_the_parts_that_fit_the_model(
    vectors: Path, name: Any, changes: dict[str, Any], tables: str | None, previous_token: bool, induction: bool
) -> None:
    given: dict[str, Any] = {"family": "qwen3", "layers": 2, "tied": False, "vectors": vectors, **changes}
    start = choose_start(name, **given)
    paths = {NEXT_TOKEN_FILE: start.next_token_vectors, TOKEN_VECTORS_FILE: start.token_vectors}
    path = str(vectors / tables) if tables else None
    assert paths == {file: path if file == tables else None for file in paths}
    assert (start.previous_token_heads, start.induction_heads) == (previous_token, induction)


@pytest.mark.parametrize("name", ["auto", "words"])
def test_vectors_that_the_stage_did_not_make_are_named_and_the_rest_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        start = choose_start(name, family="qwen3", layers=2, tied=False, vectors=tmp_path)
    assert (start.previous_token_heads, start.induction_heads) == (True, False)
    assert start.token_vectors is start.next_token_vectors is None
    assert str(tables_file(name, "qwen3")) in caplog.text


def test_nothing_is_asked_of_the_embedding_stage_where_nothing_fits() -> None:
    asked = {family for family in FAMILIES if tables_file("auto", family)}
    assert asked == {"qwen3"}
