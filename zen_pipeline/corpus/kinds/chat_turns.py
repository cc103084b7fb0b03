"""Turns in the shapes that people publish them in, as messages.

A message is `{"role": "system" | "user" | "assistant", "content": text}`, with `"weight": 0` for an answer that is
context and never learnt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.corpus.json_stream import decode
from zen_pipeline.corpus.kinds.fields import Fields, NotLearnt, has_value, is_false, is_true

Message = dict[str, Any]
_ROLES = {
    "system": "system",
    "developer": "system",
    "系统": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "question": "user",
    "用户": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "answer": "assistant",
    "助手": "assistant",
    "机器人": "assistant",
    "客服": "assistant",
}
_TOOLS = {
    "tool",
    "function",
    "function_call",
    "tool_call",
    "observation",
    "tool_response",
    "ipython",
    "function_response",
}
_CALLS = ("tool_calls", "function_call")  # in a message of the assistant
_SPEAKERS = ("speaker", "agent", "author", "sender", "from", "user")  # who need not be called by a role
_ROLE_NAMES = ("role", *_SPEAKERS)
_TEXT_NAMES = ("content", "value", "text", "message", "utterance", "parts")
_TEXT_PARTS = ("text", "input_text", "output_text")  # of a message in parts; others are pictures, files, calls
_LEARNT = ("weight", "train", "loss", "training", "train_on_turn", "trainable", "learn")
_MASKED = ("mask", "masked")
# A question and its answer as one turn: Firefly, COIG, MOSS.
_BOTH = (
    ("human", "assistant"),
    ("human", "moss"),
    ("user", "assistant"),
    ("question", "answer"),
    ("instruction", "output"),
    ("input", "output"),
    ("prompt", "response"),
    ("query", "response"),
    ("q", "a"),
)
_MOSS_MARK = re.compile(r"^\s*<\|[\w ]+\|>:?\s*|\s*<eo\w>\s*$")
_LINE_END = re.compile(r"[\r\n]")
_MOSS_TOOLS = ("commands", "tool responses")


def is_turn(value: Any) -> bool:
    """True if this is one message of a conversation rather than a row of a table."""
    if not isinstance(value, Mapping):
        return False
    return {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()


def are_turns(value: Any) -> bool:
    """True if this is a list of messages, of whatever shape."""
    return isinstance(value, list) and bool(value) and all(_is_turn_of_any_shape(turn) for turn in value)


def _is_turn_of_any_shape(turn: Any) -> bool:
    if not isinstance(turn, Mapping):
        return False
    names = {str(name).lower() for name in turn}
    said = any(name in names for name in _TEXT_NAMES) or bool(names & set(_CALLS))
    return said or any(both <= names for both in map(set, _BOTH))


def parsed(value: Any) -> Any:
    """The value of JSON that a table's cell holds as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return decode(value)
        except ValueError:
            return value
    return value


def from_turns(turns: Any, fields: Fields | None = None) -> list[Message] | str:
    """The messages of a list of turns, or why one of them is no message of a known role.

    Args:
        turns: objects with a role and a text (OpenAI, ShareGPT), with a speaker and what is said, or with a question
            and its answer.
        fields: of the row, where what the messages hold besides is noted.
    """
    turns = parsed(turns)
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        return "no list of messages"
    turns = [{str(name).lower(): value for name, value in turn.items()} for turn in turns]
    roles = _roles(turns)
    if isinstance(roles, str):
        return roles
    messages: list[Message] = []
    for number, (turn, role) in enumerate(zip(turns, roles, strict=True), 1):
        found = _both(turn, number) if role == "both" else _message(turn, role, number)
        if isinstance(found, str):
            return found
        messages += found
        if fields is not None:
            _note_rest(turn, fields)
    return messages


