"""The evaluation as one HTML file that needs nothing else: no web address, no script, no font, no second file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from zen_pipeline.evaluation import report_parts as parts
from zen_pipeline.evaluation.charts import Bar, bar_chart
from zen_pipeline.evaluation.markup import card, megabytes, number, paragraph, section, table
from zen_pipeline.evaluation.results import Answer, Sample

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows; what is empty is left out.

    Attributes:
        metrics: the content of metrics.json.
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
    """

    metrics: Metrics
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


def render(data: ReportData) -> str:
    """The page as HTML text."""
    sections = [
        _scoreboard(data.metrics),
        parts.training(data.histories, data.trainings),
        parts.samples(data.samples),
        parts.answers(data.answers, data.metrics.get("chat"), pretrained="base" in data.metrics),
        parts.data(data.records),
        parts.tokens(data.tokens),
        parts.words(data.embeddings, data.neighbours, data.words_png),
        parts.starts(data.embeddings),
        parts.skipped(data.skipped),
        parts.lineage(data.lineage, data.settings),
    ]
    shown = [s for s in sections if s]
    style = (resources.files("zen_pipeline.evaluation") / "report_style.html").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>Evaluation · Zen Pipeline</title>'
        f"{style}</head><body><main>"
        f'<header><p class="eyebrow">Zen Pipeline · evaluation</p>'
        f"<h1>{parts.text(verdict(data.metrics))}</h1>{parts.navigation(shown)}</header>"
        f"{_cards(data.metrics)}{''.join(shown)}</main></body></html>\n"
    )


def verdict(metrics: Metrics) -> str:
    """The result in one sentence."""
    base, chat = metrics.get("base"), metrics.get("chat")
    said = []
    name, strongest = strongest_baseline(metrics)
    if base and strongest is not None:
        difference = strongest - base["bits_per_byte"]
        word = "beats" if difference > 0 else "does not reach"
        said.append(
            f"The model needs {base['bits_per_byte']:.3f} bits per byte of unseen text and {word} "
            f"the {_unbroken(name)} model's {strongest:.3f}"
        )
    elif base:
        said.append(f"The model needs {base['bits_per_byte']:.3f} bits per byte of unseen text")
    if chat:
        said.append(
            f"{'its' if said else 'the'} answers to {chat['questions']} new questions reach F1 {chat['f1']:.2f}"
        )
    if not said:
        return "No model was trained, so there is nothing to judge."
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _unbroken(name: str) -> str:
    """`5-gram` with a hyphen at which no line ends."""
    return name.replace("-", "\u2011")


def strongest_baseline(metrics: Metrics) -> tuple[str, float | None]:
    """Name and bits per byte of the best n-gram model; `("", None)` without any."""
    baselines: Mapping[str, float] = metrics.get("baselines") or {}
    if not baselines:
        return "", None
    name = min(baselines, key=lambda n: baselines[n])
    return name, baselines[name]


def _cards(metrics: Metrics) -> str:
    base, chat, speed = (metrics.get(key) for key in ("base", "chat", "speed"))
    shown = []
    name, strongest = strongest_baseline(metrics)
    if base:
        shown.append(card(f"{base['bits_per_byte']:.3f}", "bits per byte, test", main=True))
        if strongest is not None:
            better = strongest - base["bits_per_byte"]
            word = "fewer" if better > 0 else "more"
            shown.append(card(f"{abs(better):.3f}", f"bits per byte {word} than the {_unbroken(name)} model"))
        shown.append(card(f"{base['token_accuracy']:.1%}", "of next tokens right"))
    if chat:
        shown.append(card(f"{chat['f1']:.2f}", "answer F1"))
    if speed:
        shown.append(card(number(round(speed["tokens_per_second"])), "tokens per second, one at a time"))
    return f'<div class="cards">{"".join(shown)}</div>' if shown else ""


def _scoreboard(metrics: Metrics) -> str:
    base, speed = metrics.get("base"), metrics.get("speed")
    bars = [Bar(name, value) for name, value in (metrics.get("baselines") or {}).items()]
    if base:
        bars.append(Bar("this model", base["bits_per_byte"], highlighted=True))
    if not bars:
        return ""
    bars.sort(key=lambda bar: -bar.value)
    tested = metrics.get("test") or {}
    rows: list[tuple[str, str]] = []
    if base:
        rows += [("test loss", f"{base['loss']:.4f} nats per token")]
        rows += [("next token right", f"{base['token_accuracy']:.2%}")]
    rows += [(label, number(tested[key])) for label, key in _TESTED if key in tested]
    if speed:
        rows.append(("parameters", number(speed["parameters"])))
        rows.append(("generation", f"{speed['tokens_per_second']:.1f} tokens/s, batch 1, {speed['threads']} thread(s)"))
        rows.append(("memory while generating", megabytes(speed["peak_memory_bytes"])))
        rows.append(("device", str(speed["device"])))
    return section(
        "scores",
        "Bits per byte of unseen text",
        paragraph(
            "How many bits the model needs to write down one byte of the test documents; less is better. The others "
            "are interpolated Kneser-Ney models of the same tokens, counted on the same training text.",
            "note",
        ),
        bar_chart(bars, title="Bits per byte of the test documents"),
        table(("measure", "value"), rows),
    )


_TESTED = (
    ("test documents", "documents"),
    ("test tokens", "tokens"),
    ("test bytes", "bytes"),
    ("training tokens of the n-gram models", "baseline_tokens"),
)
