"""Ask a chat model the test questions, and count what its answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zen_pipeline.corpus.split import position
from zen_pipeline.evaluation.answers import exact_match, mean, most_frequent, token_f1
from zen_pipeline.evaluation.results import Answer
from zen_pipeline.tasks.questions import Question

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.tasks.chat_markup import ChatFormat

MAX_ANSWER_TOKENS = 128  # references have at most 300 characters

Say = Callable[[Sequence[dict[str, str]]], str]


def choose(questions: Sequence[Question], most: int) -> list[Question]:
    """At most `most` questions, the same ones whatever their order, from all over the set."""
    return sorted(questions, key=lambda q: position(q.id, "ask"))[:most]


def ask(questions: Iterable[Question], say: Say) -> list[Answer]:
    """Every question with the answer of `say`, which is given the messages before the reference answer."""
    asked = []
    for question in questions:
        answer, reference = say(question.messages[:-1]), question.answer
        scores = token_f1(answer, reference), exact_match(answer, reference)
        asked.append(
            Answer(question.id, question.subject, question.form, question.question, answer, reference, *scores)
        )
    return asked


def greedy(model: CausalModel, chat: ChatFormat) -> Say:
    """Answers of a model: always the likeliest token. A question that fills the context gets an empty answer."""
    from zen_pipeline.inference.generate import generate

    def say(messages: Sequence[dict[str, str]]) -> str:
        ids = chat.prompt(messages)
        if len(ids) >= model.config.max_position_embeddings:
            return ""
        new = generate(model, ids, max_new_tokens=MAX_ANSWER_TOKENS, temperature=0.0, stop_ids=chat.stop_ids)
        return chat.decode(list(new)).strip()

    return say


def summarize(answers: Sequence[Answer]) -> dict[str, Any]:
    """F1 and exact match of the answers, in all and by kind of question."""
    forms = {form: [a for a in answers if a.form == form] for form in sorted({a.form for a in answers})}
    return {
        "f1": mean(a.f1 for a in answers),
        "exact_match": mean(a.exact for a in answers),
        "questions": len(answers),
        "forms": {
            form: {
                "questions": len(group),
                "f1": mean(a.f1 for a in group),
                "echo_f1": mean(token_f1(a.question, a.reference) for a in group),
            }
            for form, group in forms.items()
        },
    }


def fixed_answers(questions: Sequence[Question], training_answers: Sequence[str]) -> dict[str, float]:
    """F1 of what can be answered without a model, by name.

    Args:
        questions: with their reference answers.
        training_answers: reference answers of the training questions; may be empty.
    """
    fixed = {"repeat the question": [q.question for q in questions]}
    if training_answers:
        fixed["most frequent answer"] = [most_frequent(training_answers)] * len(questions)
    references = [q.answer for q in questions]
    return {name: mean(token_f1(*pair) for pair in zip(said, references, strict=True)) for name, said in fixed.items()}
