"""Comparison with transformers, in both directions, through folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.folder import load_any, save_model


def randomized(model: FamilyModel, seed: int = 1) -> FamilyModel:
    """The model with random weights, gains around one and biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        gain = parameter.ndim == 1 and name.endswith("weight")
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2 + gain
    model.tie_weights()
    return model.eval()


def exported(ours: FamilyModel, theirs: Any, folder: Path, **settings: Any) -> nn.Module:
    """What transformers' class `theirs` reads from the folder that we write."""
    save_model(ours, folder, **settings)
    loaded, report = theirs.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    return loaded.eval()  # type: ignore[no-any-return]


def imported(theirs: Any, kind: type[Any], folder: Path, **settings: Any) -> Any:
    """What we read from the folder that transformers writes, its weights made large enough to matter."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for name, parameter in theirs.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    theirs.eval().save_pretrained(folder, **settings)
    return load_any(folder, kind)


def assert_close(mine: Tensor, expected: Tensor, real: Tensor | None = None) -> None:
    """Equal within 1e-5; `real` (B, T) leaves out what stands for padding."""
    if real is not None:
        mine, expected = mine[real], expected[real]
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)


def assert_gradients_equal(ours: FamilyModel, theirs: nn.Module, mine: Tensor, expected: Tensor) -> None:
    """Backward through a random function of both logits; then every parameter's gradient is compared."""
    weights = torch.randn(mine.shape, generator=torch.Generator().manual_seed(3)) / mine.numel() ** 0.5
    (mine * weights).sum().backward()
    (expected * weights).sum().backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    assert set(found) == set(gradients)
    for name, gradient in found.items():
        theirs_gradient = gradients[name].T if ours.is_transposed(name) else gradients[name]
        scale = theirs_gradient.abs().max().item()
        torch.testing.assert_close(gradient, theirs_gradient, rtol=1e-4, atol=1e-5 * max(1.0, scale), msg=name)


def ids(batch: int, length: int, vocab_size: int, first: int = 0) -> Tensor:
    """Random token ids (B, T)."""
    return torch.randint(first, vocab_size, (batch, length), generator=torch.Generator().manual_seed(4))


def padding(batch: int, length: int, side: str) -> Tensor:
    """An attention mask (B, T): row b has b + 1 padding positions on the given side."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(batch):
        span = slice(0, row + 1) if side == "left" else slice(length - row - 1, length)
        mask[row, span] = 0
    return mask
