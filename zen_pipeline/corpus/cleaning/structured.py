"""Cleaning of the structured fields: every text in them, and the places of answers in a context that has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zen_pipeline.corpus.records import Kind

CleanText = Callable[[str], str]


class CannotClean(Exception):
    """The fields cannot be cleaned without losing what they say; the message is the reason to set the record aside."""


def clean_fields(kind: Kind, meta: Mapping[str, Any], clean: CleanText) -> dict[str, Any]:
    """The structured fields of a record that is no document, with their texts cleaned; labels stay as they are.

    Raises:
        CannotClean: nothing is left of a text, an answer is not found again, or the fields are not those of the kind.
    """
    try:
        if kind == "chat":
            return {**meta, "messages": _messages(meta["messages"], clean)}
        if kind == "preference":
            answers = {name: _text(meta[name], clean) for name in ("chosen", "rejected")}
            return {**meta, "prompt": _messages(meta["prompt"], clean), **answers}
        if kind == "qa":
            return {**meta, **_question(meta, clean)}
        names = ("source", "target") if kind == "translation" else ("text",)
        return {**meta, **{name: _text(meta[name], clean) for name in names}}
    except (KeyError, TypeError, AttributeError) as error:
        raise CannotClean(f"cleaning: the fields are not those of a {kind} record ({error})") from None


def _text(text: str, clean: CleanText) -> str:
    cleaned = clean(text)
    if text.strip() and not cleaned.strip():
        raise CannotClean("cleaning: nothing is left of one of its texts")
    return cleaned


def _messages(messages: list[dict[str, Any]], clean: CleanText) -> list[dict[str, Any]]:
    return [{**message, "content": _text(message["content"], clean)} for message in messages]


def _question(meta: Mapping[str, Any], clean: CleanText) -> dict[str, Any]:
    context = meta["context"]
    cleaned = _text(context, clean)
    answers = [_text(answer, clean) for answer in meta["answers"]]
    if cleaned == context and answers == meta["answers"]:
        starts = meta["answer_starts"]
    else:
        starts = [
            _moved(context, start, before, cleaned, after)
            for start, before, after in zip(meta["answer_starts"], meta["answers"], answers, strict=True)
        ]
    return {
        "question": _text(meta["question"], clean),
        "context": cleaned,
        "answers": answers,
        "answer_starts": starts,
    }


def _moved(context: str, start: int, answer: str, cleaned: str, cleaned_answer: str) -> int:
    """Where an answer stands in the cleaned context.

    The third occurrence of an answer is the third occurrence of the cleaned one, if both occur equally often. An answer
    that stands nowhere (-1) still does.
    """
    if start < 0:
        return start
    before = list(_places(context, answer))
    after = list(_places(cleaned, cleaned_answer))
    if start not in before or len(before) != len(after):
        raise CannotClean("cleaning: an answer is not found again in its context")
    return after[before.index(start)]


def _places(text: str, part: str) -> Iterator[int]:
    place = text.find(part)
    while part and place >= 0:
        yield place
        place = text.find(part, place + 1)
