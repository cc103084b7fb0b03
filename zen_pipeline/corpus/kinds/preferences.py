"""Preference pairs: one prompt with a better and a worse answer, in the shapes that people publish them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zen_pipeline.corpus.kinds.chat_formats import history, joined_roles, system, transcript, turns_field
from zen_pipeline.corpus.kinds.chat_turns import Message, from_turns
from zen_pipeline.corpus.kinds.fields import Fields

_PAIRS = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),  # OpenAI
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
)
FIELDS = frozenset(better for better, _ in _PAIRS)
_PROMPTS = ("prompt", "instruction", "question", "query", "input")


class Preference(NamedTuple):
    """A prompt that ends with the user's message, and the two answers to it."""

    prompt: list[Message]
    chosen: str
    rejected: str


def claim(fields: Fields) -> Sequence[str] | None:
    """The fields of the better and the worse answer."""
    return next((pair for pair in _PAIRS if pair[0] in fields and pair[1] in fields), None)


def read(fields: Fields, names: Sequence[str]) -> Preference | str:
    """The preference of a row, or why it has none.

    Both sides are answers to a prompt (a text or messages), or whole dialogues that differ in their last answer: lists
    of messages, or texts with `Human:` and `Assistant:`.
    """
    sides = [side for name in names if (side := _dialogue(fields.take(name), fields)) is not None]
    before = _before(fields)
    if isinstance(before, str):
        return before
    if len(sides) < 2:
        return f"{' or '.join(names)} is neither text nor messages"
    if not all(m["content"].strip() for m in (*before, *sides[0], *sides[1])):
        return "an empty message"
    chosen, rejected = (_whole(before, side) for side in sides)
    if not chosen or not rejected or chosen[:-1] != rejected[:-1]:
        return "the two dialogues differ before their last answer"
    prompt = chosen[:-1]
    if (
        not prompt
        or prompt[-1]["role"] != "user"
        or any(side[-1]["role"] != "assistant" for side in (chosen, rejected))
    ):
        return "no answers to a user's message"
    if chosen == rejected:
        return "both answers are the same"
    if fields.get("messages") == fields.get(names[0]):  # UltraFeedback gives the better dialogue twice
        fields.take("messages")
    return Preference(prompt, chosen[-1]["content"], rejected[-1]["content"])


def _before(fields: Fields) -> list[Message] | str:
    """What was said before the two answers: the prompt, with its system message and history."""
    first, earlier = system(fields), history(fields)
    if isinstance(first, str) or isinstance(earlier, str):
        return first if isinstance(first, str) else str(earlier)
    name = turns_field(fields) if fields.first(_PROMPTS) is None else None
    asked = from_turns(fields.take(name), fields) if name is not None else _prompt(fields)
    return asked if isinstance(asked, str) else [*first, *earlier, *asked]


def _prompt(fields: Fields) -> list[Message] | str:
    name = fields.first(_PROMPTS)
    if name is None:
        return []
    value = fields.take(name)
    if isinstance(value, Mapping) and "messages" in value:  # OpenAI
        value = value["messages"]
    if name == "instruction" and (more := fields.text("input")):
        value = f"{value}\n\n{fields.take('input')}" if more.strip() else value
    if isinstance(value, str):
        messages = transcript(value) or [{"role": "user", "content": value}]
        return messages[:-1] if not messages[-1]["content"] else messages  # it ended with `Assistant:`
    found = from_turns(value, fields)
    return f"{name} is neither text nor messages" if isinstance(found, str) else found


def _whole(before: Sequence[Message], side: Sequence[Message]) -> list[Message]:
    """The dialogue of one side: it may repeat what was said before, with or without the system message."""
    first = [m for m in side if m["role"] == "system"] or [m for m in before if m["role"] == "system"]
    asked = [m for m in before if m["role"] != "system"]
    said = [m for m in side if m["role"] != "system"]
    return joined_roles([*first, *(said if said[: len(asked)] == asked else [*asked, *said])])


def _dialogue(value: Any, fields: Fields) -> list[Message] | None:
    if isinstance(value, str):
        return transcript(value) or [{"role": "assistant", "content": value}]
    found = from_turns([value] if isinstance(value, Mapping) else value, fields)
    return None if isinstance(found, str) else found
