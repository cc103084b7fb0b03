"""Conversations in the shapes that people publish them in, as one list of `{"role", "content"}` messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Message = dict[str, str]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TEXT_PARTS = ("text", "input_text", "output_text")  # of a message in parts; others are pictures, files, calls
_QUESTIONS = ("prompt", "instruction", "question")
_ANSWERS = ("response", "completion", "output", "answer", "std_answer")
FIELDS = (
    "messages; conversations; content with messages; instruction, output; instruction, instances; prompt, response; "
    "question, answer"
)


def is_chat(row: Mapping[str, Any]) -> bool:
    """Whether a row with these fields is a conversation in one of the known shapes."""
    if "messages" in row or "conversations" in row or isinstance(row.get("content"), list):
        return True
    return _first(row, _QUESTIONS) is not None and ("instances" in row or _first(row, _ANSWERS) is not None)


def to_conversations(row: Mapping[str, Any]) -> list[list[Message] | str]:
    """The conversations of a row, with the reason in place of one that is not usable.

    Known shapes: OpenAI (`messages` with role and content, a text or parts that are texts), ShareGPT (`conversations`
    with from and value), speakers that take turns (`messages` or `content` with message and perhaps agent: KdConv,
    Topical-Chat), Alpaca (`instruction`, optional `input`, `output`), self-instruct (`instruction` with `instances` of
    input and output), and pairs such as prompt/response and question/answer.
    Usable means: only known roles, no empty message, and an assistant's message that follows a user's.
    """
    return [_usable(messages) for messages in _all_turns(row)]


def _usable(messages: list[Message] | str) -> list[Message] | str:
    if isinstance(messages, str):
        return messages
    for number, message in enumerate(messages, 1):
        if not message["content"].strip():
            return f"message {number} is empty"
    roles = [m["role"] for m in messages]
    answered = any(pair == ("user", "assistant") for pair in pairwise(roles))
    return messages if answered else "no message of an assistant follows one of a user"


def _all_turns(row: Mapping[str, Any]) -> list[list[Message] | str]:
    for field in ("messages", "conversations", "content"):
        if field in row:
            return [from_turns(row[field])]
    question = row.get(_first(row, _QUESTIONS) or "")
    instances = row.get("instances")
    if isinstance(instances, list):
        each = [i if isinstance(i, Mapping) else {} for i in instances]
        return [_pair(_joined(question, i.get("input")), i.get("output")) for i in each] or [_NO_PAIR]
    return [_pair(_joined(question, row.get("input")), row.get(_first(row, _ANSWERS) or ""))]


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def is_turn(value: Any) -> bool:
    """Whether this is one message of a conversation rather than a row of a table."""
    if not isinstance(value, Mapping):
        return False
    return {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()


def from_turns(turns: Any) -> list[Message] | str:
    """The messages of a list of turns, or why one of them is no message of a known role."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        return "no list of messages"
    if turns and all("message" in turn for turn in turns):
        return _from_speakers(turns)
    messages = []
    for number, turn in enumerate(turns, 1):
        role, text = turn.get("role", turn.get("from")), _content(turn.get("content", turn.get("value")))
        if not isinstance(role, str) or role.lower() not in _ROLES:
            return f"message {number} has the role {str(role)[:40]!r}; known are {', '.join(_ROLES)}"
        if text is None:
            return f"message {number} is not text alone"
        messages.append({"role": _ROLES[role.lower()], "content": text})
    return messages


def _content(value: Any) -> str | None:
    """The text of a message: itself, or that of its parts (OpenAI's `[{"type": "text", "text": …}]`)."""
    if not isinstance(value, list):
        return value if isinstance(value, str) else None
    parts = [part for part in value if isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts) if texts and len(texts) == len(value) else None


def _from_speakers(turns: Sequence[Mapping[str, Any]]) -> list[Message] | str:
    """Two people who talk: the one who begins is the user. Turns without a speaker alternate."""
    messages: list[Message] = []
    first = turns[0].get("agent")
    for number, turn in enumerate(turns):
        agent, text = turn.get("agent"), turn["message"]
        if not isinstance(text, str):
            return f"message {number + 1} is not text alone"
        begins = agent == first if agent is not None else number % 2 == 0
        role = "user" if begins else "assistant"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{text}"
        else:
            messages.append({"role": role, "content": text})
    return messages


def _joined(instruction: Any, extra: Any) -> Any:
    if isinstance(instruction, str) and isinstance(extra, str) and extra.strip():
        return f"{instruction}\n\n{extra}"
    return instruction


_NO_PAIR = "the question or its answer is not text"


def _pair(question: Any, answer: Any) -> list[Message] | str:
    if not isinstance(question, str) or not isinstance(answer, str):
        return _NO_PAIR
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def as_text(messages: Sequence[Message]) -> str:
    """The conversation as a person would read it."""
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
