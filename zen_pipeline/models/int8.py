"""Weight-only int8 for linear layers: a quarter of float32's bytes to keep and to read.

Each output channel is stored as integers in -127..127 and one scale, w ≈ q * scale ("absmax", symmetric, round to
nearest). The scales are bfloat16, so that the CPU kernel, which wants them so, uses the very weights that are stored.
Activations stay in floating point. A linear layer that shares its weight with the embeddings is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.blocks import Linear

M = TypeVar("M", bound=FamilyModel)

# Above 8 rows the kernel loses to unpacking the weight and one ordinary product (512 x 192 and 2048 x 1024 on AVX-512).
_KERNEL_ROWS = 8
# The kernel reads whole vectors: a width that is no multiple of 16 makes it read past the end of its operands.
_KERNEL_WIDTH = 16


class Int8Linear(nn.Module):
    """A linear map from `in_features` to `out_features`.

    Buffers: `weight` int8 (out_features, in_features), `weight_scale` bfloat16 (out_features,), and the bias, if there
    is one, in floating point.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features, dtype=torch.bfloat16))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """The nearest int8 map to a float one, on the same device."""
        has_bias = linear.bias is not None
        quantized = cls(linear.in_features, linear.out_features, bias=has_bias).to(linear.weight.device)
        quantized.weight, quantized.weight_scale = quantize_channels(linear.weight.detach())
        quantized.bias = linear.bias.detach() if has_bias else None
        return quantized

    @override
    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // self.in_features
        if x.device.type == "cpu" and rows <= _KERNEL_ROWS and self.in_features % _KERNEL_WIDTH == 0:
            flat = x.reshape(rows, self.in_features).to(torch.bfloat16)
            y = torch._weight_int8pack_mm(flat, self.weight, self.weight_scale.to(torch.bfloat16))
            y = y.to(x.dtype).view(*x.shape[:-1], self.out_features)
        else:
            y = F.linear(x, self.weight.to(x.dtype)) * self.weight_scale.to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)


def quantize_channels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (out, in) and bfloat16 scales (out,) of a float weight (out, in); off by half a scale at most."""
    weight = weight.float()
    # bfloat16 rounds by 2^-9 at most, so the largest weight becomes 127.25 scales at most: nothing is clipped
    scale = (weight.abs().amax(dim=1) / 127.0).to(torch.bfloat16)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a channel of zeros
    return torch.round(weight / scale.float()[:, None]).clamp(-127, 127).to(torch.int8), scale


def quantize_(model: M) -> M:
    """Replace the model's linear layers by int8 ones, in place; returns the model."""
    replace_linear_(model, Int8Linear.of)
    return model


def replace_linear_(model: FamilyModel, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Put `make(layer)` in the place of every linear layer whose weight is its own."""
    tied = model.tied()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Linear) and f"{name}.weight" not in tied:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, make(layer))


def is_quantized(model: nn.Module) -> bool:
    """True if any layer is stored as int8."""
    return any(isinstance(module, Int8Linear) for module in model.modules())
