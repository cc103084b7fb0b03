from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from zen_pipeline.evaluation.asking import choose, summarize
from zen_pipeline.evaluation.results import Answer
from zen_pipeline.reporting import model_report as report
from zen_pipeline.reporting import report_parts
from zen_pipeline.reporting.markup import flattened, number, with_code
from zen_pipeline.reporting.model_report import About, ReportData, render, verdict
from zen_pipeline.reporting.wording import CHINESE, page_language
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
        ({"base": BASE, "baselines": BASELINES, "chat": CHAT}, "Its answers to 7 new questions reach F1 0.25."),
        ({"chat": CHAT, "baselines": BASELINES}, "Its answers to 7 new questions reach F1 0.25."),
        ({"chat": {**CHAT, "baselines": {"fixed": {"f1": 0.3}}}}, "; a fixed answer gets 0.30."),
        ({"baselines": BASELINES}, "nothing to judge"),
    ],
)
def test_the_verdict_is_true(metrics: dict[str, object], words: str) -> None:
    assert words in verdict(metrics)


@pytest.mark.parametrize(("bits", "kind"), [(1.1, "good"), (1.5, "bad")])
def test_a_figure_is_coloured_by_its_verdict(bits: float, kind: str) -> None:
    page = render(ReportData(metrics={"base": {**BASE, "bits_per_byte": bits}, "baselines": BASELINES}))
    assert f'class="card {kind}"' in page
    assert f'class="bar main {kind}"' in page


def test_the_page_says_what_it_is_about() -> None:
    about = About("notes <b>", "handbook.md", "2026-11-30 12:00", "5m", "EPYC, 2 cores")
    page = render(ReportData(metrics={}, about=about))
    for fact in ("notes &lt;b&gt;", "handbook.md", "2026-11-30 12:00", "5m", "EPYC, 2 cores"):
        assert fact in page


def test_figures_are_shown_without_raw_structures_and_long_digests() -> None:
    records = {"records_in": 3, "notes": [], "personal": {}, "files": [{"path": "a.txt", "digest": "a" * 64}]}
    page = render(ReportData(metrics={}, records=records))
    assert "files.0.path" in page
    assert "a" * 64 not in page
    assert "{" not in page.split("</style>")[1]
    assert "notes" not in page


# --- languages --------------------------------------------------------------------------------------------------------


def marked_texts() -> set[str]:
    """Every text that the report's modules hand to gettext, and every member of the tables whose members are."""
    found: set[str] = set()
    for module in (report, report_parts):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def test_every_text_of_the_page_has_a_chinese_one_with_the_same_fields() -> None:
    assert marked_texts() - set(CHINESE) == set()
    fields = re.compile(r"{\w+}")
    assert [e for e, zh in CHINESE.items() if sorted(fields.findall(e)) != sorted(fields.findall(zh))] == []


def test_a_chinese_page_is_chinese_throughout() -> None:
    chat = {**CHAT, "forms": {"chat": {"questions": 1, "f1": 0.0, "echo_f1": 0.0}}}
    data = ReportData(metrics={"base": BASE, "baselines": BASELINES, "chat": chat}, records={"records": 3})
    page = render(replace(data, language="zh"))
    assert '<html lang="zh">' in page
    words = set(re.findall(r"[A-Za-z]{4,}", re.sub(r"<[^>]*>", " ", page.split("</style>")[1])))
    names = {"Zen", "Pipeline", "Kneser", "SQuAD", "chat", "gram", "bigram", "unigram", "champion", "challenger"}
    assert words <= {*names, "records"}


@pytest.mark.parametrize(
    ("languages", "locale", "expected"),
    [
        ({"zh": 9, "en": 1}, "en_US.UTF-8", "zh"),
        ({"en": 9}, "zh_CN.UTF-8", "zh"),
        ({"en": 9, "zh": 1}, "C", "en"),
        ({}, "", "en"),
    ],
)
def test_the_page_is_chinese_when_the_corpus_or_the_locale_is(
    languages: dict[str, int], locale: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, locale)
    assert page_language(languages) == expected


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
