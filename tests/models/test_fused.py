"""The functions with gradients of their own against PyTorch's, in float32 and under autocast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zen_pipeline.models import fused
from zen_pipeline.models.blocks import LayerNorm, RMSNorm, rotate

Function = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def results(function: Function, inputs: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of a random function of it."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = function(*leaves)
    (output.float() * drawn(*output.shape, seed=9)).sum().backward()
    return [output.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def plain_rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    module = RMSNorm(len(weight), 1e-5)
    del module.weight
    module.weight = weight  # type: ignore[assignment]
    return module(x)  # type: ignore[no-any-return]


TARGETS = torch.randint(0, 901, (777,), generator=torch.Generator().manual_seed(1))
COS, SIN = drawn(20, 1, 8).cos(), drawn(20, 1, 8).sin()
CASES: dict[str, tuple[Function, Function, list[Tensor]]] = {
    "cross entropy, in pieces": (
        lambda logits: fused.apply(fused.CrossEntropy, logits, TARGETS),
        lambda logits: F.cross_entropy(logits, TARGETS, reduction="none"),
        [3 * drawn(777, 901)],
    ),
    "normalization": (
        norm,
        lambda x, weight: F.rms_norm(x, (48,), weight, 1e-5),
        [drawn(3, 20, 48), 1 + 0.2 * drawn(48, seed=2)],
    ),
    "layer normalization": (
        lambda x, weight, bias: fused.apply(fused.LayerNorm, x, weight, bias, 1e-5, x.dtype),
        lambda x, weight, bias: F.layer_norm(x, (48,), weight, bias, 1e-5),
        [drawn(3, 20, 48), 1 + 0.2 * drawn(48, seed=2), drawn(48, seed=3)],
    ),
    "rotation": (lambda x: rotate(x, COS, SIN), lambda x: plain_rotate(x, COS, SIN), [drawn(3, 20, 4, 16)]),
    "attention": (
        lambda *qkv: fused.apply(fused.CausalAttention, *qkv).transpose(1, 2).flatten(2),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2),
        [drawn(2, 3, 150, 16, seed=seed) for seed in range(3)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_and_gradients_are_those_of_pytorch(case: tuple[Function, Function, list[Tensor]]) -> None:
    ours, theirs, inputs = case
    for found, expected in zip(results(ours, inputs), results(theirs, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_in_bfloat16_they_are_as_near_to_float32_as_pytorch_is(case: tuple[Function, Function, list[Tensor]]) -> None:
    ours, theirs, inputs = case
    inputs = [x.bfloat16() if x.ndim > 1 else x for x in inputs]  # gains stay in float32

    def reference(*leaves: Tensor) -> Tensor:
        return theirs(*(x.float() for x in leaves))

    for found, expected in zip(results(ours, inputs), results(reference, inputs), strict=True):
        assert (found - expected).abs().max() < 0.01 * expected.abs().max()


@pytest.mark.parametrize("module", [RMSNorm(16, 1e-5), LayerNorm(16, 1e-5)], ids=["rms", "layer"])
def test_the_norm_gives_the_dtype_in_which_autocast_multiplies(module: torch.nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert module(drawn(2, 16)).dtype == torch.bfloat16
    assert module(drawn(2, 16)).dtype == torch.float32
