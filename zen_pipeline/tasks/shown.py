"""Token ids as texts for people: samples during training and in evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zen_pipeline.evaluation.results import Sample

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.training.data import Batch

MOST_SAMPLES = 3  # at each validation
NEW_TOKENS = 32  # of each of them


def sample(
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    text: Sequence[int],
    reference: Sequence[int],
    marks: Mapping[int, str] | None = None,
) -> Sample:
    """One sample, decoded; `marks` says what some of the special tokens look like."""
    shown = [decoded(tokenizer, ids, marks or {}) for ids in (prompt, text, reference)]
    return Sample(shown[0], shown[1], shown[2])


def decoded(tokenizer: Tokenizer, ids: Sequence[int], marks: Mapping[int, str]) -> str:
    """Text of token ids, with some of the special tokens, which decoding leaves out."""
    text, run = "", list[int]()
    for token in ids:
        if token in marks:
            text, run = text + tokenizer.decode(run) + marks[token], []
        else:
            run.append(token)
    return text + tokenizer.decode(run)


def learnt(batch: Batch, row: int) -> list[int]:
    """The targets of one sequence."""
    from zen_pipeline.training.data import IGNORED

    targets = batch.targets[row]
    ids: list[int] = targets[targets != IGNORED].tolist()
    return ids
