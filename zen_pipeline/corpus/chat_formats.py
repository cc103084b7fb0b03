"""Conversations in the shapes that people publish them in, as one list of `{"role", "content"}` messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Message = dict[str, str]

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"))
FIELDS = "messages; conversations; instruction, output; prompt, response; question, answer"


def is_chat(fields: Sequence[str]) -> bool:
    """Whether a row with these fields is a conversation in one of the known shapes."""
    names = set(fields)
    alpaca = {"instruction", "output"} <= names
    return alpaca or bool(names & {"messages", "conversations"}) or any(set(pair) <= names for pair in _PAIRS)


def to_messages(row: Mapping[str, Any]) -> list[Message] | None:
    """The messages of a row, or None when it does not hold a usable conversation.

    Known shapes: OpenAI (`messages` with role and content), ShareGPT (`conversations` with from and value), Alpaca
    (`instruction`, optional `input`, `output`), and the pairs prompt/response, prompt/completion, question/answer.
    Usable means: only known roles, no empty message, and an assistant's message that follows a user's.
    """
    messages = _turns(row)
    if messages is None or not all(m["content"].strip() for m in messages):
        return None
    roles = [m["role"] for m in messages]
    answered = any(pair == ("user", "assistant") for pair in pairwise(roles))
    return messages if answered else None


def _turns(row: Mapping[str, Any]) -> list[Message] | None:
    for field, role_key, text_key in (("messages", "role", "content"), ("conversations", "from", "value")):
        if field in row:
            return _from_list(row[field], role_key, text_key)
    if "instruction" in row and "output" in row:
        question = _joined(row["instruction"], row.get("input"))
        return _pair(question, row["output"])
    for prompt, response in _PAIRS:
        if prompt in row and response in row:
            return _pair(row[prompt], row[response])
    return None


def _from_list(turns: Any, role_key: str, text_key: str) -> list[Message] | None:
    if not isinstance(turns, list):
        return None
    messages = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            return None
        role, text = turn.get(role_key, turn.get("role")), turn.get(text_key, turn.get("content"))
        if not isinstance(role, str) or role.lower() not in _ROLES or not isinstance(text, str):
            return None
        messages.append({"role": _ROLES[role.lower()], "content": text})
    return messages


def _joined(instruction: Any, extra: Any) -> Any:
    if isinstance(instruction, str) and isinstance(extra, str) and extra.strip():
        return f"{instruction}\n\n{extra}"
    return instruction


def _pair(question: Any, answer: Any) -> list[Message] | None:
    if not isinstance(question, str) or not isinstance(answer, str):
        return None
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def as_text(messages: Sequence[Message]) -> str:
    """The conversation as a person would read it."""
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
