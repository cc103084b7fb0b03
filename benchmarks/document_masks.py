"""What it costs to keep attention inside documents: gradients of the same windows with and without the mask.

    python benchmarks/document_masks.py

Random tokens in documents of geometric length, mean 100. Both ways take turns in one process, and the fastest of
the rounds counts, since others who use the machine only disturb.
"""

from __future__ import annotations

import time

import torch
from torch.nn.functional import cross_entropy

from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

ROUNDS, TOKENS, MEAN_DOCUMENT = 8, 2048, 100
SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 512,
}


def seconds(model: Qwen3, ids: torch.Tensor, documents: torch.Tensor | None, precision: str) -> float:
    """One forward and backward pass."""
    model.zero_grad()
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.hidden_states(ids[:, :-1], documents=documents).flatten(0, 1)
        cross_entropy(model.logits(hidden).float(), ids[:, 1:].flatten()).backward()
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| context | precision | tokens/s without | tokens/s with the mask | cost |\n|---|---|---|---|---|")
    for context in (256, 512, 1024, 2048):
        model = Qwen3(Qwen3Config(**SHAPE, max_position_embeddings=context), seed=0)
        draw = torch.Generator().manual_seed(0)
        shape = (TOKENS // context, context + 1)
        ids = torch.randint(0, SHAPE["vocab_size"], shape, generator=draw)
        documents = (torch.rand(shape, generator=draw) < 1 / MEAN_DOCUMENT).cumsum(dim=1)[:, :-1]
        for precision in ("fp32", "bf16"):
            rounds = [[seconds(model, ids, kind, precision) for kind in (None, documents)] for _ in range(ROUNDS)]
            plain, masked = map(min, zip(*rounds, strict=True))
            cost = f"{100 * (masked / plain - 1):.0f} %"
            print(f"| {context} | {precision} | {TOKENS / plain:,.0f} | {TOKENS / masked:,.0f} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
