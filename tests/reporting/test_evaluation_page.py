"""The page on a run's models: verdicts, figures, what they share, in English and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.untranslated import record_untranslated
from zen_pipeline.blocks import Card, ModelReport, Note, Page, Section, phrase
from zen_pipeline.config import Config
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import score_of
from zen_pipeline.reporting import shared_sections as shared
from zen_pipeline.reporting.evaluation_page import models_page
from zen_pipeline.reporting.rendering import render
from zen_pipeline.reporting.wording import CHINESE, page_language
from zen_pipeline.tasks import TASKS, load_task
from zen_pipeline.tasks.base import EvaluationRequest
from zen_pipeline.training.job import TrainingResult
from zen_pipeline.training.resolved import Evaluation

NGRAMS = {"unigram": 2.9, "bigram": 1.8, "4-gram": 1.2, "5-gram": 1.3}
FORM = {"questions": 1, "f1": 0.0, "echo_f1": 0.0}
SPEED = {"parameters": 5, "tokens_per_second": 9.0, "threads": 1, "peak_memory_bytes": 3e6, "device": "cpu"}
FIGURES: dict[str, Any] = {
    "loss": 3.0, "token_accuracy": 0.4, "bleu": 30.0, "bleu_signature": "x", "empty": 1, "copied": 2,
    "questions": 7, "exact_match": 0.0, "forms": {"chat": FORM, "purpose": FORM},
}  # fmt: skip


def request(**settings: Any) -> EvaluationRequest:
    nowhere = Path("nowhere")
    config = Config.model_validate(settings)
    return EvaluationRequest(
        config, nowhere, nowhere, nowhere, Evaluation(test_tokens=1, questions=1, int8_test_tokens=1)
    )


def report(
    name: str, value: float, baselines: Mapping[str, float], samples: Sequence[Sample] = (), **figures: Any
) -> ModelReport:
    """What a task shows of its figures."""
    task = load_task(name)
    metrics = {
        "score": asdict(score_of(task.metric, value, baselines, count=7)),
        "figures": {**FIGURES, **figures},
        "baselines": baselines,
        "test": {"documents": 1, "tokens": 2, "bytes": 3, "baseline_tokens": 4, "questions": 5, "pairs": 6},
        "speed": SPEED,
    }
    return task.report(request(), metrics, samples)


def page_of(models: Mapping[str, ModelReport], **more: Any) -> str:
    return render(models_page("notes", models, **more))


def verdict(models: Mapping[str, ModelReport]) -> str:
    found = re.search(r"<h1>(.*?)</h1>", page_of(models), re.S)
    assert found is not None
    return re.sub("<[^>]*>", "", found[1]).replace("&#39;", "'")


@pytest.mark.parametrize(
    ("task", "value", "baselines", "words"),
    [
        ("language", 1.1, NGRAMS, "1.100 bits per byte of unseen text and beats the 4‑gram model's 1.200."),
        ("language", 1.5, NGRAMS, "does not reach the 4‑gram model's 1.200."),
        ("chat", 0.25, {}, "answers to 7 new questions reach F1 0.250."),
        ("chat", 0.25, {"fixed": 0.3}, "; a fixed answer gets 0.300."),
        ("translation", 61.0, {"copying": 21.0}, "chrF 61.0"),
    ],
)
def test_the_verdict_is_true(task: str, value: float, baselines: dict[str, float], words: str) -> None:
    assert words in verdict({"model": report(task, value, baselines)})


def test_without_a_model_there_is_nothing_to_judge() -> None:
    assert "nothing to judge" in verdict({})


@pytest.mark.parametrize(("bits", "kind"), [(1.1, "good"), (1.5, "bad")])
def test_a_figure_is_coloured_by_its_verdict(bits: float, kind: str) -> None:
    page = page_of({"base": report("language", bits, NGRAMS)})
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
    read = "was part of the text that the model was pretrained on"
    assert read in page_of({"chat": report("chat", 0.2, {}, forms={"purpose": FORM})})
    assert read not in page_of({"chat": report("chat", 0.2, {}, forms={"chat": FORM})})


# --- languages --------------------------------------------------------------------------------------------------------


def full_page() -> Page:
    """A page with everything that a run of today can show."""
    samples = [Sample("x", "x", "x", 0.5, "chat")] * 20
    models = {f"{name} {value}": report(name, 0.5, {"x": value}, samples) for value in (0.4, 0.6) for name in TASKS}
    models |= {f"{name} alone": report(name, 0.5, {}) for name in TASKS}
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
        models,
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
