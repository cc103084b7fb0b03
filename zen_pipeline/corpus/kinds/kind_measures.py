"""What is measured of a record because of its kind: of a chat its turns, of a translation the lengths of both sides.

The measures of all kinds are columns of one frame, named `kind.measure`; a record has none of those of other kinds.
Texts are never kept: Great Expectations judges these numbers. 1.0 stands for yes and 0.0 for no.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Measured = dict[str, float | str]

# Every column that there can be, in the order of the frame. All hold numbers but the label.
KIND_COLUMNS: Mapping[str, Literal["number", "text"]] = {
    "chat.turns": "number",
    "chat.roles_alternate": "number",
    "chat.answer_characters": "number",
    "preference.chosen_equals_rejected": "number",
    "preference.chosen_characters": "number",
    "preference.rejected_characters": "number",
    "translation.source_characters": "number",
    "translation.target_characters": "number",
    "translation.length_ratio": "number",
    "translation.same_text": "number",
    "translation.same_language": "number",
    "qa.impossible": "number",
    "qa.answers": "number",
    "qa.answer_in_context": "number",
    "qa.answer_offset_right": "number",
    "qa.question_characters": "number",
    "classification.label": "text",
    "classification.characters": "number",
}


def measure_kind(kind: str, meta: Mapping[str, Any], text: str) -> Measured:
    """The measures of one record that only its kind has; empty for a document.

    Args:
        kind: of the record.
        meta: its structured fields, parsed.
        text: its readable rendering, for what its fields do not hold.

    Returns:
        By column of `KIND_COLUMNS`. What does not apply is left out, such as whether the answer of a question
        without an answer is in the context. Fields that are missing count as empty: reading them is where records
        are refused, judging what is empty is what expectations are for.
    """
    match kind:
        case "chat":
            return _chat(meta.get("messages") or [])
        case "preference":
            return _preference(_text(meta, "chosen"), _text(meta, "rejected"))
        case "translation":
            return _translation(meta)
        case "qa":
            return _qa(meta)
        case "classification":
            labelled = _text(meta, "text") or text
            return {
                "classification.label": str(meta.get("label", "")),
                "classification.characters": float(len(labelled.strip())),
            }
        case _:
            return {}


def _chat(messages: Sequence[Mapping[str, Any]]) -> Measured:
    """A turn is one answer of the assistant; roles alternate when, after a system message, user and assistant do."""
    roles = [str(m.get("role", "")) for m in messages]
    answers = [str(m.get("content") or "").strip() for m in messages if m.get("role") == "assistant"]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user" if n % 2 == 0 else "assistant" for n in range(len(talk))]
    return {
        "chat.turns": float(len(answers)),
        "chat.roles_alternate": float(talk == expected),
        "chat.answer_characters": float(sum(map(len, answers))),
    }


def _preference(chosen: str, rejected: str) -> Measured:
    return {
        "preference.chosen_equals_rejected": float(_folded(chosen) == _folded(rejected)),
        "preference.chosen_characters": float(len(chosen.strip())),
        "preference.rejected_characters": float(len(rejected.strip())),
    }


def _translation(meta: Mapping[str, Any]) -> Measured:
    source, target = _text(meta, "source"), _text(meta, "target")
    languages = _text(meta, "source_language"), _text(meta, "target_language")
    shorter, longer = sorted(len(side.strip()) for side in (source, target))
    measured: Measured = {
        "translation.source_characters": float(len(source.strip())),
        "translation.target_characters": float(len(target.strip())),
        "translation.length_ratio": longer / shorter if shorter else math.inf,
        "translation.same_text": float(_folded(source) == _folded(target)),
    }
    if all(name not in ("", "und") for name in languages):
        measured["translation.same_language"] = float(languages[0] == languages[1])
    return measured


def _qa(meta: Mapping[str, Any]) -> Measured:
    """An answer is in its context as it is written there; an offset is right when exactly that text begins there."""
    context, question = _text(meta, "context"), _text(meta, "question")
    answers = [str(a) for a in meta.get("answers") or []]
    starts = list(meta.get("answer_starts") or [])
    impossible = bool(meta.get("impossible"))
    measured: Measured = {
        "qa.impossible": float(impossible),
        "qa.answers": float(len(answers)),
        "qa.question_characters": float(len(question.strip())),
    }
    if context and not impossible:
        measured["qa.answer_in_context"] = float(bool(answers) and all(a and a in context for a in answers))
        if starts:
            right = len(starts) == len(answers) and all(
                isinstance(at, int) and at >= 0 and context.startswith(answer, at)
                for answer, at in zip(answers, starts, strict=True)
            )
            measured["qa.answer_offset_right"] = float(right)
    return measured


def _text(meta: Mapping[str, Any], name: str) -> str:
    value = meta.get(name)
    return value if isinstance(value, str) else ""


def _folded(text: str) -> str:
    """Without differences in case, spacing and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
