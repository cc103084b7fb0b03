"""How the language model's and the chat model's evaluations are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.blocks import (
    Bar,
    Bars,
    Block,
    Card,
    Cell,
    Facts,
    Label,
    ModelReport,
    Note,
    Passages,
    Phrase,
    Quote,
    Section,
    Share,
    Table,
    phrase,
)
from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.evaluation.scores import Score, deciding_scores
from zen_pipeline.reporting.formatting import megabytes, number

_MAX_ANSWERS = 12  # before the rest is folded away

Metrics = Mapping[str, Any]


def model_reports(metrics: Metrics, samples: Sequence[Sample], answers: Sequence[Answer]) -> dict[str, ModelReport]:
    """The report of each model that an evaluation measured, by the model's short name.

    Args:
        metrics: the content of metrics.json.
        samples: continuations of test documents.
        answers: the chat model's answers.
    """
    found = {}
    if metrics.get("base"):
        found["base"] = language_report(metrics, samples)
    if metrics.get("chat"):
        found["chat"] = chat_report(metrics, answers)
    return found


# --- the language model -----------------------------------------------------------------------------------------------


def language_report(metrics: Metrics, samples: Sequence[Sample]) -> ModelReport:
    """Bits per byte beside the n-gram models, and continuations beside the truth.

    Args:
        metrics: `base`, and where they were measured `baselines`, `test`, `speed`.
        samples: continuations of test documents.
    """
    base, speed = metrics["base"], metrics.get("speed")
    score = deciding_scores(metrics)["base"]
    cards = [
        score_card(score, "bits per byte, test"),
        Card(f"{base['token_accuracy']:.1%}", "of next tokens right"),
    ]
    if speed:
        cards.append(_speed_card(speed))
    sections = [_bits_section(metrics, score)]
    if samples:
        sections.append(_samples_section(samples))
    return ModelReport(_language_verdict(score), cards, sections)


def _language_verdict(score: Score) -> Phrase:
    said = "The language model needs {value} bits per byte of unseen text."
    if score.beats_baseline is not None:
        said = (
            "The language model needs {value} bits per byte of unseen text and beats the {baseline} model's {other}."
            if score.beats_baseline
            else "The language model needs {value} bits per byte of unseen text and does not reach the {baseline} "
            "model's {other}."
        )
    return Phrase(said, _against(score))


def _bits_section(metrics: Metrics, score: Score) -> Section:
    base, speed, tested = metrics["base"], metrics.get("speed"), metrics.get("test") or {}
    bars = [Bar(name, value) for name, value in (metrics.get("baselines") or {}).items()]
    bars.append(Bar("this model", base["bits_per_byte"], "bad" if score.beats_baseline is False else "good"))
    bars.sort(key=lambda bar: -bar.value)
    rows: list[tuple[Label, Cell]] = [
        ("test loss", phrase("{loss} nats per token", loss=f"{base['loss']:.4f}")),
        ("next token right", f"{base['token_accuracy']:.2%}"),
    ]
    rows += [(label, number(tested[key])) for label, key in _TESTED if key in tested]
    return Section(
        "scores",
        "Bits per byte of unseen text",
        [
            Note(
                "How many bits the model needs to write down one byte of the test documents; less is better. The "
                "others are interpolated Kneser-Ney models of the same tokens, counted on the same training text."
            ),
            Bars("Bits per byte of the test documents", bars),
            Facts([*rows, *(speed_rows(speed) if speed else [])]),
        ],
    )


_TESTED = (
    ("test documents", "documents"),
    ("test tokens", "tokens"),
    ("test bytes", "bytes"),
    ("training tokens of the n-gram models", "baseline_tokens"),
)


def _samples_section(samples: Sequence[Sample]) -> Section:
    note = "The model has read the grey beginning of a test document, and continues it (temperature 0.8, top-p 0.95)."
    shown = [
        Passages(s.prompt, [("the model goes on", s.continuation), ("the document says", s.truth)]) for s in samples
    ]
    return Section("samples", "Samples", [Note(note), *shown])


# --- the chat model ---------------------------------------------------------------------------------------------------


def chat_report(metrics: Metrics, answers: Sequence[Answer]) -> ModelReport:
    """F1 of the answers beside what needs no model, and the answers themselves, good and bad ones.

    Args:
        metrics: `chat`, and `base` where the model it starts from was pretrained on this corpus.
        answers: the answers to the test questions.
    """
    chat = metrics["chat"]
    score = deciding_scores(metrics)["chat"]
    cards = [score_card(score, "answer F1")]
    speed = None if "base" in metrics else metrics.get("speed")
    if speed:
        cards.append(_speed_card(speed))
    blocks: list[Block] = [
        Note(note) for note in _answers_notes(list(chat.get("forms", {})), pretrained="base" in metrics)
    ]
    named = {"this model": chat, **{name.replace("_", " "): s for name, s in chat["baselines"].items()}}
    scores = [(phrase(name), round(s["f1"], 3), round(s["exact_match"], 3)) for name, s in named.items()]
    blocks.append(Table(("", "F1", "exact match"), scores))
    if forms := chat.get("forms"):
        rows = [(n, f["questions"], round(f["f1"], 3), round(f["echo_f1"], 3)) for n, f in forms.items()]
        blocks.append(Table(("kind of question", "questions", "F1", "F1 of the question said again"), rows))
    if speed:
        blocks.append(Facts(speed_rows(speed)))
    if answers:
        quoted = [(Quote(a.question), Quote(a.answer), Quote(a.reference), Share(a.f1)) for a in answers]
        blocks.append(Table(("question", "answer", "reference", "F1"), quoted, stacked=True, shown=_MAX_ANSWERS))
    return ModelReport(_chat_verdict(score, chat["questions"]), cards, [Section("answers", "Answers", blocks)])


def _chat_verdict(score: Score, questions: int) -> Phrase:
    said = "The chat model's answers to {questions} new questions reach F1 {value}."
    if score.beats_baseline is not None:
        said = (
            "The chat model's answers to {questions} new questions reach F1 {value}, above what a fixed answer gets "
            "({other})."
            if score.beats_baseline
            else "The chat model's answers to {questions} new questions reach F1 {value}; a fixed answer gets {other}."
        )
    return Phrase(said, {"questions": questions, **_against(score, 2)})


_ANSWERS_NOTE = (
    "Answers are the likeliest tokens one after the other (greedy), compared with the reference as in SQuAD: words "
    "without case, punctuation and articles. The other rows are what can be had without a model: the answer that is "
    "most frequent in training, and the question itself, said again (echo)."
)
_API_NOTE = "Training never asks about the subjects of the questions on documentation, and holds none of their answers."
_READ_NOTE = "But the documentation that they come from was part of the text that the model was pretrained on."
_CHAT_NOTE = "Questions of the kind chat are dialogues from the test split of the corpus."


def _answers_notes(forms: Sequence[str], *, pretrained: bool) -> list[str]:
    """What the questions are, and what the model may have read of them."""
    api = any(form != "chat" for form in forms)
    return [_API_NOTE] * api + [_READ_NOTE] * (api and pretrained) + [_CHAT_NOTE] * ("chat" in forms) + [_ANSWERS_NOTE]


# --- figures that several tasks have ----------------------------------------------------------------------------------


def score_card(score: Score, label: Label) -> Card:
    """The deciding figure beside its baseline, coloured by which is better."""
    more: Label = ""
    if score.baseline_value is not None:
        more = phrase(
            "{baseline}: {other}", baseline=phrase(unbroken(score.baseline)), other=f"{score.baseline_value:.3f}"
        )
    return Card(
        f"{score.value:.3f}", label, "" if score.beats_baseline is None else "good" if score.beats_baseline else "bad",
        more,
    )  # fmt: skip


def speed_rows(speed: Mapping[str, Any]) -> list[tuple[Label, Cell]]:
    """Size of a model, and what generating costs.

    Args:
        speed: `parameters`, `tokens_per_second`, `threads`, `peak_memory_bytes`, `device`.
    """
    rate = {"rate": f"{speed['tokens_per_second']:.1f}", "threads": speed["threads"]}
    return [
        ("parameters", number(speed["parameters"])),
        ("generation", Phrase("{rate} tokens/s, batch 1, {threads} thread(s)", rate)),
        ("memory while generating", megabytes(speed["peak_memory_bytes"])),
        ("device", str(speed["device"])),
    ]


def _speed_card(speed: Mapping[str, Any]) -> Card:
    return Card(number(round(speed["tokens_per_second"])), "tokens per second, one at a time")


def _against(score: Score, digits: int = 3) -> dict[str, str | int | float | Phrase]:
    found: dict[str, str | int | float | Phrase] = {"value": f"{score.value:.{digits}f}"}
    if score.baseline_value is not None:
        found |= {"baseline": phrase(unbroken(score.baseline)), "other": f"{score.baseline_value:.{digits}f}"}
    return found


def unbroken(name: str | None) -> str:
    """`5-gram` with a hyphen at which no line ends."""
    return (name or "").replace("-", "\u2011")
