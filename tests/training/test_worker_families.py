"""Real training processes of the other families: what they leave behind, and that a kill changes no bit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_worker import disturb, start, weights
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.models.bert import BertForMaskedLM
from zen_pipeline.models.folder import load_any, load_model
from zen_pipeline.models.marian import Marian
from zen_pipeline.tasks.spans import span_counts
from zen_pipeline.tasks.special_tokens import MASK, PAD, extend_tokenizer
from zen_pipeline.tasks.translation import Pair, encode_pairs
from zen_pipeline.training.job import PairData, TokenData, TrainingJob
from zen_pipeline.training.launcher import launch
from zen_pipeline.training.pairs import save_pairs
from zen_pipeline.training.sources import open_source
from zen_pipeline.training.step import target_losses

MakeJob = Callable[..., TrainingJob]
PHRASES = [("one", "un"), ("two", "deux"), ("three", "trois"), ("red", "rouge"), ("green", "vert"), ("dog", "chien")]
WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def gpt2(make_job: MakeJob, _: Path, __: Path) -> TrainingJob:
    shape = {"vocab_size": 400, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.1}
    return make_job(family="gpt2", model=shape, steps=30, threads=1)


def bert(make_job: MakeJob, tokens: Path, work: Path) -> TrainingJob:
    special = extend_tokenizer(tokens / "tokenizer", work / "tokenizer", [MASK, PAD], framed=True)
    shape = {**WIDTH, "vocab_size": 402, "max_position_embeddings": 64, "hidden_dropout_prob": 0.1, "pad_token_id": 401}
    data = TokenData(folder=str(tokens), validation_windows=8)
    options = {"mask_id": special["mask_token"], "folder": str(tokens), "whole_words": False}
    return make_job(
        task="masked",
        options=options,
        family="bert",
        model=shape,
        data=data,
        tokenizer=str(work / "tokenizer"),
        steps=30,
        threads=1,
    )


def marian(make_job: MakeJob, tokens: Path, work: Path) -> TrainingJob:
    special = extend_tokenizer(tokens / "tokenizer", work / "tokenizer", [PAD])
    pad = special["pad_token"]
    pairs = [Pair(f"{a} {c}", f"{d} {b}", "fr") for a, b in PHRASES for c, d in PHRASES]
    rows = encode_pairs(pairs, Tokenizer.load(tokens / "tokenizer"), name_language=False)
    for name, part in (("train", rows[2:]), ("valid", rows[:2])):
        save_pairs(work / f"{name}.safetensors", part, longest=20)
    sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    shape |= {"vocab_size": 401, "d_model": 32, "max_position_embeddings": 64, "dropout": 0.1, "scale_embedding": True}
    data = PairData(
        train=str(work / "train.safetensors"),
        valid=str(work / "valid.safetensors"),
        start_id=pad,
        pad_id=pad,
        token_bytes=str(tokens / "token_bytes.npy"),
    )
    return make_job(
        task="translation",
        family="marian",
        model={**shape, "pad_token_id": pad, "decoder_start_token_id": pad},
        data=data,
        batch=16,
        micro_batch=8,
        tokenizer=str(work / "tokenizer"),
        steps=30,
        threads=1,
    )


def spans(make_job: MakeJob, tokens: Path, work: Path) -> TrainingJob:
    special = extend_tokenizer(tokens / "tokenizer", work / "tokenizer", [PAD], sentinels=span_counts(64)[1] + 1)
    pad = special["pad_token"]
    sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    shape |= {"vocab_size": pad + 1, "d_model": 32, "max_position_embeddings": 64, "dropout": 0.1}
    data = TokenData(folder=str(tokens), validation_windows=8)
    return make_job(
        task="spans",
        options={"first_sentinel": special["first_sentinel"], "start_id": pad},
        family="marian",
        model={**shape, "pad_token_id": pad, "decoder_start_token_id": pad},
        data=data,
        steps=30,
        tokenizer=str(work / "tokenizer"),
        threads=1,
    )


JOBS: dict[str, Callable[[MakeJob, Path, Path], TrainingJob]] = {
    "gpt2": gpt2,
    "bert": bert,
    "marian": marian,
    "spans": spans,
}


def loss_without_dropout(job: TrainingJob) -> float:
    """Mean loss of the saved masked language model on the validation windows."""
    model = load_any(Path(job.output), BertForMaskedLM).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return float(torch.cat([target_losses(model, b) for b in open_source(job).validation()]).double().mean())


@pytest.mark.large
@pytest.mark.parametrize("family", JOBS)
def test_a_killed_training_ends_in_the_same_bits(
    family: str, make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    job = JOBS[family](make_job, tokens_folder, tmp_path)
    changes = {"output": str(tmp_path / "whole"), "checkpoints": str(tmp_path / "whole-checkpoints")}
    whole = launch(job.model_copy(update=changes), work=tmp_path / "whole-work")
    assert disturb(start(job, tmp_path / "work"), 10, signal.SIGKILL) == -signal.SIGKILL
    result = launch(job, work=tmp_path / "work")
    assert result.resumed_from
    assert weights(job.output) == weights(tmp_path / "whole")

    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert history[-1]["loss"] < history[0]["loss"] - 0.3
    assert result.validation_loss == whole.validation_loss
    samples = (tmp_path / "whole" / "samples.jsonl").read_text()
    assert '"step": 30' in samples
    assert (tmp_path / "output" / "samples.jsonl").read_text() == samples
    assert (result.validation_bits_per_byte is None) == (family in ("bert", "spans"))
    if family == "bert":
        assert result.tokens == 30 * 4 * 64
        assert result.supervised_tokens == pytest.approx(0.15 * result.tokens, rel=0.1)
        assert result.validation_loss == pytest.approx(loss_without_dropout(job), rel=1e-4)


def test_transformers_opens_what_was_trained(make_job: MakeJob, tokens_folder: Path, tmp_path: Path) -> None:
    import transformers

    job = bert(make_job, tokens_folder, tmp_path)
    launch(job.model_copy(update={"steps": 3}), work=tmp_path / "work")
    model = transformers.AutoModelForMaskedLM.from_pretrained(job.output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.output)
    asked = tokenizer(f"The {tokenizer.mask_token} statement", return_tensors="pt")
    assert (asked.input_ids == job.options["mask_id"]).sum() == 1
    assert model(input_ids=asked.input_ids).logits.shape == (1, asked.input_ids.shape[1], 402)


def test_a_marian_model_learns_to_translate_pairs_that_it_has_not_seen(
    make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    from zen_pipeline.inference.translate import translate

    job = marian(make_job, tokens_folder, tmp_path)
    launch(job.model_copy(update={"steps": 400}), work=tmp_path / "work")
    model, tokenizer = load_any(Path(job.output), Marian), Tokenizer.load(Path(job.output))
    held_out = {"one one": "un un", "one two": "deux un"}
    sources = [[*tokenizer.encode(source), tokenizer.start_id] for source in held_out]
    said = [tokenizer.decode(ids) for ids in translate(model, sources, max_new_tokens=10)]
    assert said == list(held_out.values())


@pytest.mark.large
@pytest.mark.timeout(1800)  # 20 steps of 124 M parameters on a busy machine of two cores took 337 s
def test_gpt2_of_the_real_shape_is_imported_trained_exported_and_reloaded(
    make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    import transformers

    config = transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # 124 M: the class's own defaults
    theirs = transformers.GPT2LMHeadModel(config)
    assert sum(p.numel() for p in theirs.parameters()) == 124_439_808
    theirs.save_pretrained(tmp_path / "given")
    job = make_job(
        model=None, init_from=str(tmp_path / "given"), steps=20, batch=2, micro_batch=2, precision="fp32", threads=2,
        checkpoint_every=1000, validate_every=1000,
    )  # fmt: skip
    rates = {"learning_rate": 0.002, "embedding_learning_rate": 3e-4}
    result = launch(job.model_copy(update={"schedule": job.schedule.model_copy(update=rates)}), work=tmp_path / "work")
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert result.steps == len(history) == 20
    assert history[-1]["loss"] < history[0]["loss"] - 2.0

    ours = load_model(Path(job.output))
    reloaded = transformers.GPT2LMHeadModel.from_pretrained(job.output).eval()
    ids = torch.randint(0, 400, (2, 48), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine: Any = ours(ids)
        torch.testing.assert_close(mine, reloaded(ids).logits, rtol=0, atol=1e-4)
        assert (mine - theirs.eval()(ids).logits).abs().max() > 1.0
