"""`zen translate` and `zen fill` on untrained models: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zen_pipeline.cli import app
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.models.bert import BertConfig, BertForMaskedLM
from zen_pipeline.models.folder import save_model
from zen_pipeline.models.marian import Marian, MarianConfig
from zen_pipeline.tasks.special_tokens import MASK, PAD, extend_tokenizer

TEXTS = ["A small house stands by the river.", "The river is wide."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A translation model and an encoder with random weights."""
    root = tmp_path_factory.mktemp("models")
    train_tokenizer(TEXTS, 280).save(root / "plain")
    pad = extend_tokenizer(root / "plain", root / "marian", [PAD])["pad_token"]
    sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 32}
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    special = {"pad_token_id": pad, "decoder_start_token_id": pad}
    save_model(Marian(MarianConfig(vocab_size=pad + 1, d_model=16, max_position_embeddings=24, **shape, **special)),
               root / "marian")  # fmt: skip
    last = extend_tokenizer(root / "plain", root / "bert", [MASK, PAD], framed=True)["pad_token"]
    encoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=last + 1, max_position_embeddings=24, pad_token_id=last, **encoder)
    save_model(BertForMaskedLM(config), root / "bert")
    return {"translate": root / "marian", "fill": root / "bert"}


def answered(*command: str, lines: str | None = None) -> str:
    done = CliRunner().invoke(app, command, input=lines, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_lines_come_back_one_for_one(folders: dict[str, Path], tmp_path: Path) -> None:
    model = ["-m", str(folders["translate"])]
    lines = f"{TEXTS[0]}\n\n{TEXTS[1]} Two\u2028parts.\x0c\n"
    piped = json.loads(answered("translate", *model, "--json", lines=lines))
    assert piped["model"] == str(folders["translate"])
    assert len(piped["translations"]) == 3
    assert piped["translations"][1] == ""
    (tmp_path / "in.txt").write_text(lines)
    answered("translate", *model, "--file", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt"))
    written = (tmp_path / "out.txt").read_bytes()
    assert written.count(b"\n") == 3
    assert written.decode().split("\n")[:3] == [" ".join(text.splitlines()) for text in piped["translations"]]
    assert answered("translate", TEXTS[0], *model).strip() == piped["translations"][0]


def test_hidden_words_are_filled_in(folders: dict[str, Path]) -> None:
    filled = json.loads(answered("fill", "The [MASK] is wide.", "-m", str(folders["fill"]), "--json"))["texts"][0]
    assert filled.startswith("The")
    assert "[MASK]" not in filled


def test_a_line_that_is_too_long_is_named_by_its_number(folders: dict[str, Path]) -> None:
    from zen_pipeline.errors import DataError

    lines = f"short\n\n{'river ' * 60}\n"
    command = ["translate", "-m", str(folders["translate"])]
    with pytest.raises(DataError, match=r"^line 3: .*the model reads 24"):
        CliRunner().invoke(app, command, input=lines, catch_exceptions=False)


@pytest.mark.parametrize(("command", "other"), [("translate", "fill"), ("fill", "translate")])
def test_a_model_that_does_something_else_is_refused(folders: dict[str, Path], command: str, other: str) -> None:
    from zen_pipeline.errors import ConfigError

    with pytest.raises(ConfigError, match=f"use `zen {other}`"):
        CliRunner().invoke(app, [command, "x [MASK]", "-m", str(folders[other])], catch_exceptions=False)
