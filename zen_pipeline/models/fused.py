"""Operations with their gradients in few passes over memory, for training on a CPU.

There a step of a small model waits for memory more than for its matrix products: PyTorch builds these operations of
elementwise ones, each of which reads and writes all activations, and their gradients of twice as many. Here each is
one function with a gradient of its own, equal to PyTorch's up to rounding. On other devices, where PyTorch has kernels
for them, and where no gradient is asked for, it is PyTorch's that runs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from typing_extensions import override

# Numbers that a thread looks at together, so that its second cache holds them; the fastest of the powers of two tried.
_LOGITS, _ACTIVATIONS = 1 << 18, 1 << 16
_QUERIES = 128


def pays(x: Tensor) -> bool:
    """True if the functions of this module are worth it for `x`."""
    return x.device.type == "cpu" and torch.is_grad_enabled()


def apply(function: type[Function], *arguments: object) -> Tensor:
    """The result of one of the functions below."""
    return function.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


class CrossEntropy(Function):
    """Cross entropy of each row of logits (N, V), of any dtype, in float32 nats, (N,).

    PyTorch's keeps the logits and the log-probabilities in float32, and its gradient fills two more such arrays. Here
    pieces of the rows are looked at while the cache holds them, and only the logits themselves are kept.
    """

    @staticmethod
    @override
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        norms = torch.empty(len(targets), dtype=torch.float32)
        losses = torch.empty_like(norms)
        for rows in _pieces(logits, _LOGITS):
            piece = logits[rows].float()
            torch.logsumexp(piece, 1, out=norms[rows])
            losses[rows] = norms[rows] - piece.gather(1, targets[rows, None])[:, 0]
        ctx.save_for_backward(logits, targets, norms)
        return losses

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """(softmax - one-hot) times the gradient of the row's loss."""
        logits, targets, norms = ctx.saved_tensors
        result = torch.empty_like(logits)
        for rows in _pieces(logits, _LOGITS):
            piece = (logits[rows] - norms[rows, None]).exp_()
            piece.scatter_add_(1, targets[rows, None], piece.new_full((len(piece), 1), -1.0))
            result[rows] = piece.mul_(grads[0][rows, None])
        return result, None


class RMSNorm(Function):
    """Root-mean-square normalization over the last dimension with a gain; float32 inside, `dtype` outside."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        flat = x.flatten(0, -2)
        result, scales = torch.empty(flat.shape, dtype=dtype), torch.empty(len(flat), 1)
        for rows in _pieces(flat, _ACTIVATIONS):
            scale, piece = scales[rows], flat[rows]
            torch.linalg.vector_norm(piece, dim=-1, keepdim=True, dtype=torch.float32, out=scale)
            scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            result[rows] = (piece * scale).mul_(weight)
        ctx.save_for_backward(flat, weight, scales)
        return result.view_as(x)

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """With n = x * scale: scale * (g w - n mean(g w n)), and the sum of g n over the rows."""
        flat, weight, scales = ctx.saved_tensors
        above, of_x, of_weight = grads[0].flatten(0, -2), torch.empty_like(flat), torch.zeros_like(weight)
        for rows in _pieces(flat, _ACTIVATIONS):
            scale, grad = scales[rows], above[rows].float()
            normalized = flat[rows] * scale
            product = grad * normalized
            of_weight += product.sum(0)
            means = torch.mv(product, weight)[:, None].div_(-flat.shape[-1])
            of_x[rows] = torch.mul(grad, weight, out=product).addcmul_(normalized, means).mul_(scale)
        return of_x.view_as(grads[0]), of_weight, None, None


class LayerNorm(Function):
    """Layer normalization over the last dimension with gain and bias; float32 inside, `dtype` outside."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        flat = x.flatten(0, -2)
        result = torch.empty(flat.shape, dtype=dtype)
        means, scales = torch.empty(len(flat), 1), torch.empty(len(flat), 1)
        for rows in _pieces(flat, _ACTIVATIONS):
            result[rows], means[rows], scales[rows] = torch.native_layer_norm(
                flat[rows].float(), weight.shape, weight, bias, eps
            )
        ctx.save_for_backward(flat, weight, bias, means, scales)
        return result.view_as(x)

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        flat, weight, bias, means, scales = ctx.saved_tensors
        above, of_x = grads[0].flatten(0, -2), torch.empty_like(flat)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows in _pieces(flat, _ACTIVATIONS):
            grad, piece, statistics = above[rows].float(), flat[rows].float(), (means[rows], scales[rows])
            of_x[rows], weight_part, bias_part = torch.ops.aten.native_layer_norm_backward(
                grad, piece, weight.shape, *statistics, weight, bias, [True, True, True]
            )
            of_weight += weight_part
            of_bias += bias_part
        return of_x.view_as(grads[0]), of_weight, of_bias, None, None


class Rotation(Function):
    """Rotary positions; the gradient is turned back."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    result = torch.empty(x.shape, dtype=x.dtype)
    (first, second), (upper, lower) = x.chunk(2, dim=-1), result.chunk(2, dim=-1)
    torch.mul(first, cos, out=upper).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=lower).addcmul_(first, sin)
    return result


class CausalAttention(Function):
    """Causal attention of bfloat16 (B, H, T, D) queries, keys and values, with the gradient by large matrix products.

    The gradient of PyTorch's kernel works on blocks that are small for the processor's matrix units. Here it computes
    the weights of `_QUERIES` queries and all keys that they may see again, for all heads at once, which is faster while
    T is some hundreds. Memory for (B, H, `_QUERIES`, T) numbers is needed in one layer at a time.
    """

    @staticmethod
    @override
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, grad = (x.flatten(0, 1) for x in (*ctx.saved_tensors, grads[0]))  # (B * H, T, D)
        length, factor = q.shape[1], q.shape[2] ** -0.5
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        unseen = torch.full((_QUERIES, _QUERIES), float("-inf"), dtype=q.dtype).triu_(1)
        for start in reversed(range(0, length, _QUERIES)):  # the last queries see all keys
            stop = min(start + _QUERIES, length)
            queries, above, keys, values = q[:, start:stop], grad[:, start:stop], k[:, :stop], v[:, :stop]
            scores = torch.bmm(queries, keys.mT).mul_(factor)
            scores[:, :, start:] += unseen[: stop - start, : stop - start]
            weights = scores.softmax(-1)
            of_weights = torch.bmm(above, values.mT)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(factor)
            of_q[:, start:stop] = torch.bmm(of_scores, keys)
            for sums, left, right in ((of_k, of_scores, queries), (of_v, weights, above)):
                if stop == length:
                    torch.bmm(left.mT, right, out=sums)
                else:
                    sums[:, :stop] += torch.bmm(left.mT, right)
        return tuple(x.view(grads[0].shape) for x in (of_q, of_k, of_v))  # type: ignore[return-value]


def _pieces(x: Tensor, size: int) -> list[slice]:
    """Parts of the rows of a matrix, of about `size` numbers for each thread."""
    rows = max(1, size * torch.get_num_threads() // x.shape[1])
    return [slice(start, start + rows) for start in range(0, len(x), rows)]
