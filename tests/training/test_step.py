from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.training.data import IGNORED, Batch
from zen_pipeline.training.job import TokenData, TrainingJob
from zen_pipeline.training.sources import open_source
from zen_pipeline.training.step import accumulate_gradients, target_losses


@pytest.fixture
def model() -> Qwen3:
    shape = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    rest = {"num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 32, "max_position_embeddings": 16}
    model = Qwen3(Qwen3Config(**shape, **rest), seed=3)
    with torch.no_grad():  # the residual branches start at zero, where gradients would hide mistakes
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    return model


def make_batch(masked: bool) -> Batch:
    tokens = torch.randint(0, 50, (6, 13), generator=torch.Generator().manual_seed(0))
    targets = tokens[:, 1:].clone()
    if masked:
        targets[:, :5] = IGNORED
        targets[:3, 8:] = IGNORED
    return Batch(0, tokens[:, :-1], targets)


def gradients(model: Qwen3, batch: Batch, micro_batch: int) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss, _ = accumulate_gradients(model, batch, micro_batch=micro_batch)
    return float(loss), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("masked", [False, True])
def test_accumulation_gives_the_gradients_of_the_whole_batch(model: Qwen3, masked: bool) -> None:
    whole_loss, whole = gradients(model, make_batch(masked), 6)
    for micro_batch in (1, 2, 4):
        loss, parts = gradients(model, make_batch(masked), micro_batch)
        assert loss == pytest.approx(whole_loss, abs=1e-6)
        for name, grad in whole.items():
            torch.testing.assert_close(parts[name], grad, atol=1e-6, rtol=1e-4)


def test_the_loss_is_the_mean_over_supervised_targets(model: Qwen3) -> None:
    batch = make_batch(masked=True)
    logits = model(batch.input_ids)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    assert gradients(model, batch, 2)[0] == pytest.approx(float(expected.detach()), abs=1e-5)
    assert len(target_losses(model, batch)) == int((batch.targets != IGNORED).sum())


def test_under_autocast_micro_batches_share_weights_and_keep_their_gradients(model: Qwen3) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        _, whole = gradients(model, make_batch(masked=False), 6)
        _, parts = gradients(model, make_batch(masked=False), 2)
    for name, grad in whole.items():
        assert (parts[name] - grad).norm() < 0.03 * grad.norm() + 1e-6, name


def test_with_a_document_mask_each_document_is_read_as_if_it_were_alone(
    model: Qwen3, tokens_folder: Path, make_job: Callable[..., TrainingJob]
) -> None:
    ids = torch.randint(1, 50, (2, 12), generator=torch.Generator().manual_seed(1))
    documents = torch.zeros_like(ids)
    documents[0, 5:], documents[1, 9:] = 1, 1
    batch = Batch(0, ids, ids.roll(-1, 1), documents=documents)
    found = target_losses(model, batch)
    parts = [ids[0, :5], ids[0, 5:], ids[1, :9], ids[1, 9:]]
    targets = [batch.targets[0, :5], batch.targets[0, 5:], batch.targets[1, :9], batch.targets[1, 9:]]
    alone = [target_losses(model, Batch(0, i[None], t[None])) for i, t in zip(parts, targets, strict=True)]
    torch.testing.assert_close(found, torch.cat(alone))
    halves = [target_losses(model, batch.share(rank, 2)) for rank in range(2)]
    torch.testing.assert_close(found, torch.cat(halves))

    start = 300  # any id that occurs may stand before a document
    data = TokenData(folder=str(tokens_folder), document_start=start)
    windows = open_source(make_job(data=data, batch=64)).batch(0)
    assert windows.documents is not None
    steps = windows.documents.diff(dim=1)
    assert torch.equal(steps == 1, windows.input_ids[:, 1:] == start)
    assert set(steps.unique().tolist()) == {0, 1}
