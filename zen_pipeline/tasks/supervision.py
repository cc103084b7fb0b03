"""How much of a conversation fine-tuning learns from, given the context length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import DataError
from zen_pipeline.tasks.chat import ChatFormat
from zen_pipeline.tasks.questions import CONVERSATIONS, dialogue


def supervised_tokens(records: Iterable[Record], chat: ChatFormat, context_length: int) -> Iterator[tuple[str, int]]:
    """(id, supervised tokens) of each chat, preference and question that has an answer.

    Zero means that nothing is learnt: the conversation is longer than the context, and fine-tuning leaves it out whole.
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
        yield record.id, sum(supervised) if len(ids) <= context_length + 1 else 0
