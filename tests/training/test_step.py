from __future__ import annotations

import pytest
import torch

from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.training.data import IGNORED, Batch
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