def _roles(turns: Sequence[Mapping[str, Any]]) -> list[str] | str:
    """The role of each turn, `both` for a question with its answer.

    Two speakers that are not called by a role are user and assistant, the first to speak is the user; so are turns
    without any speaker.
    """
    spoken = [_speaker(turn) for turn in turns]
    if not any(name for name, _ in spoken):
        return ["both" if _pair_names(turn) else "user" if n % 2 == 0 else "assistant" for n, turn in enumerate(turns)]
    names = list(dict.fromkeys(who for _, who in spoken))
    free = all(name in _SPEAKERS for name, _ in spoken) and not {who.lower() for who in names} & {*_ROLES, *_TOOLS}
    if free and len(names) <= 2:
        return ["user" if who == names[0] else "assistant" for _, who in spoken]
    if spoken[0][0] == "speaker" and {who.lower() for who in names} == {"user", "system"}:  # MultiWOZ
        return ["user" if who.lower() == "user" else "assistant" for _, who in spoken]
    if free:
        return f"{len(names)} speakers ({', '.join(names)[:80]}): a conversation here has two"
    roles = []
    for number, (_, who) in enumerate(spoken, 1):
        if who.lower() in _TOOLS:
            return NotLearnt(f"a conversation with tools (message {number} has the role {who!r})")
        if who.lower() not in _ROLES:
            return (
                f"message {number} has the role {who[:40]!r}; known are {', '.join(r for r in _ROLES if r.isascii())}"
            )
        roles.append(_ROLES[who.lower()])
    return roles


def _speaker(turn: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the field that says who speaks, and who it is; empty for a turn without."""
    if _pair_names(turn):
        return "", ""
    name = next((n for n in _ROLE_NAMES if turn.get(n) is not None), "")
    who = turn.get(name, "")
    if isinstance(who, Mapping):
        who = who.get("role", who.get("name", ""))
    return name, str(who)


def _pair_names(turn: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((both for both in _BOTH if both[0] in turn and both[1] in turn), None)


def _both(turn: Mapping[str, Any], number: int) -> list[Message] | str:
    """The messages of a question with its answer."""
    question, answer = _pair_names(turn) or ("", "")
    texts = [turn[question], turn[answer]]
    if not all(isinstance(text, str) for text in texts):
        return f"turn {number} is not text alone"
    if any(_MOSS_MARK.sub("", str(turn[name])) != "None" for name in _MOSS_TOOLS if has_value(turn.get(name))):
        return NotLearnt(f"a conversation with tools (turn {number} calls one)")
    asked, said = (_MOSS_MARK.sub("", text) for text in texts)
    return [{"role": "user", "content": trimmed(asked)}, _weighted(turn, "assistant", said)]


def _message(turn: Mapping[str, Any], role: str, number: int) -> list[Message] | str:
    if any(has_value(turn.get(name)) for name in _CALLS):
        return NotLearnt(f"a conversation with tools (message {number} calls one)")
    text = content_of(next((turn[name] for name in _TEXT_NAMES if turn.get(name) is not None), None))
    return f"message {number} is not text alone" if text is None else [_weighted(turn, role, text)]


def _weighted(turn: Mapping[str, Any], role: str, text: str) -> Message:
    message: Message = {"role": role, "content": trimmed(text)}
    masked = any(is_false(turn.get(n)) for n in _LEARNT) or any(is_true(turn.get(n)) for n in _MASKED)
    return message | {"weight": 0} if role == "assistant" and masked else message


def trimmed(text: str) -> str:
    """Without blank lines before and after it; what its first line is indented by stays."""
    said = text.strip()
    before, _, after = text.partition(said) if said else (text, "", "")
    return before[max(before.rfind("\n"), before.rfind("\r")) + 1 :] + said + _LINE_END.split(after, maxsplit=1)[0]


def _note_rest(turn: Mapping[str, Any], fields: Fields) -> None:
    known = {*_ROLE_NAMES, *_TEXT_NAMES, *_LEARNT, *_MASKED, *_MOSS_TOOLS, *(_pair_names(turn) or ())}
    for name, value in turn.items():
        if name not in known and has_value(value):
            fields.note(f"{name} of messages")
        elif name == "weight" and isinstance(value, float) and 0.0 < value != 1.0:
            fields.note("weight of messages between 0 and 1")


def content_of(value: Any) -> str | None:
    """The text of a message: itself, or that of its parts (OpenAI's `[{"type": "text", "text": …}]`)."""
    if isinstance(value, Mapping) and isinstance(value.get("parts"), list):
        value = value["parts"]
    if not isinstance(value, list):
        return value if isinstance(value, str) else None
    texts = [_part(part) for part in value]
    found = [text for text in texts if text is not None]
    return "\n".join(found) if found and len(found) == len(texts) else None


def _part(part: Any) -> str | None:
    if isinstance(part, Mapping):
        part = part.get("text") if part.get("type", "text") in _TEXT_PARTS else None
    return part if isinstance(part, str) else None


def in_turn(texts: Sequence[str]) -> list[Message]:
    """The messages of two who speak in turn: the first is the user."""
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": trimmed(t)} for n, t in enumerate(texts)]
