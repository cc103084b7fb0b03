"""Questions with a context that holds the answer: SQuAD's nested files and the flat rows made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from zen_pipeline.corpus.kinds.fields import Fields, has_value

_QUESTIONS = ("question", "query", "query_text", "input_text")
CONTEXTS = ("context", "passage", "paragraph", "article", "story", "background", "evidence", "context_text")
_ANSWERS = ("answers", "answer")
_IMPOSSIBLE = ("is_impossible", "impossible")


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


def claim_articles(fields: Fields) -> Sequence[str] | None:
    """The fields of an article of SQuAD: paragraphs with questions, or one paragraph."""
    paragraphs = fields.get("paragraphs")
    if isinstance(paragraphs, list) and any(isinstance(p, Mapping) and "qas" in p for p in paragraphs):
        return ("paragraphs",)
    context = fields.first(CONTEXTS)
    return (context, "qas") if context and isinstance(fields.get("qas"), list) else None


def claim_question(fields: Fields) -> Sequence[str] | None:
    """The fields of one question with its context and answers.

    `text` is the context of a question whose answer stands in it; where the question stands there too, it is a
    rendering of both.
    """
    question = fields.first(_QUESTIONS[:2])
    answers = next((name for name in _ANSWERS if name in fields or fields.is_blank(name)), None)
    if question is None:
        return None
    context = fields.first(name for name in CONTEXTS if joined(fields.get(name)) is not None)
    if context is not None and (answers or fields.first(_IMPOSSIBLE)):
        return (question, context, *([answers] if answers else []))
    text = fields.text("text")
    found = answers_of(fields.get(answers)) if answers and text else None
    if text and found and answers and str(fields.get(question)) not in text and all(a in text for a, _ in found):
        return (question, "text", answers)
    return None


def joined(context: Any) -> str | None:
    """The context as one text: it may be a list of passages."""
    if isinstance(context, list) and context and all(isinstance(passage, str) for passage in context):
        return "\n\n".join(context)
    return context if isinstance(context, str) else None


def read_articles(fields: Fields, names: Sequence[str]) -> Iterator[Question | str]:
    """The questions of an article, or why one is not usable."""
    if names == ("paragraphs",):
        for paragraph in fields.take("paragraphs"):
            fits = isinstance(paragraph, Mapping) and isinstance(paragraph.get("qas"), list)
            yield from _asked(paragraph) if fits else ["a paragraph without 'context' and 'qas'"]
    else:
        yield from _asked({name: fields.take(name) for name in names})


def _asked(paragraph: Mapping[str, Any]) -> Iterator[Question | str]:
    context = next((paragraph[name] for name in CONTEXTS if has_value(paragraph.get(name))), None)
    for each in paragraph["qas"]:
        if not isinstance(each, Mapping):
            yield "a question that is no object"
            continue
        asked = next((each[name] for name in _QUESTIONS if has_value(each.get(name))), None)
        answers = next((each[name] for name in _ANSWERS if each.get(name) is not None), None)
        impossible = next((each[name] for name in _IMPOSSIBLE if each.get(name) is not None), None)
        yield _question(asked, context, answers, impossible)


def read_question(fields: Fields, names: Sequence[str]) -> Question | str:
    """The question of a flat row, or why it is not usable; without an answer it is impossible."""
    question, context = fields.take(names[0]), joined(fields.take(names[1]))
    answers = fields.take_blank(names[2]) if len(names) == 3 else []
    name = fields.first(_IMPOSSIBLE)
    impossible = None if name is None else fields.take(name)
    unmarked = impossible is None and answers is not None
    return _question(question, context, answers, impossible, unmarked_is_impossible=unmarked)


def _question(
    asked: Any, context: Any, answers: Any, impossible: Any, *, unmarked_is_impossible: bool = False
) -> Question | str:
    """One question. Flat rows mark an impossible one by an empty list, SQuAD's files by `is_impossible`."""
    if not isinstance(asked, str) or not isinstance(context, str) or not asked.strip() or not context.strip():
        return "question or context is missing or empty"
    found = [] if answers is None and impossible is True else answers_of(answers)
    if found is None:
        return "answers are in no known form"
    if impossible is True or (unmarked_is_impossible and not found):
        return Question(asked, context, [], [], True)
    if not found:
        return "a question without answers that is not marked as impossible"
    placed = {text: _place(context, text, start) for text, start in reversed(found)}
    texts = list(dict.fromkeys(text for text, _ in found))
    return Question(asked, context, texts, [placed[text] for text in texts], False)


def answers_of(value: Any) -> list[tuple[str, int]] | None:
    """Texts and starts of a text, a list of texts or objects, or SQuAD's flat lists `text` and `answer_start`."""
    if isinstance(value, Mapping):
        texts, starts = value.get("text", value.get("value")), value.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, Sequence):
            return None
        known = starts if isinstance(starts, Sequence) and len(starts) == len(texts) else [-1] * len(texts)
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, known, strict=True)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        value = [str(value)]
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
