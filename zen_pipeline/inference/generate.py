"""Text generation, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from zen_pipeline.inference.cache import KVCache

if TYPE_CHECKING:
    from torch import Tensor

    from zen_pipeline.models.base import CausalModel


_LONGEST_PIECE, _TIMES, _LEAST_REPEATED = 32, 4, 40
_COLDEST = 1e-4  # below it the division overflows, and the likeliest token is certain anyway


def generate(
    model: CausalModel,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Continue a prompt; yields each token as soon as it is chosen.

    It ends after `max_new_tokens`, before a token of `stop_ids` (which is not yielded), when prompt and answer fill the
    model's `max_position_embeddings`, or, where the likeliest token is always taken, when the text goes round in a
    circle (`repeats`): it would not leave it. The same arguments give the same tokens.

    Args:
        model: in evaluation mode.
        prompt_ids: at least one token; this project's models expect `<|endoftext|>` first.
        max_new_tokens: at most so many tokens.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: choose among the k likeliest tokens; 0 leaves all.
        top_p: choose among the fewest likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020); 1
            leaves all.
        seed: of the choice; the global generator is not used.
        stop_ids: tokens that end the text.

    Raises:
        ValueError: at the first token: an empty prompt, one that is longer than the model's context, or a parameter
            out of range.
    """
    limit = model.config.max_position_embeddings
    _check(len(prompt_ids), limit, temperature, top_k, top_p)
    device = model.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    steps = min(max_new_tokens, limit - len(prompt_ids))
    cache = KVCache(model, 1, len(prompt_ids) + steps)
    ids = torch.tensor([list(prompt_ids)], dtype=torch.int64, device=device)  # (1, T)
    said: list[int] = []
    for _ in range(steps):
        # inference mode only around the work: across a yield it would leak into the caller
        with torch.inference_mode():
            hidden = model.hidden_states(ids, cache=cache)
            logits = model.logits(hidden[:, -1]).squeeze(0)  # (V,)
            token = sample(logits, generator, temperature=temperature, top_k=top_k, top_p=top_p)
        if token in stop_ids:
            return
        yield token
        said.append(token)
        if temperature < _COLDEST and repeats(said):
            return
        ids = torch.tensor([[token]], dtype=torch.int64, device=device)


def repeats(ids: Sequence[int]) -> bool:
    """True if the end of a text is one piece of at most `_LONGEST_PIECE` tokens, again and again.

    It must be there `_TIMES` times and fill `_LEAST_REPEATED` tokens: rows of a table or dashes may be meant.
    """
    for piece in range(1, _LONGEST_PIECE + 1):
        length = max(_LEAST_REPEATED, _TIMES * piece)
        if len(ids) < length:
            return False
        end = ids[-length:]
        if end[piece:] == end[:-piece]:
            return True
    return False


def sample(
    logits: Tensor, generator: torch.Generator, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> int:
    """Choose one token from logits (V,); the other arguments are those of `generate`."""
    if temperature < _COLDEST:
        return int(logits.argmax())
    logits = logits.float().cpu() / temperature
    if 0 < top_k < logits.numel():
        logits, tokens = torch.topk(logits, top_k)
    else:
        logits, tokens = torch.sort(logits, descending=True, stable=True)
    probabilities = torch.softmax(logits, dim=-1)  # falling
    if top_p < 1.0:
        before = probabilities.cumsum(-1) - probabilities
        before[0] = -1.0  # the likeliest token always stays
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])


def _check(prompt: int, limit: int, temperature: float, top_k: int, top_p: float) -> None:
    if prompt == 0:
        raise ValueError("the prompt is empty: begin it with <|endoftext|>")
    if prompt > limit:
        raise ValueError(f"the prompt has {prompt} tokens, but the model reads at most {limit}: shorten it")
    if not 0.0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: use 0 or more")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}: use 0 or more")
    if not 0.0 <= top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}: use 0 to 1")
