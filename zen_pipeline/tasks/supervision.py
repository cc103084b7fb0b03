"""How much of a conversation is left to learn from when it is cut to the context length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import DataError
from zen_pipeline.tasks.chat import ChatFormat, Message, question_and_answer


def supervised_tokens(records: Iterable[Record], chat: ChatFormat, context_length: int) -> Iterator[tuple[str, int]]:
    """(id, supervised tokens within the first `context_length` targets) of each chat and each question with an answer.

    Zero means that the answer lies beyond the context, so that nothing is learnt. Records of other kinds, and those
    whose messages the format cannot write, are left out.

    Args:
        records: of any kind.
        chat: how conversations become tokens.
        context_length: targets that one sequence has.
    """
    for record in records:
        messages = _messages(record.kind, json.loads(record.meta)) if record.kind in ("chat", "qa") else None
        if not messages:
            continue
        try:
            _, supervised = chat.render(messages)
        except DataError:  # reading and fine-tuning say what is wrong with it
            continue
        yield record.id, sum(supervised[1 : context_length + 1])


def _messages(kind: str, meta: Mapping[str, Any]) -> list[Message] | None:
    """The conversation; of a question the context, the question and its first answer, None when it has none."""
    if kind == "chat":
        return list(meta.get("messages") or [])
    if meta.get("impossible") or not meta.get("answers"):
        return None
    asked = "\n\n".join(part for part in (meta.get("context"), meta.get("question")) if part)
    return list(question_and_answer(asked, str(meta["answers"][0])))
