"""Batches of encoders and encoder-decoders: pure functions of (seed, step), with nothing in them that cannot matter."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.models.marian import Marian, MarianConfig
from zen_pipeline.tasks.masked import TASK as MASKED
from zen_pipeline.tasks.masks import starts_of_words
from zen_pipeline.tasks.spans import TASK as SPANS
from zen_pipeline.training.data import IGNORED, Batch, TokenWindows, micro_batches
from zen_pipeline.training.job import PairData, TokenData
from zen_pipeline.training.measure import random_pairs
from zen_pipeline.training.pairs import Pairs, pair_batch, save_pairs
from zen_pipeline.training.rules import pair_sizes
from zen_pipeline.training.step import accumulate_gradients, seed_step


@pytest.fixture
def masked(tokens_folder: Path) -> TokenData:
    return TokenData(folder=str(tokens_folder), validation_windows=6)


@pytest.fixture
def pairs(tmp_path: Path, tokens_folder: Path) -> PairData:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (3, 9, 4, 12, 2, 7, 5, 5, 8, 3):
        source = torch.randint(3, 50, (length,), generator=generator).tolist()
        rows.append(([*source, 0], [*reversed(source), source[0], 0]))
    save_pairs(tmp_path / "train.safetensors", rows, longest=20)
    path = str(tmp_path / "train.safetensors")
    return PairData(train=path, valid=path, start_id=60, pad_id=60, token_bytes=str(tokens_folder / "token_bytes.npy"))


def same(first: Batch, second: Batch) -> bool:
    both = zip(first[1:5], second[1:5], strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in both)  # type: ignore[arg-type]


def windows(data: TokenData, seed: int = 3, *, whole_words: bool = False, micro: int = 2) -> TokenWindows:
    options = {"mask_id": 400, "folder": data.folder, "whole_words": whole_words}
    examples = partial(MASKED.transform, options=options)
    return TokenWindows(data, context=32, batch=4, seed=seed, micro=micro, transform=examples)


def test_masks_are_new_in_every_step_and_follow_from_seed_and_step(masked: TokenData) -> None:
    source, again = windows(masked), windows(masked)
    again.batch(17)  # what was asked before makes no difference
    for step in (0, 5, 400):
        assert same(source.batch(step), again.batch(step))
    first = source.batch(0)
    assert first.input_ids.shape == first.targets.shape == (4, 32)
    assert not same(first, source.batch(1))
    assert not same(first, windows(masked, seed=4).batch(0))
    assert (first.input_ids == 400).any()


def test_the_same_text_gets_other_masks_in_the_next_epoch(masked: TokenData, tokens_folder: Path) -> None:
    source = windows(masked)
    epoch = len(source.epoch_targets(0)) // 32  # windows per epoch
    texts: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for step in range(2 * epoch // 4):
        batch = source.batch(step)
        whole = torch.where(batch.targets != IGNORED, batch.targets, batch.input_ids)
        for text, targets in zip(whole, batch.targets, strict=True):
            texts.setdefault(tuple(text.tolist()), []).append(targets != IGNORED)
    seen_twice = [masks for masks in texts.values() if len(masks) > 1]
    assert all(not torch.equal(masks[0], masks[1]) for masks in seen_twice)


def test_validation_asks_for_the_same_tokens_whatever_the_seed(masked: TokenData) -> None:
    first, second = windows(masked, seed=1).validation(), windows(masked, seed=2).validation()
    assert len(first) == 3
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert windows(masked).token_bytes is None


def test_micro_batches_of_an_encoder_keep_what_comes_after_the_last_target(masked: TokenData) -> None:
    batch = windows(masked).batch(0)
    parts = list(micro_batches(batch, 3))
    assert [part.input_ids.shape for part in parts] == [(3, 32), (1, 32)]
    assert batch.tokens == 4 * 32


def test_whole_words_are_masked_when_asked_for(masked: TokenData) -> None:
    vocabulary = Tokenizer.load(Path(masked.folder) / "tokenizer").vocabulary
    starts = starts_of_words(sorted(vocabulary, key=lambda name: vocabulary[name]))
    maskable = np.load(Path(masked.folder) / "token_bytes.npy") > 0
    batch = windows(masked, whole_words=True).batch(0)
    tokens = torch.where(batch.targets != IGNORED, batch.targets, batch.input_ids)
    asked = batch.targets != IGNORED
    inside = ~torch.from_numpy(starts)[tokens[:, 1:]] & torch.from_numpy(maskable)[tokens[:, :-1]]
    assert inside.any()
    assert torch.equal(asked[:, 1:][inside], asked[:, :-1][inside])


def test_pairs_are_seen_once_per_epoch(pairs: PairData) -> None:
    source = Pairs(pairs, batch=4, seed=3, micro=2)
    seen = []
    for step in range(5):  # two epochs of ten
        batch = source.batch(step)
        assert batch.source_ids is not None
        assert batch.source_mask is not None
        assert (batch.input_ids[:, 0] == 60).all()
        seen += [tuple(row[mask].tolist()) for row, mask in zip(batch.source_ids, batch.source_mask, strict=True)]
        for inputs, targets in zip(batch.input_ids, batch.targets, strict=True):
            known = targets != IGNORED
            assert torch.equal(inputs[1:][known[1:]], targets[:-1][known[1:]])
    assert len(seen) == 20
    assert all(seen.count(pair) == 2 for pair in set(seen))
    assert same(source.batch(1), Pairs(pairs, batch=4, seed=3, micro=2).batch(1))
    assert sum(len(batch.input_ids) for batch in source.validation()) == 10


def test_micro_batches_of_pairs_are_cut_on_both_sides_and_give_the_same_gradients(pairs: PairData) -> None:
    batch = Pairs(pairs, batch=10, seed=0, micro=2).batch(0)
    first = next(iter(micro_batches(batch, 2)))
    assert first.source_ids is not None
    assert first.source_ids.shape[1] < batch.source_ids.shape[1]  # type: ignore[union-attr]
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder")
             for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
    special = {"pad_token_id": 60, "decoder_start_token_id": 60}
    config = MarianConfig(vocab_size=61, d_model=16, max_position_embeddings=20, **sides, **special)
    found = []
    for micro in (10, 3):
        model = Marian(config, seed=1)
        loss, supervised = accumulate_gradients(model, batch, micro_batch=micro)
        found.append([float(loss), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
        assert supervised == batch.tokens == int((batch.targets != IGNORED).sum())
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    for whole, parts in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)


def test_dropout_follows_from_seed_and_step(pairs: PairData) -> None:
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder")
             for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
    special = {"pad_token_id": 60, "decoder_start_token_id": 60, "dropout": 0.3}
    model = Marian(MarianConfig(vocab_size=61, d_model=16, max_position_embeddings=20, **sides, **special)).train()
    batch = Pairs(pairs, batch=4, seed=0, micro=2).batch(0)

    def loss(step: int) -> float:
        seed_step(5, step)
        return float(accumulate_gradients(model, batch, micro_batch=2)[0])

    assert loss(3) == loss(3)
    assert loss(3) != loss(4)


@pytest.mark.parametrize("kind", ["masked", "spans"])
def test_what_is_asked_in_validation_does_not_depend_on_the_size_of_a_batch(kind: str, masked: TokenData) -> None:
    def asked(micro: int) -> list[Batch]:
        if kind == "masked":
            return windows(masked, micro=micro).validation()
        examples = partial(SPANS.transform, options={"first_sentinel": 401, "start_id": 400})
        return TokenWindows(masked, context=32, batch=4, seed=3, micro=micro, transform=examples).validation()

    one, several = asked(1), asked(4)
    assert [len(batch.targets) for batch in several] == [4, 2]
    rows = [row for batch in several for row in batch.targets]
    assert all(torch.equal(alone.targets[0], row) for alone, row in zip(one, rows, strict=True))


def test_passes_of_pairs_of_many_lengths_hold_little_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.empty(130).log_normal_(2.6, 0.45, generator=generator).int().clamp(3, 60).tolist()
    pairs = [(torch.ones(n, dtype=torch.int32), torch.ones(n, dtype=torch.int32)) for n in lengths]
    batch = pair_batch(pairs, 0, start_id=0, pad_id=0)
    size, micro = pair_sizes(2048, 2048, sum(lengths) / len(lengths))
    assert abs(size - 130) < 20
    looked_at = sum(part.input_ids.numel() for part in micro_batches(batch, micro))
    assert looked_at < 1.5 * batch.tokens  # in one pass 2.6 times
    assert batch.tokens == sum(lengths)


def test_the_machine_is_timed_on_pairs_as_long_as_the_corpus_has_them() -> None:
    fields = {"d_model": 16, "vocab_size": 50, "max_position_embeddings": 64, "pad_token_id": 49}
    sides = {
        f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")
    }
    config = MarianConfig.model_validate(fields | sides | {"decoder_start_token_id": 49})
    batch, micro = random_pairs(config, [(5, 10), (10, 20), (300, 300)], 940)
    assert (len(batch.input_ids), batch.tokens, micro) == (30, 10 * (10 + 20 + 64), 8)
