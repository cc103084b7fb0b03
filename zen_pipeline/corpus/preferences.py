"""Preference pairs: one prompt with a better and a worse answer, in the shapes that people publish them in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from zen_pipeline.corpus.chat_formats import Message, from_turns

# hh-rlhf writes whole dialogues as one text (Bai et al. 2022, https://arxiv.org/abs/2204.05862).
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class Preference(NamedTuple):
    """A prompt that ends with the user's message, and the two answers to it."""

    prompt: list[Message]
    chosen: str
    rejected: str


def preference(row: Mapping[str, Any]) -> Preference | str:
    """The preference of a row, or why it has none.

    `chosen` and `rejected` are answers to `prompt` (a text or messages), or whole dialogues that differ in their last
    answer: lists of messages, or texts with `Human:` and `Assistant:`.
    """
    sides = [side for name in ("chosen", "rejected") if (side := _dialogue(row[name])) is not None]
    before = _prompt(row.get("prompt"))
    if len(sides) < 2 or before is None:
        return "chosen, rejected or prompt is neither text nor messages"
    chosen, rejected = (side if side[: len(before)] == before else [*before, *side] for side in sides)
    if not chosen or not rejected or chosen[:-1] != rejected[:-1]:
        return "the two dialogues differ before their last answer"
    prompt = chosen[:-1]
    if (
        not prompt
        or prompt[-1]["role"] != "user"
        or any(side[-1]["role"] != "assistant" for side in (chosen, rejected))
    ):
        return "no answers to a user's message"
    if not all(m["content"].strip() for m in (*chosen, rejected[-1])):
        return "an empty message"
    if chosen == rejected:
        return "both answers are the same"
    return Preference(prompt, chosen[-1]["content"], rejected[-1]["content"])


def _prompt(value: Any) -> list[Message] | None:
    if value is None:
        return []
    if isinstance(value, str):
        messages = _transcript(value) or [{"role": "user", "content": value}]
        return messages[:-1] if not messages[-1]["content"] else messages  # it ended with `Assistant:`
    return _messages(value)


def _dialogue(value: Any) -> list[Message] | None:
    if isinstance(value, str):
        return _transcript(value) or [{"role": "assistant", "content": value}]
    return _messages([value] if isinstance(value, Mapping) else value)


def _messages(value: Any) -> list[Message] | None:
    found = from_turns(value)
    return None if isinstance(found, str) else found


def _transcript(text: str) -> list[Message]:
    """The messages of a text with `Human:` and `Assistant:`; none when it does not begin with one of them."""
    begun = text.lstrip()
    if _TURN.match(begun) is None:
        return []
    parts = _TURN.split(begun)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[name], "content": said.strip()} for name, said in zip(parts[::2], parts[1::2], strict=True)]
