"""Asking a chat model the test questions: which are asked, and what answers are worth beside fixed ones."""

from __future__ import annotations

import pytest

from zen_pipeline.evaluation.results import Answer
from zen_pipeline.tasks.asking import choose, fixed_answers, summarize
from zen_pipeline.tasks.chat_markup import question_and_answer
from zen_pipeline.tasks.questions import Question


def test_the_same_questions_are_asked_whatever_their_order() -> None:
    questions = [Question(f"q{n}", f"s{n}", "purpose", question_and_answer("?", "!")) for n in range(50)]
    assert choose(questions, 10) == choose(list(reversed(questions)), 10)
    assert len(choose(questions, 10)) == 10
    assert len(choose(questions, 100)) == 50


def test_answers_are_counted_by_kind_of_question() -> None:
    answers = [
        Answer("1", "a", "purpose", "What does a do?", "opens files", "opens files", 1.0, 1.0),
        Answer("2", "b", "module", "Is b in c?", "no", "b is in c", 0.0, 0.0),
    ]
    found = summarize(answers)
    assert (found["f1"], found["exact_match"], found["questions"]) == (0.5, 0.5, 2)
    assert found["forms"]["module"] == {"questions": 1, "f1": 0.0, "echo_f1": 1.0}


def test_fixed_answers_need_no_model() -> None:
    questions = [
        Question("1", "a", "purpose", question_and_answer("What does a do?", "opens files")),
        Question("2", "b", "module", question_and_answer("Is b in c?", "b is in c")),
    ]
    found = fixed_answers(questions, ["opens files", "opens files", "other"])
    assert found["most frequent answer"] == 0.5
    assert found["repeat the question"] == pytest.approx(0.5)  # all words of "b is in c"
    assert "most frequent answer" not in fixed_answers(questions, [])
