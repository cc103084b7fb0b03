"""Conversations that branch, as one path: OASST's message trees, and the exports of ChatGPT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.corpus.kinds.chat_turns import Message, from_turns
from zen_pipeline.corpus.kinds.fields import Fields, has_value


def claim(fields: Fields) -> Sequence[str] | None:
    """The field that holds a tree of messages."""
    root, nodes = fields.get("prompt"), fields.get("mapping")
    if isinstance(root, Mapping) and "replies" in root:
        return ("prompt",)
    if isinstance(nodes, Mapping) and nodes and all(isinstance(n, Mapping) and "message" in n for n in nodes.values()):
        return ("mapping",)
    return None


def read(fields: Fields, names: Sequence[str]) -> list[Message] | str:
    """The messages of one path through a tree; that there are others is noted."""
    if names[0] == "prompt":
        turns, branches = _best_replies(fields.take("prompt"))
    else:
        turns, branches = _shown_path(fields.take("mapping"), fields.take("current_node"))
    if branches:
        fields.note("other branches of a conversation")
    return from_turns(turns, fields)


def _best_replies(root: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """The turns along the replies of the best rank (0), the first where none has one."""
    turns, branches = [], False
    node: Any = root
    while isinstance(node, Mapping):
        turns.append({"role": node.get("role"), "content": node.get("text")})
        replies = [reply for reply in node.get("replies") or [] if isinstance(reply, Mapping)]
        branches |= len(replies) > 1
        node = min(replies, key=lambda r: r["rank"] if isinstance(r.get("rank"), int) else len(replies), default=None)
    return turns, branches


def _shown_path(nodes: Mapping[str, Any], last: Any) -> tuple[list[dict[str, Any]], bool]:
    """The turns that the export's user saw last, and whether there are others."""
    path: list[Mapping[str, Any]] = []
    name: Any = last if last in nodes else list(nodes)[-1]
    while name in nodes and len(path) < len(nodes):
        node = nodes[name]
        if isinstance(node["message"], Mapping):
            path.append(node["message"])
        name = node.get("parent")
    turns = [{"role": _author(message), "content": message.get("content")} for message in reversed(path)]
    shown = [turn for turn in turns if turn["role"] != "system" or has_value(_parts(turn["content"]))]
    said = sum(isinstance(node["message"], Mapping) for node in nodes.values())
    return shown, said > len(path)


def _author(message: Mapping[str, Any]) -> Any:
    author = message.get("author")
    return author.get("role") if isinstance(author, Mapping) else author


def _parts(content: Any) -> str:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return "".join(part for part in parts if isinstance(part, str)) if isinstance(parts, list) else ""
