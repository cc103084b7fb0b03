"""A question and its answer as fields of a row: Alpaca, Dolly, self-instruct and their like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zen_pipeline.corpus.kinds.chat_formats import conversation, exchange, transcript
from zen_pipeline.corpus.kinds.chat_turns import Message, are_turns, from_turns
from zen_pipeline.corpus.kinds.fields import Fields, NotLearnt
from zen_pipeline.corpus.kinds.question_answering import CONTEXTS, answers_of, joined

QUESTIONS = ("instruction", "prompt", "question", "query", "ask", "inputs", "input")
_ANSWERS = ("output", "response", "completion", "answer", "std_answer", "answers", "targets")
_TOGETHER = ("input", "question", "query", *CONTEXTS)  # what an instruction is about
_BOTH = (("user", "assistant"), ("human", "assistant"), ("human", "bot"), ("human", "gpt"), ("q", "a"))
_LETTERS = tuple("abcd")
_NO_PAIR = "the question or its answer is not text"


def claim(fields: Fields) -> Sequence[str] | None:
    """The fields of a question and its answer."""
    question = fields.first(QUESTIONS)
    answer = fields.first(_ANSWERS)
    if question == "input" and answer is None:  # Firefly
        answer = fields.first(("target",))
    if question is not None and "instances" in fields:
        return (question, "instances")
    if question is None or answer is None:
        return next((both for both in _BOTH if both[0] in fields and both[1] in fields), None)
    return question, answer


def claim_turns(fields: Fields) -> Sequence[str] | None:
    """The same where they are messages, as in TRL."""
    names = claim(fields)
    return names if names is not None and are_turns(fields.get(names[0])) else None


def read_turns(fields: Fields, names: Sequence[str]) -> list[Message] | str:
    """The conversation of a prompt and a completion in messages."""
    asked = from_turns(fields.take(names[0]), fields)
    value = fields.take(names[1])
    value = [{"role": "assistant", "content": value}] if isinstance(value, str) else value
    said = from_turns([value] if isinstance(value, Mapping) else value, fields)
    if isinstance(asked, str) or isinstance(said, str):
        return asked if isinstance(asked, str) else said if isinstance(said, str) else _NO_PAIR
    return conversation([*asked, *said], fields)


def read(fields: Fields, names: Sequence[str]) -> Iterator[list[Message] | str]:
    """The conversations of a row: several for an instruction with instances."""
    if all(letter in fields for letter in _LETTERS):  # C-Eval, CMMLU
        yield NotLearnt("more than the text of a question (choices A to D: write them into the question)")
        return
    if (context := fields.first(CONTEXTS)) is not None and joined(fields.get(context)) is None:
        yield f"{fields.called(context)!r} is neither text nor a list of texts"
        return
    question = _asked(fields, names[0])
    if names[1] == "instances":
        instances = fields.take("instances")
        each = [i if isinstance(i, Mapping) else {} for i in instances] if isinstance(instances, list) else []
        for instance in each or [{}]:
            found = _pair(_with(question, instance.get("input")), instance.get("output"))
            yield conversation(found, fields)
        return
    found = _pair(question, _answer(fields.take(names[1])))
    text = fields.text("text")  # a rendering of the same
    if text and not isinstance(found, str) and all(m["content"] in text for m in found[-2:]):
        fields.take("text")
    yield conversation(found, fields)


def _asked(fields: Fields, name: str) -> Any:
    """The question with what it is about: an instruction's input, a context."""
    question = fields.take(name)
    if name in ("input", "inputs"):
        return question
    for more in _TOGETHER if name == "instruction" else ("input", *CONTEXTS):
        if more in fields and (text := joined(fields.get(more))) is not None:
            fields.take(more)
            question = _with(question, text)
    return question


def _answer(value: Any) -> Any:
    """The first of several answers."""
    if isinstance(value, str):
        return value
    found = answers_of(value)
    return found[0][0] if found else value


def _with(question: Any, more: Any) -> Any:
    if isinstance(question, str) and isinstance(more, str) and more.strip():
        return f"{question}\n\n{more}"
    return question


def _pair(question: Any, answer: Any) -> list[Message] | str:
    if not isinstance(question, str) or not isinstance(answer, str):
        return _NO_PAIR
    before = transcript(question, line_ends="\n+")
    if not before:
        return exchange(question, answer)
    if not before[-1]["content"]:  # it ended with `Assistant:`
        before = before[:-1]
    return [*before, *exchange("", answer)[1:]]
