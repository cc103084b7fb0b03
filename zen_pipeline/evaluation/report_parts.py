"""The sections of the report below the scoreboard; each is an empty string when it has nothing to show."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape as text
from typing import Any

from zen_pipeline.evaluation.charts import Line, Point, line_chart, smoothed, thinned
from zen_pipeline.evaluation.markup import (
    Content,
    Html,
    flattened,
    megabytes,
    meter,
    number,
    paragraph,
    section,
    table,
    with_code,
)
from zen_pipeline.evaluation.results import Answer, Sample

__all__ = [
    "answers",
    "data",
    "lineage",
    "navigation",
    "samples",
    "skipped",
    "starts",
    "text",
    "tokens",
    "training",
    "words",
]

_MAX_POINTS = 400  # of one curve; a screen has no more
_MAX_ANSWERS = 12  # before the rest is folded away
_MAX_WORDS = 16
_STAGES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}

History = Sequence[Mapping[str, float]]


def navigation(sections: Sequence[str]) -> str:
    """Links to the sections."""
    heads = [re.match(r'<section id="([^"]+)"><h2>([^<]+)</h2>', html) for html in sections]
    links = "".join(f'<a href="#{head[1]}">{head[2]}</a>' for head in heads if head)
    return f"<nav>{links}</nav>" if links else ""


def training(histories: Mapping[str, History], trainings: Mapping[str, Mapping[str, Any]]) -> str:
    """Loss curve of every training stage, and what the training took."""
    found = []
    for stage, history in histories.items():
        if chart := _loss_chart(stage, history):
            totals = _totals(trainings[stage]) if trainings.get(stage) else ""
            found.append(f"<h3>{text(_STAGES.get(stage, stage))}</h3>{chart}{totals}")
    return section("training", "Training", *found) if found else ""


def _totals(result: Mapping[str, Any]) -> str:
    """The figures of a training.json."""
    rows: list[tuple[str, Content]] = [
        ("steps", number(result["steps"])),
        ("tokens", number(result["tokens"])),
        ("tokens per second", number(round(result["tokens_per_second"]))),
        ("seconds in steps", number(result["seconds"])),
        ("seconds for checkpoints, for samples", f"{result['checkpoint_seconds']:.2f}, {result['sample_seconds']:.2f}"),
        ("model FLOPs", f"{result['flops']:.3g}"),
    ]
    if result["mfu"] is not None:
        rows.append(("model FLOPs utilization, of the matrix product that was measured here", f"{result['mfu']:.1%}"))
    rows.append(("largest resident memory", megabytes(result["peak_resident_bytes"])))
    if str(result["device"]).startswith("cuda"):
        rows.append(("largest memory on the GPU", megabytes(result["peak_memory_bytes"])))
    rows.append(
        ("energy" if result["energy_measured"] else "energy, estimated", f"{result['energy_joules'] / 3600:.3g} Wh")
    )
    rows.append(("energy: where from", result["energy_source"]))
    return table(("measure", "value"), rows)


def _loss_chart(stage: str, history: History) -> str:
    losses = _points(history, "loss")
    window = max(1, len(losses) // 50)
    lines = [
        Line("each step" if window > 1 else "training", thinned(losses, _MAX_POINTS), "faint" if window > 1 else "main")
    ]
    if window > 1:
        mean = smoothed(losses, window)[window - 1 :]
        lines.append(Line(f"mean of {window} steps", thinned(mean, _MAX_POINTS), "main"))
    if held_out := _points(history, "validation_loss"):
        lines.append(Line("validation", thinned(held_out, _MAX_POINTS), "second"))
    title = f"Loss during {_STAGES.get(stage, stage).lower()}"
    return line_chart(lines, title=title, x_label="steps", y_label="loss, nats per token")


def _points(history: History, key: str) -> list[Point]:
    return [(float(row["step"]), float(row[key])) for row in history if "step" in row and key in row]


def samples(items: Sequence[Sample]) -> str:
    """Continuations beside the truth."""
    if not items:
        return ""
    blocks = [
        '<div class="sample"><div class="pair">'
        f'<div><h3>the model goes on</h3><pre><span class="prompt">{text(s.prompt)}</span>'
        f'<span class="made">{text(s.continuation)}</span></pre></div>'
        f'<div><h3>the document says</h3><pre><span class="prompt">{text(s.prompt)}</span>{text(s.truth)}</pre></div>'
        "</div></div>"
        for s in items
    ]
    note = "The model has read the grey beginning of a test document, and continues it (temperature 0.8, top-p 0.95)."
    return section("samples", "Samples", paragraph(note, "note"), *blocks)


def answers(items: Sequence[Answer], chat: Mapping[str, Any] | None, *, pretrained: bool) -> str:
    """Answers of the chat model, good and bad ones; `pretrained` on this corpus, or given from elsewhere."""
    if not chat:
        return ""
    named = {"this model": chat, **{name.replace("_", " "): s for name, s in chat["baselines"].items()}}
    scores = [(name, round(s["f1"], 3), round(s["exact_match"], 3)) for name, s in named.items()]
    rows = [(with_code(a.question), with_code(a.answer), with_code(a.reference), meter(a.f1)) for a in items]
    head = ("question", "answer", "reference", "F1")
    shown = [table(head, rows[:_MAX_ANSWERS], stacked=True)] if rows else []
    if rest := rows[_MAX_ANSWERS:]:
        shown.append(f"<details><summary>{len(rest)} more</summary>{table(head, rest, stacked=True)}</details>")
    forms = [(n, f["questions"], round(f["f1"], 3), round(f["echo_f1"], 3)) for n, f in chat.get("forms", {}).items()]
    return section(
        "answers",
        "Answers",
        paragraph(_answers_note(list(chat.get("forms", {})), pretrained=pretrained), "note"),
        table(("", "F1", "exact match"), scores),
        table(("kind of question", "questions", "F1", "echo F1"), forms) if forms else "",
        *shown,
    )


_ANSWERS_NOTE = (
    "Answers are the likeliest tokens one after the other (greedy), compared with the reference as in SQuAD: words "
    "without case, punctuation and articles. The other rows are what can be had without a model: the answer that is "
    "most frequent in training, and the question itself, said again (echo)."
)
_API_NOTE = (
    "Training never asks about the subjects of the questions on documentation, and holds none of their answers. "
)
_READ_NOTE = "But the documentation that they come from was part of the text that the model was pretrained on. "
_CHAT_NOTE = "Questions of the kind chat are dialogues from the test split of the corpus. "


def _answers_note(forms: Sequence[str], *, pretrained: bool) -> str:
    """What the questions are, and what the model may have read of them."""
    api = any(form != "chat" for form in forms)
    said = [_API_NOTE] * api + [_READ_NOTE] * (api and pretrained) + [_CHAT_NOTE] * ("chat" in forms)
    return "".join(said) + _ANSWERS_NOTE


def data(summary: Mapping[str, Any]) -> str:
    """What the validation stage reported."""
    rows = flattened(summary)
    if not rows:
        return ""
    note = "What was kept of the collected records; the whole report is validation.html of the validate artifact."
    return section("data", "Data", paragraph(note, "note"), table(("measure", "value"), rows))


def tokens(summary: Mapping[str, Any]) -> str:
    """What the tokenizer needs for each language, from the summary of the tokenize stage."""
    fertility: Mapping[str, Mapping[str, float | None]] = summary.get("fertility") or {}
    if not fertility:
        return ""
    columns = ("tokens_per_word", "tokens_per_byte", "characters_per_token")
    rows = [[language, *(found[c] for c in columns)] for language, found in fertility.items()]
    note = (
        f"Byte-level BPE with {summary['vocab_size']:,} ids, measured on text that it was not trained on. "
        "A word is a run of letters, in Chinese one of jieba's dictionary; spaces, marks and numbers count as tokens."
    )
    head = ("language", *(c.replace("_", " ") for c in columns))
    return section("tokens", "Tokens", paragraph(note, "note"), table(head, rows))


def words(summary: Mapping[str, Any], neighbours: Mapping[str, Sequence[tuple[str, float]]], png: bytes | None) -> str:
    """Neighbours and picture of the word vectors."""
    if not neighbours and png is None:
        return ""
    rows = [
        (Html(f'<span class="word">{text(word)}</span>'), ", ".join(f"{n} {c:.2f}" for n, c in list(near)[:6]))
        for word, near in list(neighbours.items())[:_MAX_WORDS]
    ]
    figures = [(k, v) for k, v in flattened(summary) if not k.startswith(("neighbours.", "ablation."))]
    picture = ""
    if png is not None:
        inlined = base64.b64encode(png).decode("ascii")
        picture = f'<figure><img alt="Map of the word vectors" src="data:image/png;base64,{inlined}"></figure>'
    return section(
        "words",
        "Word vectors",
        paragraph("The nearest words by cosine, for some frequent words of the corpus.", "note"),
        table(("word", "neighbours"), rows) if rows else "",
        picture,
        f"<details><summary>figures</summary>{table(('measure', 'value'), figures)}</details>" if figures else "",
    )


def starts(summary: Mapping[str, Any]) -> str:
    """What each kind of start vectors is worth to a small model, from the summary of the embedding stage."""
    ablation: Mapping[str, Any] = summary.get("ablation") or {}
    if "starts" not in ablation:
        return ""
    rows = [(_STARTS[name], found["before"], found["after"]) for name, found in ablation["starts"].items()]
    note = (
        f"A model of this run's width with {ablation['layers']} layers, trained for {ablation['steps']} steps of "
        f"{ablation['tokens_per_step']:,} tokens from each start with the same seed, order and steps; held-out loss in "
        "nats per token. It compares the starts. It is not this run's model: the longer a model is trained, the less "
        "its start counts."
    )
    head = ("token tables start from", "before the first step", f"after {ablation['steps']} steps")
    return section("starts", "Start vectors", paragraph(note, "note"), table(head, rows))


_STARTS = {"random": "random numbers", "words": "word vectors", "next_token": "next-token vectors"}


def skipped(reasons: Mapping[str, str]) -> str:
    """Stages that had nothing to do, with the reason and what to add."""
    if not reasons:
        return ""
    return section("skipped", "Skipped", table(("stage", "reason"), list(reasons.items())))


def lineage(entries: Sequence[tuple[str, str, str]], settings: Mapping[str, Any]) -> str:
    """What the result was made from, and with which settings."""
    rows = [(stage, _code(fingerprint[:16]), _code(digest[:16])) for stage, fingerprint, digest in entries]
    pairs = flattened(settings)
    return section(
        "lineage",
        "Lineage and settings",
        paragraph(
            "The artifacts that this evaluation was made from: what each was made of, and what it holds.", "note"
        ),
        table(("stage", "fingerprint", "content"), rows),
        f"<details><summary>all settings</summary>{table(('setting', 'value'), pairs)}</details>" if pairs else "",
    )


def _code(content: str) -> Html:
    return Html(f"<code>{text(content)}</code>")
