"""Greedy translation with an encoder-decoder, several sources at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from zen_pipeline.inference.cache import KVCache

if TYPE_CHECKING:
    from zen_pipeline.models.marian import Marian


@torch.inference_mode()
def translate(model: Marian, sources: Sequence[Sequence[int]], *, max_new_tokens: int) -> list[list[int]]:
    """The likeliest next token, again and again, until each translation has ended.

    Args:
        model: in evaluation mode.
        sources: token ids of each source, without padding.
        max_new_tokens: at most so many tokens each, and never more than the model has positions for.

    Returns:
        Token ids of each translation, without the token that starts or ends it. Padding is never chosen.

    Raises:
        ValueError: a source is empty, or longer than the model's `max_position_embeddings`.
    """
    config = model.config
    longest = max(map(len, sources))
    if not min(map(len, sources)) or longest > config.max_position_embeddings:
        raise ValueError(
            f"sources have {longest} tokens or none, but at most {config.max_position_embeddings} are read"
        )
    input_ids = torch.full((len(sources), longest), config.pad_token_id)
    mask = torch.zeros(len(sources), longest, dtype=torch.bool)
    for row, source in enumerate(sources):
        input_ids[row, : len(source)] = torch.tensor(source)
        mask[row, : len(source)] = True
    input_ids, mask = input_ids.to(model.device), mask.to(model.device)

    steps = min(max_new_tokens, config.max_position_embeddings)
    memories = model.memories(model.encode(input_ids, mask))
    cache = KVCache(model, len(sources), steps)
    tokens = torch.full((len(sources), 1), config.decoder_start_token_id, device=model.device)
    chosen: list[list[int]] = [[] for _ in sources]
    running = set(range(len(sources)))
    for _ in range(steps):
        logits = model.logits(model.decode(tokens, memories, mask, cache=cache)[:, -1])  # (B, V)
        logits[:, config.pad_token_id] = -torch.inf
        tokens = logits.argmax(-1, keepdim=True)  # (B, 1)
        for row, token in enumerate(tokens[:, 0].tolist()):
            if token == config.eos_token_id:
                running.discard(row)
            elif row in running:
                chosen[row].append(token)
        if not running:
            break
    return chosen
