"""The evaluation as one HTML file that needs nothing else: no web address, no script, no font, no second file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.evaluation.scores import Score, deciding_scores
from zen_pipeline.reporting import report_parts as parts
from zen_pipeline.reporting.charts import Bar, bar_chart
from zen_pipeline.reporting.markup import Content, card, html, megabytes, number, paragraph, section, table
from zen_pipeline.reporting.wording import Language, in_language
from zen_pipeline.reporting.wording import gettext as _

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class About:
    """What the page is about.

    Attributes:
        pipeline: its name.
        corpus: the sources, in words.
        date: of the evaluation, as people write it.
        budget: as it was asked for, such as `5m`.
        machine: processor or GPU, cores, memory.
    """

    pipeline: str
    corpus: str
    date: str
    budget: str
    machine: str


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows; what is empty is left out.

    Attributes:
        metrics: the content of metrics.json.
        about: pipeline, corpus, date, budget, machine.
        released: what became of each model, as the release stage says it.
        histories: logged steps of `pretrain` and `finetune`.
        trainings: the content of their training.json.
        samples: continuations of test documents.
        answers: test questions with the chat model's answers.
        records: the summary of the validation stage.
        tokens: the summary of the tokenize stage.
        embeddings: the summary of the embedding stage.
        neighbours: nearest words of some words, with their cosines.
        words_png: picture of the word vectors.
        skipped: reason for each stage that had nothing to do.
        settings: the settings of each stage.
        lineage: (stage, fingerprint, digest of the content) of each input.
        language: of the page.
    """

    metrics: Metrics
    about: About | None = None
    released: Sequence[Mapping[str, Any]] = ()
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    trainings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    answers: Sequence[Answer] = ()
    records: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Any] = field(default_factory=dict)
    embeddings: Mapping[str, Any] = field(default_factory=dict)
    neighbours: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    words_png: bytes | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    lineage: Sequence[tuple[str, str, str]] = ()
    language: Language = "en"


def render(data: ReportData) -> str:
    """The page as HTML text."""
    with in_language(data.language):
        return _page(data)


def _page(data: ReportData) -> str:
    sections = [
        _scoreboard(data.metrics),
        parts.released(data.released),
        parts.samples(data.samples),
        parts.answers(data.answers, data.metrics.get("chat"), pretrained="base" in data.metrics),
        parts.training(data.histories, data.trainings),
        parts.data(data.records),
        parts.tokens(data.tokens),
        parts.words(data.embeddings, data.neighbours, data.words_png),
        parts.starts(data.embeddings),
        parts.skipped(data.skipped),
        parts.glossary(),
        parts.lineage(data.lineage, data.settings),
    ]
    shown = [s for s in sections if s]
    style = (resources.files("zen_pipeline.reporting") / "report_style.html").read_text(encoding="utf-8")
    name = data.about.pipeline if data.about else "Zen Pipeline"
    return (
        f'<!doctype html><html lang="{data.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{html(name)} · {html(_("Evaluation"))}</title>'
        f"{style}</head><body><main>"
        f'<header><p class="eyebrow">Zen Pipeline · {html(name)}</p>'
        f"<h1>{html(verdict(data.metrics))}</h1>{_about(data.about)}{parts.navigation(shown)}</header>"
        f"{_cards(data.metrics)}{''.join(shown)}</main></body></html>\n"
    )


def _about(about: About | None) -> str:
    if about is None:
        return ""
    facts = [
        (_("Corpus"), about.corpus),
        (_("Budget"), about.budget),
        (_("Machine"), about.machine),
        (_("Date"), about.date),
    ]
    return f'<dl class="about">{"".join(f"<dt>{html(k)}</dt><dd>{html(v)}</dd>" for k, v in facts if v)}</dl>'


def verdict(metrics: Metrics) -> str:
    """The result in one sentence."""
    scores = deciding_scores(metrics)
    said = []
    if base := scores.get("base"):
        said.append(_base_verdict(base))
    if chat := scores.get("chat"):
        said.append(_chat_verdict(chat, metrics["chat"]["questions"]))
    return _(" ").join(said) or _("No model was trained, so there is nothing to judge.")


