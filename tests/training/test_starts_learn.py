"""Starts are worth something to a small model that is trained for a moment on real text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from safetensors.torch import save_file

from benchmarks.compare_starts import compare_starts, starts_of, width_of
from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.models.starts.choice import NEXT_TOKEN_FILE
from zen_pipeline.models.starts.next_token import next_token_vectors


def test_next_token_vectors_lead_from_the_first_step(tokens_folder: Path, tmp_path: Path) -> None:
    made = next_token_vectors(TokenSplit.open(tokens_folder, "train").tokens, 400, 64, steps=10)
    save_file({"input": made.input, "output": made.output}, tmp_path / NEXT_TOKEN_FILE)
    starts = starts_of("qwen3", tmp_path)
    assert set(starts) == {"auto", "random", "words", "next_token"}  # without word vectors `words` is `heads`
    curves = compare_starts(tokens_folder, starts, family="qwen3", width=width_of(tmp_path) or 0, steps=6, seed=0)
    assert all(len(curve.losses) == 6 for curve in curves.values())
    assert curves["random"].before == pytest.approx(math.log(400), abs=0.02)
    assert curves["random"].after < curves["random"].before
    assert curves["next_token"].before == pytest.approx(made.loss, abs=0.5)
    assert curves["next_token"].after < curves["random"].after - 0.5
    assert curves["auto"].after < curves["random"].after - 0.5
