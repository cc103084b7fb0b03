"""Keys and values of what has been read, in memory that is laid out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.models.marian import Marian


class KVCache:
    """Keys and values of every layer, each (layers, B, K, T_max, D), of which the first `length` positions are used.

    Args:
        model: gives the shape, dtype and device.
        batch: sequences B.
        capacity: positions T_max; more than the model's `max_position_embeddings` can never be filled.
    """

    def __init__(self, model: CausalModel | Marian, batch: int, capacity: int) -> None:
        weight = model.token_embeddings.weight
        layers, kv_heads, head_dim = model.cache_shape
        shape = (layers, batch, kv_heads, capacity, head_dim)
        self.keys = torch.empty(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.empty_like(self.keys)
        self.capacity = capacity
        self.length = 0

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, K, T, D) keys and values of one layer; returns views of all so far, (B, K, length + T, D).

        Raises:
            ValueError: there is no room for them.
        """
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} positions, but the cache was made for {self.capacity}")
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, positions: int) -> None:
        """Count the appended positions, once every layer has seen them."""
        self.length += positions
