"""How much of a conversation fine-tuning learns from, given the context length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import DataError
from zen_pipeline.tasks.chat_markup import ChatFormat
from zen_pipeline.tasks.questions import CONVERSATIONS, dialogue

FITTING_SHARE = 0.95  # of the conversations, that a context is chosen for
_MARKERS = 8  # tokens around each message in ChatML, and at the beginning
_MOST_MEASURED = 20_000  # conversations that an estimate looks at


def supervised_tokens(
    records: Iterable[Record], chat: ChatFormat, context_length: int
) -> Iterator[tuple[str, int, int]]:
    """(id, supervised tokens, targets) of each chat, preference and question that has an answer.

    No supervised token means that nothing is learnt: the conversation is longer than the context, so it is left out.
    Records of other kinds, and those whose messages the format cannot write, are left out here.

    Args:
        records: of any kind.
        chat: how conversations become tokens.
        context_length: targets that one sequence has.
    """
    for record in records:
        question = dialogue(record) if record.kind in CONVERSATIONS else None
        if question is None:
            continue
        try:
            ids, supervised = chat.render(question.messages)
        except DataError:  # reading and fine-tuning say what is wrong with it
            continue
        yield record.id, sum(supervised) if len(ids) <= context_length + 1 else 0, len(ids) - 1


def estimated_lengths(records: Iterable[Record], bytes_per_token: float) -> list[int]:
    """About how many tokens each of the first conversations will have, before there is a tokenizer."""
    found = (dialogue(record) for record in records if record.kind in CONVERSATIONS)
    lengths = []
    for question in islice((question for question in found if question is not None), _MOST_MEASURED):
        size = sum(len(message["content"].encode()) for message in question.messages)
        lengths.append(math.ceil(size / bytes_per_token) + _MARKERS * len(question.messages))
    return lengths


def fitting_context(lengths: Sequence[int]) -> int:
    """The smallest power of two that holds `FITTING_SHARE` of the sequences; 0 for none."""
    if not lengths:
        return 0
    wanted = sorted(lengths)[math.ceil(FITTING_SHARE * len(lengths)) - 1]
    return 1 << max(0, wanted - 1).bit_length()


def too_short(lengths: Sequence[int], context_length: int) -> str | None:
    """What to set where sequences are longer than the context; None where all fit."""
    longer = sum(length > context_length for length in lengths)
    if not longer:
        return None
    wanted = max(fitting_context(lengths), 2 * context_length)
    holds = sum(length <= wanted for length in lengths) / len(lengths)
    return (
        f"{longer} of {len(lengths)} conversations ({longer / len(lengths):.1%}) are longer than the context of "
        f"{context_length} tokens and are left out: set pretrain.model.context_length={wanted}, which holds {holds:.1%}"
    )
