"""Single texts and answers that an evaluation keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Something that a model made of the test set.

    Attributes:
        prompt: what it was given.
        text: what it made of it.
        reference: what the test set says there.
        score: figure of this one, 0 to 1; None where single ones have none.
        group: kind of what it was given; None where there is one kind.
    """

    prompt: str
    text: str
    reference: str
    score: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class Answer:
    """One test question, answered.

    Attributes:
        id: of the question.
        subject: what it asks about.
        form: kind of the question.
        question: its text.
        answer: what the model said.
        reference: what it should have said.
        f1: token F1 of the two, 0 to 1.
        exact: 1.0 when they are equal after normalization, else 0.0.
    """

    id: str
    subject: str
    form: str
    question: str
    answer: str
    reference: str
    f1: float
    exact: float
