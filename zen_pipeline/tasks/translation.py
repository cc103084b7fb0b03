"""Translation pairs: from records to token ids and to the file that the training process reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zen_pipeline.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from zen_pipeline.corpus.records import Record
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer


class Pair(NamedTuple):
    """A text, what it means in the other language, and which language that is."""

    source: str
    target: str
    target_language: str


def pairs_of(records: Iterable[Record]) -> Iterator[Pair]:
    """The pairs of records of kind `translation`, in order.

    Raises:
        DataError: a record lacks its source or target.
    """
    for record in records:
        meta = json.loads(record.meta)
        source, target = meta.get("source"), meta.get("target")
        if not isinstance(source, str) or not isinstance(target, str):
            raise DataError(f"record {record.id} of {record.source} is a translation without `source` and `target`")
        yield Pair(source, target, str(meta.get("target_language") or "und"))


def estimated_lengths(pairs: Iterable[Pair], bytes_per_token: float, most: int = 512) -> tuple[tuple[int, int], ...]:
    """About how many tokens source and target of some of the pairs will have, before there is a tokenizer."""
    sizes = [(len(pair.source.encode()), len(pair.target.encode())) for pair in pairs]
    chosen = sizes[:: max(1, len(sizes) // most)][:most]
    return tuple(
        (1 + round(source / bytes_per_token), 1 + round(target / bytes_per_token)) for source, target in chosen
    )


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: Tokenizer, *, name_language: bool
) -> list[tuple[list[int], list[int]]]:
    """Token ids of source and target; each ends with `<|endoftext|>`, which tells where it does.

    Args:
        pairs: what is encoded.
        tokenizer: of both languages.
        name_language: begin each source with the language that it is translated into, as `>>fr<<`, the way of the
            OPUS-MT models; needed where one model writes several.
    """
    sources = [f">>{p.target_language}<< {p.source}" if name_language else p.source for p in pairs]
    targets = [p.target for p in pairs]
    end = tokenizer.start_id
    both = zip(tokenizer.encode_batch(sources), tokenizer.encode_batch(targets), strict=True)
    return [([*source, end], [*target, end]) for source, target in both]


def save_pairs(path: Path, pairs: Iterable[tuple[Sequence[int], Sequence[int]]], *, longest: int) -> dict[str, int]:
    """Write encoded pairs: `source`, `target` (all ids, one after the other) and their `*_offsets` (pairs + 1,).

    Args:
        path: safetensors file to write.
        pairs: token ids of source and target.
        longest: a pair with more tokens on one side is left out: half a sentence teaches nothing.

    Returns:
        Counts: `kept`, `too_long`, `source_tokens`, `target_tokens`.

    Raises:
        DataError: nothing is left.
    """
    import torch
    from safetensors.torch import save_file

    sides: dict[str, list[int]] = {"source": [], "target": []}
    offsets: dict[str, list[int]] = {"source": [0], "target": [0]}
    too_long = 0
    for pair in pairs:
        if max(map(len, pair)) > longest:
            too_long += 1
            continue
        for side, ids in zip(sides, pair, strict=True):
            sides[side] += ids
            offsets[side].append(len(sides[side]))
    kept = len(offsets["source"]) - 1
    if not kept:
        raise DataError(f"no pair for {path.name} fits into {longest} tokens on both sides ({too_long} are longer)")
    tensors = {side: torch.tensor(ids, dtype=torch.int32) for side, ids in sides.items()}
    tensors |= {f"{side}_offsets": torch.tensor(ends) for side, ends in offsets.items()}
    save_file(tensors, path)
    return {"kept": kept, "too_long": too_long, **{f"{side}_tokens": len(ids) for side, ids in sides.items()}}


def load_pairs(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Source and target ids of each pair, int32.

    Raises:
        DataError: another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        cut = {side: tensors[f"{side}_offsets"][1:-1] for side in ("source", "target")}
        parts = {side: tensors[side].tensor_split(ends) for side, ends in cut.items()}
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"{path} is not a file of translation pairs: {error}") from None
    return list(zip(parts["source"], parts["target"], strict=True))
