"""Talking in a terminal, and what the shell completes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from zen_pipeline.cli import app, completion
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.models.folder import save_model
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.tasks.chat_markup import write_template


@pytest.fixture
def chatting(tmp_path: Path, small_tokenizer: Callable[[Path, list[str]], Path]) -> Path:
    """A folder of a chat model that always says the same letter."""
    folder = small_tokenizer(tmp_path / "model", ["The path names a file."])
    write_template(folder)
    tokenizer = Tokenizer.load(folder)
    model = GPT2(GPT2Config(vocab_size=tokenizer.vocab_size, n_positions=512, n_embd=16, n_layer=1, n_head=1))
    last = model.transformer.ln_f
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(model.lm_head.weight[tokenizer.encode("m")[0]] * 1000)
    save_model(model, folder)
    return folder


def test_an_answer_that_goes_round_in_a_circle_is_stopped(chatting: Path) -> None:
    result = CliRunner().invoke(app, ["chat", "Who?", "-m", str(chatting), "-n", "400"])
    assert set(result.stdout.strip()) == {"m"}
    assert len(result.stdout.strip()) < 60


def test_a_conversation_has_commands_and_goes_on_after_a_mistake(chatting: Path) -> None:
    said = "/help\n/nonsense\nWho?\n/new\n" + "long " * 600 + "\nWho?\n/exit\nnever asked\n"
    result = CliRunner().invoke(app, ["chat", "-m", str(chatting), "-n", "3"], input=said)
    assert result.exit_code == 0
    assert result.stdout.split() == ["mmm", "mmm"]
    assert "there is no command /nonsense" in result.stderr
    assert "ask a shorter one" in result.stderr
    assert result.stderr.count("/new ") == 2


def test_the_shell_completes_settings_presets_and_families() -> None:
    assert completion.settings("pretrain.model.h") == ["pretrain.model.hidden_size=", "pretrain.model.heads="]
    assert completion.settings("pretrain.family=m") == ["pretrain.family=marian"]
    assert "validate.min_characters=" in completion.settings("validate.")
    assert completion.presets("lap") == ["laptop"]
    assert completion.families("m") == ["marian"]


def test_the_shell_completes_nothing_where_nothing_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completion.models("") == []
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert completion.models("") == []
