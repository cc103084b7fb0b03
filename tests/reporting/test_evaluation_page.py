"""The page on a run's models: verdicts, figures, what they share, in English and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from zen_pipeline.evaluation.asking import choose, summarize
from zen_pipeline.reporting.model_sections import model_reports

from tests.reporting.untranslated import record_untranslated
from zen_pipeline.blocks import Card, ModelReport, Note, Page, Section, phrase
from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.reporting import shared_sections as shared
from zen_pipeline.reporting.evaluation_page import models_page
from zen_pipeline.reporting.rendering import render
from zen_pipeline.reporting.wording import CHINESE, page_language
from zen_pipeline.tasks.chat import question_and_answer
from zen_pipeline.tasks.questions import Question
from zen_pipeline.training.job import TrainingResult

BASELINES = {"unigram": 2.9, "bigram": 1.8, "4-gram": 1.2, "5-gram": 1.3}
BASE = {"bits_per_byte": 1.1, "loss": 3.0, "token_accuracy": 0.4}
FORM = {"questions": 1, "f1": 0.0, "echo_f1": 0.0}
CHAT: dict[str, Any] = {"f1": 0.25, "exact_match": 0.0, "questions": 7, "baselines": {}}
SPEED = {"parameters": 5, "tokens_per_second": 9.0, "threads": 1, "peak_memory_bytes": 3e6, "device": "cpu"}


def page_of(metrics: Mapping[str, Any], **more: Any) -> str:
    return render(models_page("notes", model_reports(metrics, (), ()), **more))


def verdict(metrics: Mapping[str, Any]) -> str:
    found = re.search(r"<h1>(.*?)</h1>", page_of(metrics), re.S)
    assert found is not None
    return found[1].replace("&#39;", "'")


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            {"base": BASE, "baselines": BASELINES},
            "1.100 bits per byte of unseen text and beats the 4‑gram model's 1.200.",
        ),
        ({"base": {**BASE, "bits_per_byte": 1.5}, "baselines": BASELINES}, "does not reach the 4‑gram model's 1.200."),
        ({"base": BASE, "baselines": BASELINES, "chat": CHAT}, "answers to 7 new questions reach F1 0.25."),
        ({"chat": CHAT, "baselines": BASELINES}, "answers to 7 new questions reach F1 0.25."),
        ({"chat": {**CHAT, "baselines": {"fixed": {"f1": 0.3, "exact_match": 0.0}}}}, "; a fixed answer gets 0.30."),
        ({"baselines": BASELINES}, "nothing to judge"),
    ],
)
def test_the_verdict_is_true(metrics: dict[str, object], words: str) -> None:
    assert words in verdict(metrics)


@pytest.mark.parametrize(("bits", "kind"), [(1.1, "good"), (1.5, "bad")])
def test_a_figure_is_coloured_by_its_verdict(bits: float, kind: str) -> None:
    page = page_of({"base": {**BASE, "bits_per_byte": bits}, "baselines": BASELINES})
    assert f'class="card {kind}"' in page
    assert f'class="bar main {kind}"' in page


def test_any_model_has_its_place() -> None:
    models = {
        name: ModelReport(
            phrase("{name} is good.", name=name),
            [Card("1.0", "score of " + name)],
            [Section("scores", "Scores", [Note("note of " + name)])],
        )
        for name in ("base", "translate", "spans")
    }
    page = render(models_page("notes", models, [shared.glossary_section()]))
    for name in models:
        assert all(part in page for part in (f"{name} is good.", f"score of {name}", f"note of {name}"))
        assert f'<section id="{name}-scores">' in page
        assert f'<span class="of">{name}</span>' in page
    assert page.index("base-scores") < page.index("translate-scores") < page.index("glossary")


def test_a_release_shows_the_champion_it_was_compared_with() -> None:
    compared = {"measure": "bits per byte", "candidate": 1.1012, "champion": 1.221, "version": "3"}
    base = {"model": "n-base", "version": "4", "alias": "champion", "reason": "better", "compared": compared}
    chat = {"model": "n-chat", "version": "1", "alias": "challenger", "reason": "too <large>", "compared": None}
    page = page_of({}, sections=[shared.release_section([base, chat])])
    for part in ("n-base/4", "1.1012", "1.2210 (n-base/3)", "better", "n-chat/1", "too &lt;large&gt;"):
        assert part in page
    assert "1.2210" not in page_of({}, sections=[shared.release_section([chat])])


def test_figures_are_shown_without_raw_structures_and_long_digests() -> None:
    records = {"records_in": 3, "notes": [], "personal": {}, "files": [{"path": "a.txt", "digest": "a" * 64}]}
    page = page_of({}, sections=[shared.data_section(records)])
    assert "files.0.path" in page
    assert "a" * 64 not in page
    assert "{" not in page.split("</style>")[1]
    assert "notes." not in page


def test_what_the_model_has_read_of_the_questions_is_said() -> None:
    asked = {**CHAT, "forms": {"purpose": FORM}}
    read = "was part of the text that the model was pretrained on"
    assert read in page_of({"chat": asked, "base": BASE})
    assert read not in page_of({"chat": asked})  # a given model was fine-tuned
    assert read not in page_of({"chat": {**CHAT, "forms": {"chat": FORM}}, "base": BASE})


# --- languages --------------------------------------------------------------------------------------------------------


def full_page() -> Page:
    """A page with everything that a run of today can show."""
    metrics = {
        "base": BASE,
        "baselines": BASELINES,
        "chat": {
            **CHAT,
            "baselines": {n: {"f1": 0.1, "exact_match": 0.0} for n in ("most_frequent_answer", "repeat_the_question")},
            "forms": {"chat": FORM, "purpose": FORM},
        },
        "test": {"documents": 1, "tokens": 2, "bytes": 3, "baseline_tokens": 4},
        "speed": SPEED,
    }
    history = [{"step": float(s), "loss": 9.0 - s / 100, "validation_loss": 9.0} for s in range(200)]
    totals = TrainingResult(
        name="pretrain", steps=1, tokens=2, supervised_tokens=2, parameters=3, seconds=1.0, tokens_per_second=2.0,
        train_loss=1.0, flops=1.0, mfu=0.1, energy_joules=1.0, energy_source="x", peak_resident_bytes=5,
    )  # fmt: skip
    records = {
        "records_in": 3, "records": 2, "set_aside": 1, "bytes": 5, "reasons": {"x": 1}, "kinds": {"x": 1},
        "languages": {"zh": 1}, "changes": {"x": 1}, "personal": {"x": 1},
        "splits": {name: {"records": 1, "bytes": 1} for name in ("train", "valid", "test")},
    }  # fmt: skip
    ratio = {"tokens_per_word": 1.0, "tokens_per_byte": 0.5, "characters_per_token": None}
    compared = {"measure": "x", "candidate": 1.0, "champion": 1.0, "version": "1"}
    release = {"model": "x", "version": "1", "reason": "x"}
    training = (history, totals.model_dump())
    return models_page(
        "x",
        model_reports(metrics, [Sample("x", "x", "x")], [Answer("1", "x", "chat", "x", "x", "x", 0.0, 0.0)] * 20),
        [
            shared.release_section(
                [{**release, "alias": "champion", "compared": compared}, {**release, "alias": "challenger"}]
            ),
            shared.training_section({"pretrain": training, "finetune": training}),
            shared.data_section(records),
            shared.tokens_section({"vocab_size": 3, "fertility": {"zh": ratio}}),
            shared.words_section({"loss": 1.0}, {"x": [("x", 0.5)]}, [{"word": "x", "x": 0.0, "y": 0.0}]),
            shared.skipped_section({"x": "x"}),
            shared.glossary_section(),
            shared.lineage_section([("x", "x", "x")], {"x": {"y": 1}}),
        ],
    )


NAMES = {
    "unigram",
    "bigram",
    "4-gram",
    "4‑gram",
    "5-gram",
    "x",
    "F1",
    "chat",
    "purpose",
    "Kneser-Ney n-gram",
    "",
    "cpu",
}


def test_everything_on_a_chinese_page_that_is_ours_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = record_untranslated(monkeypatch)
    page = render(replace(full_page(), language="zh"))
    assert '<html lang="zh">' in page
    assert missing <= NAMES


def test_a_chinese_text_has_the_fields_of_the_english_one() -> None:
    field = re.compile(r"{\w+}")
    assert [e for e, zh in CHINESE.items() if sorted(field.findall(e)) != sorted(field.findall(zh))] == []


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
