"""Conversations in the shapes that people publish them in, as one list of messages (`chat_turns`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from zen_pipeline.corpus.kinds.chat_turns import Message, are_turns, content_of, from_turns, in_turn, parsed, trimmed
from zen_pipeline.corpus.kinds.fields import Fields, NotLearnt, is_false, is_true

_OF_STRINGS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "utterances")
TURNS = (*_OF_STRINGS, "chat", "content", "contents", "data")
_SYSTEMS = (
    "system",
    "system_prompt",
    "system_message",
    "system_instruction",
    "systeminstruction",  # Gemini
    "meta_instruction",  # MOSS
)
# What a question is about and a message cannot hold.
_BESIDE = ("choices", "options", "endings", "documents", "image", "images", "audio", "audios", "video", "videos")
# Between two turns that are written as one text (DailyDialog, Ubuntu, LCCC and others).
SEPARATORS = (
    "__eot__",
    "__eou__",
    "<eou>",
    "<eot>",
    "[EOU]",
    "[EOT]",
    "<|endofturn|>",
    "[SEP]",
    "<sep>",
    "</s>",
)


# --- recognised -------------------------------------------------------------------------------------------------------


def turns_field(fields: Fields) -> str | None:
    """The field that holds the turns of a conversation: by its name and by what is in it."""
    if "data" in fields and set(fields.names()) <= {"id", "data"} and _are_texts(fields.get("data")):  # UltraChat
        return "data"
    return next((name for name in TURNS[:-1] if name in fields and _is_dialogue(fields.get(name), name)), None)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)


def _is_dialogue(value: Any, name: str) -> bool:
    value = parsed(value)
    if isinstance(value, str):
        return name in _OF_STRINGS and len(split_turns(value)) > 1
    if isinstance(value, Mapping):  # MOSS: {"turn_1": {"Human": …, "MOSS": …}}
        return are_turns(list(value.values()))
    return (name in _OF_STRINGS and _are_texts(value)) or are_turns(value)


def split_turns(text: str, separator: str | None = None) -> list[str]:
    """The turns of a dialogue that is written as one text; the text alone where nothing separates any.

    Args:
        text: with a mark between turns.
        separator: the mark; None: the first known one that is there. Where `__eot__` ends turns, `__eou__` ends the
            utterances in them (the Ubuntu dialogue corpus).
    """
    if separator is None:
        separator = next((mark for mark in SEPARATORS if mark in text), "")
    turns = text.split(separator) if separator else [text]
    if separator == "__eot__":
        turns = ["\n".join(map(str.strip, turn.strip().removesuffix("__eou__").split("__eou__"))) for turn in turns]
    return [turn.strip() for turn in turns if turn.strip()]


# --- made into messages -----------------------------------------------------------------------------------------------


def conversation(messages: list[Message] | str, fields: Fields) -> list[Message] | str:
    """A usable conversation of a row, with its system message and history, or why there is none.

    Usable means: no empty message, and an answer to learn that follows a user's message. Consecutive messages of one
    role are joined.

    Args:
        messages: in order, or why they cannot be read.
        fields: of the row: its system message, its history, and marks of what is not to be learnt.
    """
    if isinstance(messages, str):
        return messages
    if (mark := unwanted(fields)) is not None:
        return NotLearnt(f"marked as not to be learnt ({mark})")
    if (extra := fields.first(_BESIDE)) is not None:
        return NotLearnt(f"more than the text of a question ({fields.called(extra)!r}: write it into the question)")
    first, before = system(fields), history(fields)
    if isinstance(first, str) or isinstance(before, str):
        return first if isinstance(first, str) else str(before)
    if first and first[0]["content"].strip() in [m["content"].strip() for m in messages if m["role"] == "system"]:
        first = []
    messages = [m for m in (*first, *before, *messages) if m["role"] != "system" or m["content"].strip()]
    for number, message in enumerate(messages, 1):
        if not message["content"].strip():
            return f"message {number} is empty"
    messages = joined_roles(messages)
    last = last_answer(messages)
    if last is None:
        marked = any(message.get("weight") == 0 for message in messages)
        reason = "no message of an assistant that is to be learnt follows one of a user"
        return NotLearnt(reason) if marked else reason
    if last < len(messages) - 1:
        fields.note("messages after the last answer")
    return messages


def unwanted(fields: Fields) -> str | None:
    """The mark by which a row says that its answer is wrong or not to be learnt (KTO's `label: false`)."""
    for name in ("label", "kto_tag", "desirable", "train", "loss", "weight"):
        if name in fields and is_false(fields.get(name)):
            return f"{name}: {fields.take(name)!r}".lower()
        if name in fields and is_true(fields.get(name)):
            fields.take(name)
    return None


def last_answer(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the last answer that is learnt and follows a user's message; None where there is none."""
    asked = next((place for place, m in enumerate(messages) if m["role"] == "user"), len(messages))
    places = range(len(messages) - 1, asked, -1)
    return next((p for p in places if messages[p]["role"] == "assistant" and messages[p].get("weight") != 0), None)


def system(fields: Fields) -> list[Message] | str:
    """The system message that comes with the turns."""
    name = fields.first(_SYSTEMS)
    if name is None:
        return []
    text = content_of(fields.take(name))
    return f"{name!r} is not text" if text is None else [{"role": "system", "content": trimmed(text)}]


def history(fields: Fields) -> list[Message] | str:
    """The earlier turns that come with a question: pairs, messages, or texts in turn."""
    if "history" not in fields:
        return []
    value = parsed(fields.take("history"))
    if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        value = [text for pair in value for text in pair]
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return in_turn(value) if len(value) % 2 == 0 else "the history does not end with an answer"
    if not are_turns(value):
        return "the history is neither pairs nor messages"
    return from_turns(value, fields)


def from_field(name: str, fields: Fields) -> list[Message] | str:
    """The messages of a row's field."""
    value = parsed(fields.take(name))
    if isinstance(value, str):
        value = split_turns(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return in_turn(value) if _are_texts(value) else from_turns(value, fields)


def joined_roles(messages: Sequence[Message]) -> list[Message]:
    """The messages, consecutive ones of one role as one, unless only one of them is learnt."""
    joined = []
    for _, same in groupby(messages, key=lambda m: (m["role"], m.get("weight"))):
        first, *others = same
        joined.append(first | {"content": "\n".join([first["content"], *(m["content"] for m in others)])})
    return joined


def transcript(text: str, *, line_ends: str = "\n\n") -> list[Message]:
    """The messages of a text with `Human:` and `Assistant:`; none when it does not begin with one of them.

    hh-rlhf writes whole dialogues so, with two line ends before each turn (https://arxiv.org/abs/2204.05862), Belle
    with one.
    """
    begun = text.lstrip()
    if not begun.startswith(("Human:", "Assistant:")):
        return []
    parts = re.split(rf"(?:^|{line_ends})(Human|Assistant): ?", begun)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": trimmed(said)} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def exchange(question: str, answer: str) -> list[Message]:
    """A question and its answer."""
    return [{"role": "user", "content": trimmed(question)}, {"role": "assistant", "content": trimmed(answer)}]


def as_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The conversation as a person would read it."""
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
