"""What the evaluation keeps of single texts and answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A continuation beside the truth.

    Attributes:
        prompt: the beginning of a test document.
        continuation: what the model wrote after it.
        truth: what the document says after it, about as long.
    """

    prompt: str
    continuation: str
    truth: str


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
