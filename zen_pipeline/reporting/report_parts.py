"""The sections of the report below the scoreboard; each is an empty string when it has nothing to show."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape as text
from typing import Any

from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.reporting.charts import Line, Point, line_chart, smoothed, thinned
from zen_pipeline.reporting.markup import (
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
from zen_pipeline.reporting.wording import gettext as _

_MAX_POINTS = 400  # of one curve; a screen has no more
_MAX_ANSWERS = 12  # before the rest is folded away
_MAX_WORDS = 16
_STAGES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
_GLOSSARY = {
    "bits per byte": "how many bits the model needs, on average, to write down one byte of text that it has not seen; "
    "it does not depend on the tokenizer, and less is better",
    "Kneser-Ney n-gram": "a model that only counts which token follows the n − 1 before it; what a neural model must "
    "beat",
    "F1": "how many words an answer shares with the reference, from 0 (none) to 1 (the same words)",
    "exact match": "the share of answers that are equal to the reference but for case and punctuation",
    "loss, nats per token": "the quantity that training makes smaller: minus the natural logarithm of the probability "
    "of the right token",
    "validation": "text that is never trained on and watched during training; the test split is looked at only once",
    "champion, challenger": "the registered version that is used, and one that was not better by more than noise",
    "fingerprint": "a hash of everything that decides a result; the same fingerprint, the same result",
}

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
            found.append(f"<h3>{text(_(_STAGES.get(stage, stage)))}</h3>{chart}{totals}")
    return section("training", _("Training"), *found) if found else ""


def _totals(result: Mapping[str, Any]) -> str:
    """The figures of a training.json."""
    overhead = f"{result['checkpoint_seconds']:.2f}, {result['sample_seconds']:.2f}"
    rows: list[tuple[str, Content]] = [
        (_("steps"), number(result["steps"])),
        (_("tokens"), number(result["tokens"])),
        (_("tokens per second"), number(round(result["tokens_per_second"]))),
        (_("seconds in steps"), number(result["seconds"])),
        (_("seconds for checkpoints, for samples"), overhead),
        (_("model FLOPs"), f"{result['flops']:.3g}"),
    ]
    if result["mfu"] is not None:
        rows.append((_("share of the fastest matrix product measured here (MFU)"), f"{result['mfu']:.1%}"))
    rows.append((_("largest resident memory"), megabytes(result["peak_resident_bytes"])))
    if str(result["device"]).startswith("cuda"):
        rows.append((_("largest memory on the GPU"), megabytes(result["peak_memory_bytes"])))
    energy = _("energy") if result["energy_measured"] else _("energy, estimated")
    rows.append((energy, f"{result['energy_joules'] / 3600:.3g} Wh ({result['energy_source']})"))
    return table((_("measure"), _("value")), rows)


def _loss_chart(stage: str, history: History) -> str:
    losses = _points(history, "loss")
    window = max(1, len(losses) // 50)
    name, style = (_("each step"), "faint") if window > 1 else (_("training"), "main")
    lines = [Line(name, thinned(losses, _MAX_POINTS), style)]
    if window > 1:
        mean = smoothed(losses, window)[window - 1 :]
        lines.append(Line(_("mean of {window} steps", window=window), thinned(mean, _MAX_POINTS), "main"))
    if held_out := _points(history, "validation_loss"):
        lines.append(Line(_("validation"), thinned(held_out, _MAX_POINTS), "second"))
    title = _("Loss: {stage}", stage=_(_STAGES.get(stage, stage)))
    return line_chart(lines, title=title, x_label=_("steps"), y_label=_("loss, nats per token"))


def _points(history: History, key: str) -> list[Point]:
    return [(float(row["step"]), float(row[key])) for row in history if "step" in row and key in row]


def samples(items: Sequence[Sample]) -> str:
    """Continuations beside the truth."""
    if not items:
        return ""
    note = "The model has read the grey beginning of a test document, and continues it (temperature 0.8, top-p 0.95)."
    return section("samples", _("Samples"), paragraph(_(note), "note"), *(_sample(s) for s in items))


def _sample(sample: Sample) -> str:
    prompt = f'<span class="prompt">{text(sample.prompt)}</span>'
    made = f'{prompt}<span class="made">{text(sample.continuation)}</span>'
    sides = ((_("the model goes on"), made), (_("the document says"), f"{prompt}{text(sample.truth)}"))
    columns = "".join(f"<div><h3>{text(title)}</h3><pre>{content}</pre></div>" for title, content in sides)
    return f'<div class="sample"><div class="pair">{columns}</div></div>'


def answers(items: Sequence[Answer], chat: Mapping[str, Any] | None, *, pretrained: bool) -> str:
    """Answers of the chat model, good and bad ones; `pretrained` on this corpus, or given from elsewhere."""
    if not chat:
        return ""
    named = {"this model": chat, **{name.replace("_", " "): s for name, s in chat["baselines"].items()}}
    scores = [(_(name), round(s["f1"], 3), round(s["exact_match"], 3)) for name, s in named.items()]
    rows = [(with_code(a.question), with_code(a.answer), with_code(a.reference), meter(a.f1)) for a in items]
    head = (_("question"), _("answer"), _("reference"), "F1")
    shown = [table(head, rows[:_MAX_ANSWERS], stacked=True)] if rows else []
    if rest := rows[_MAX_ANSWERS:]:
        more = text(_("{count} more", count=len(rest)))
        shown.append(f"<details><summary>{more}</summary>{table(head, rest, stacked=True)}</details>")
    forms = [(n, f["questions"], round(f["f1"], 3), round(f["echo_f1"], 3)) for n, f in chat.get("forms", {}).items()]
    form_head = (_("kind of question"), _("questions"), "F1", _("F1 of the question said again"))
    return section(
        "answers",
        _("Answers"),
        paragraph(_answers_note(list(chat.get("forms", {})), pretrained=pretrained), "note"),
        table(("", "F1", _("exact match")), scores),
        table(form_head, forms) if forms else "",
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
    return "".join(_(note) for note in [*said, _ANSWERS_NOTE])


def released(items: Sequence[Mapping[str, Any]]) -> str:
    """What became of each model: the decision, its reason, and the champion beside it."""
    if not items:
        return ""
    rows = [(f"{r['model']}/{r['version']}", _(str(r["alias"])), str(r["reason"])) for r in items]
    return section("released", _("Release"), table((_("version"), _("is now"), _("why")), rows))


def data(summary: Mapping[str, Any]) -> str:
    """What was kept of the collected records, and why the others were set aside."""
    if not summary:
        return ""
    rows: list[tuple[str, Content]] = [
        (_(label), number(summary[key])) for label, key in _COUNTED if summary.get(key) is not None
    ]
    if "bytes" in summary:
        rows.append((_("text"), megabytes(summary["bytes"])))
    for label, key in _LISTED:
        if counts := summary.get(key):
            rows.append((_(label), ", ".join(f"{name} {number(count)}" for name, count in counts.items())))
    splits = [
        (_(name), found["records"], megabytes(found["bytes"])) for name, found in (summary.get("splits") or {}).items()
    ]
    figures = flattened(summary)
    return section(
        "data",
        _("Data"),
        table((_("measure"), _("value")), rows) if rows else "",
        table((_("split"), _("records"), _("text")), splits) if splits else "",
        _folded(_("all figures"), figures),
    )


_COUNTED = (("records read", "records_in"), ("records kept", "records"), ("records set aside", "set_aside"))
_LISTED = (("set aside because", "reasons"), ("kinds", "kinds"), ("languages", "languages"), ("changed", "changes"),
           ("personal data replaced", "personal"))  # fmt: skip


def _folded(title: str, rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return f"<details><summary>{text(title)}</summary>{table((_('measure'), _('value')), rows)}</details>"


def tokens(summary: Mapping[str, Any]) -> str:
    """What the tokenizer needs for each language, from the summary of the tokenize stage."""
    fertility: Mapping[str, Mapping[str, float | None]] = summary.get("fertility") or {}
    if not fertility:
        return ""
    columns = ("tokens_per_word", "tokens_per_byte", "characters_per_token")
    rows = [[language, *(found[c] for c in columns)] for language, found in fertility.items()]
    note = _(
        "A vocabulary of {size} tokens, measured on text that it was not trained on. A word is a run of letters, in "
        "Chinese one of jieba's dictionary; spaces, marks and numbers count as tokens.",
        size=number(summary["vocab_size"]),
    )
    head = (_("language"), *(_(c.replace("_", " ")) for c in columns))
    return section("tokens", _("Tokens"), paragraph(note, "note"), table(head, rows))


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
        picture = (
            f'<figure><img alt="{text(_("Map of the word vectors"))}" src="data:image/png;base64,{inlined}"></figure>'
        )
    return section(
        "words",
        _("Word vectors"),
        paragraph(_("The nearest words by cosine, for some frequent words of the corpus."), "note"),
        table((_("word"), _("neighbours")), rows) if rows else "",
        picture,
        _folded(_("all figures"), figures),
    )


def starts(summary: Mapping[str, Any]) -> str:
    """What each kind of start vectors is worth to a small model, from the summary of the embedding stage."""
    ablation: Mapping[str, Any] = summary.get("ablation") or {}
    if "starts" not in ablation:
        return ""
    rows = [(_(_STARTS[name]), found["before"], found["after"]) for name, found in ablation["starts"].items()]
    note = _(
        "A model of this run's width with {layers} layers, trained for {steps} steps of {tokens} tokens from each "
        "start with the same seed, order and steps; held-out loss in nats per token. It compares the starts. It is not "
        "this run's model: the longer a model is trained, the less its start counts.",
        layers=ablation["layers"],
        steps=ablation["steps"],
        tokens=number(ablation["tokens_per_step"]),
    )
    after = _("after {steps} steps", steps=ablation["steps"])
    head = (_("token tables start from"), _("before the first step"), after)
    return section("starts", _("Start vectors"), paragraph(note, "note"), table(head, rows))


_STARTS = {"random": "random numbers", "words": "word vectors", "next_token": "next-token vectors"}


def skipped(reasons: Mapping[str, str]) -> str:
    """Stages that had nothing to do, with the reason and what to add."""
    if not reasons:
        return ""
    return section("skipped", _("Skipped"), table((_("stage"), _("why")), list(reasons.items())))


def glossary() -> str:
    """The terms of the page in plain words."""
    rows = [(_(term), _(meaning)) for term, meaning in _GLOSSARY.items()]
    shown = table((_("term"), _("meaning")), rows)
    return section("glossary", _("Glossary"), f"<details><summary>{text(_('terms'))}</summary>{shown}</details>")


def lineage(entries: Sequence[tuple[str, str, str]], settings: Mapping[str, Any]) -> str:
    """What the result was made from, and with which settings."""
    if not entries and not settings:
        return ""
    rows = [(stage, _code(fingerprint[:16]), _code(digest[:16])) for stage, fingerprint, digest in entries]
    note = _("The artifacts that this evaluation was made from: what each was made of, and what it holds.")
    return section(
        "lineage",
        _("Lineage and settings"),
        paragraph(note, "note"),
        table((_("stage"), _("fingerprint"), _("content")), rows),
        _folded(_("all settings"), flattened(settings)),
    )


def _code(content: str) -> Html:
    return Html(f"<code>{text(content)}</code>")
