from __future__ import annotations

import pytest

from zen_pipeline.evaluation.asking import choose, summarize
from zen_pipeline.evaluation.markup import flattened, number, with_code
from zen_pipeline.evaluation.report import ReportData, render, strongest_baseline, verdict
from zen_pipeline.evaluation.results import Answer
from zen_pipeline.tasks.chat import question_and_answer
from zen_pipeline.tasks.questions import Question

BASELINES = {"unigram": 2.9, "bigram": 1.8, "4-gram": 1.2, "5-gram": 1.3}
BASE = {"bits_per_byte": 1.1, "loss": 3.0, "token_accuracy": 0.4}
CHAT = {"f1": 0.25, "exact_match": 0.0, "questions": 7, "baselines": {}}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            {"base": BASE, "baselines": BASELINES},
            "1.100 bits per byte of unseen text and beats the 4‑gram model's 1.200.",
        ),
        ({"base": {**BASE, "bits_per_byte": 1.5}, "baselines": BASELINES}, "does not reach the 4‑gram model's 1.200."),
        ({"base": BASE, "baselines": BASELINES, "chat": CHAT}, "; its answers to 7 new questions reach F1 0.25."),
        ({"chat": CHAT, "baselines": BASELINES}, "The answers to 7 new questions reach F1 0.25."),
        ({"baselines": BASELINES}, "nothing to judge"),
    ],
)
def test_the_verdict_is_one_true_sentence(metrics: dict[str, object], words: str) -> None:
    assert verdict(metrics).endswith(words) or words in verdict(metrics)


def test_the_strongest_baseline_is_the_one_with_the_fewest_bits() -> None:
    assert strongest_baseline({"baselines": BASELINES}) == ("4-gram", 1.2)
    assert strongest_baseline({}) == ("", None)


def test_a_page_without_anything_is_still_a_page() -> None:
    page = render(ReportData(metrics={}))
    assert page.startswith("<!doctype html>")
    assert "nothing to judge" in page


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12"), (1234567, "1,234,567"), (0.123456, "0.1235"), (3.0, "3"), (True, "yes")]
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_code_is_marked_after_escaping() -> None:
    assert with_code("What does `a<b>` do? <i>").text == "What does <code>a&lt;b&gt;</code> do? &lt;i&gt;"


def test_nested_settings_become_dotted_names() -> None:
    assert flattened({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [("a.b", "1"), ("d", "1, 2")]


def test_what_the_model_has_read_of_the_questions_is_said() -> None:
    form = {"questions": 1, "f1": 0.0, "echo_f1": 0.0}
    asked = {**CHAT, "forms": {"purpose": form}}
    read = "was part of the text that the model was pretrained on"
    assert read in render(ReportData(metrics={"chat": asked, "base": BASE}))
    assert read not in render(ReportData(metrics={"chat": asked}))  # a given model was fine-tuned
    assert read not in render(ReportData(metrics={"chat": {**CHAT, "forms": {"chat": form}}, "base": BASE}))


# --- answers ----------------------------------------------------------------------------------------------------------


def test_the_same_questions_are_asked_whatever_their_order() -> None:
    questions = [Question(f"q{n}", f"s{n}", "purpose", question_and_answer("?", "!")) for n in range(50)]
    assert choose(questions, 10) == choose(list(reversed(questions)), 10)
    assert len(choose(questions, 10)) == 10
    assert len(choose(questions, 100)) == 50


def test_scores_stand_beside_what_needs_no_model() -> None:
    answers = [
        Answer("1", "a", "purpose", "What does a do?", "opens files", "opens files", 1.0, 1.0),
        Answer("2", "b", "module", "Is b in c?", "no", "b is in c", 0.0, 0.0),
    ]
    found = summarize(answers, ["opens files", "opens files", "other"])
    assert (found["f1"], found["exact_match"], found["questions"]) == (0.5, 0.5, 2)
    assert found["baselines"]["most_frequent_answer"] == {"f1": 0.5, "exact_match": 0.5}
    assert found["baselines"]["repeat_the_question"]["f1"] == pytest.approx(0.5)  # all words of "b is in c"
    assert found["forms"]["module"] == {"questions": 1, "f1": 0.0, "echo_f1": 1.0}
    assert "most_frequent_answer" not in summarize(answers, [])["baselines"]
