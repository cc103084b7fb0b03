"""Questions with a context that holds the answer: SQuAD's nested files and the flat rows made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_ANSWERS = ("answers", "answer")


class Question(NamedTuple):
    """A question about a context.

    Attributes:
        question: what is asked.
        context: the text that answers it, or does not.
        answers: accepted answers without repetition; none when it is impossible.
        answer_starts: where in the context each begins, in characters; -1 for one that is not there word for word.
        impossible: the context has no answer (SQuAD 2.0, https://arxiv.org/abs/1806.03822).
    """

    question: str
    context: str
    answers: list[str]
    answer_starts: list[int]
    impossible: bool


def is_qa(row: Mapping[str, Any]) -> bool:
    """Whether the row is an article of SQuAD, or one question with its context and answers."""
    if "paragraphs" in row or ("context" in row and "qas" in row):
        return True
    return "question" in row and "context" in row and any(name in row for name in _ANSWERS)


def questions(row: Mapping[str, Any]) -> Iterator[Question | str]:
    """The questions of a row, or why one is not usable."""
    if "question" in row and "context" in row:
        yield _question(row, row["context"], unmarked_is_impossible=True)
        return
    paragraphs = row.get("paragraphs", [row])
    if not isinstance(paragraphs, list):
        yield "'paragraphs' is not a list"
        return
    for paragraph in paragraphs:
        asked = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
        if not isinstance(asked, list):
            yield "a paragraph without 'context' and 'qas'"
            continue
        for each in asked:
            fits = isinstance(each, Mapping)
            yield _question(each, paragraph.get("context")) if fits else "a question that is no object"


def _question(row: Mapping[str, Any], context: Any, *, unmarked_is_impossible: bool = False) -> Question | str:
    """One question. Flat rows mark an impossible one by an empty list, SQuAD's files by `is_impossible`."""
    asked = row.get("question")
    if not isinstance(asked, str) or not isinstance(context, str) or not asked.strip() or not context.strip():
        return "question or context is missing or empty"
    found = _answers(next((row[name] for name in _ANSWERS if name in row), None))
    if found is None:
        return "answers are in no known form"
    impossible = row.get("is_impossible", row.get("impossible"))
    if impossible is True or (impossible is None and unmarked_is_impossible and not found):
        return Question(asked, context, [], [], True)
    if not found:
        return "a question without answers that is not marked as impossible"
    placed = {text: _place(context, text, start) for text, start in reversed(found)}
    texts = list(dict.fromkeys(text for text, _ in found))
    return Question(asked, context, texts, [placed[text] for text in texts], False)


def _answers(value: Any) -> list[tuple[str, int]] | None:
    """Texts and starts of a text, a list of texts or objects, or SQuAD's flat lists `text` and `answer_start`."""
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, Sequence):
            return None
        known = starts if isinstance(starts, Sequence) and len(starts) == len(texts) else [-1] * len(texts)
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, known, strict=True)]
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return None
    found = []
    for each in value:
        text, start = (each.get("text"), each.get("answer_start")) if isinstance(each, Mapping) else (each, -1)
        if not isinstance(text, str):
            return None
        if text.strip():
            found.append((text, start if isinstance(start, int) else -1))
    return found


def _place(context: str, text: str, start: int) -> int:
    """The given start where it is right, else the first place of the answer, else -1."""
    return start if start >= 0 and context.startswith(text, start) else context.find(text)