def _base_verdict(score: Score) -> str:
    facts = {"value": f"{score.value:.3f}", "baseline": unbroken(score.baseline), "other": _figure(score)}
    if score.beats_baseline is None:
        return _("The model needs {value} bits per byte of unseen text.", **facts)
    if score.beats_baseline:
        return _(
            "The model needs {value} bits per byte of unseen text and beats the {baseline} model's {other}.", **facts
        )
    return _(
        "The model needs {value} bits per byte of unseen text and does not reach the {baseline} model's {other}.",
        **facts,
    )


def _chat_verdict(score: Score, questions: int) -> str:
    facts = {"questions": questions, "value": f"{score.value:.2f}", "other": _figure(score, 2)}
    if score.beats_baseline is None:
        return _("Its answers to {questions} new questions reach F1 {value}.", **facts)
    if score.beats_baseline:
        return _(
            "Its answers to {questions} new questions reach F1 {value}, above what a fixed answer gets ({other}).",
            **facts,
        )
    return _("Its answers to {questions} new questions reach F1 {value}; a fixed answer gets {other}.", **facts)


def _figure(score: Score, digits: int = 3) -> str:
    return "" if score.baseline_value is None else f"{score.baseline_value:.{digits}f}"


def unbroken(name: str | None) -> str:
    """`5-gram` with a hyphen at which no line ends."""
    return (name or "").replace("-", "\u2011")


def _cards(metrics: Metrics) -> str:
    speed = metrics.get("speed")
    scores = deciding_scores(metrics)
    shown = []
    if base := scores.get("base"):
        shown.append(_score_card(base, _("bits per byte, test")))
        shown.append(card(f"{metrics['base']['token_accuracy']:.1%}", _("of next tokens right")))
    if chat := scores.get("chat"):
        shown.append(_score_card(chat, _("answer F1")))
    if speed:
        shown.append(card(number(round(speed["tokens_per_second"])), _("tokens per second, one at a time")))
    return f'<div class="cards">{"".join(shown)}</div>' if shown else ""


def _score_card(score: Score, label: str) -> str:
    beside = (
        ""
        if score.baseline_value is None
        else " · " + _("{baseline}: {other}", baseline=unbroken(_(str(score.baseline))), other=_figure(score))
    )
    kind = {True: "good", False: "bad", None: ""}[score.beats_baseline]
    return card(f"{score.value:.3f}", f"{label}{beside}", kind=kind)


def _scoreboard(metrics: Metrics) -> str:
    base, speed = metrics.get("base"), metrics.get("speed")
    bars = [Bar(name, value) for name, value in (metrics.get("baselines") or {}).items()]
    if base:
        better = deciding_scores(metrics)["base"].beats_baseline
        bars.append(Bar(_("this model"), base["bits_per_byte"], kind="bad" if better is False else "good"))
    if not bars:
        return ""
    bars.sort(key=lambda bar: -bar.value)
    tested = metrics.get("test") or {}
    rows: list[tuple[str, Content]] = []
    if base:
        rows += [(_("test loss"), _("{loss} nats per token", loss=f"{base['loss']:.4f}"))]
        rows += [(_("next token right"), f"{base['token_accuracy']:.2%}")]
    rows += [(_(label), number(tested[key])) for label, key in _TESTED if key in tested]
    if speed:
        rows.append((_("parameters"), number(speed["parameters"])))
        rate = {"rate": f"{speed['tokens_per_second']:.1f}", "threads": speed["threads"]}
        rows.append((_("generation"), _("{rate} tokens/s, batch 1, {threads} thread(s)", **rate)))
        rows.append((_("memory while generating"), megabytes(speed["peak_memory_bytes"])))
        rows.append((_("device"), str(speed["device"])))
    note = _(
        "How many bits the model needs to write down one byte of the test documents; less is better. The others "
        "are interpolated Kneser-Ney models of the same tokens, counted on the same training text."
    )
    return section(
        "scores",
        _("Bits per byte of unseen text"),
        paragraph(note, "note"),
        bar_chart(bars, title=_("Bits per byte of the test documents")),
        table((_("measure"), _("value")), rows),
    )


_TESTED = (
    ("test documents", "documents"),
    ("test tokens", "tokens"),
    ("test bytes", "bytes"),
    ("training tokens of the n-gram models", "baseline_tokens"),
)
