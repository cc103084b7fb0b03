"""Sections that a page has once for all its models: release, training, data, tokens, word vectors, lineage, terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.blocks import (
    Amount,
    Block,
    Cell,
    Code,
    Curve,
    Curves,
    Facts,
    Label,
    Note,
    Phrase,
    Point,
    Quote,
    Scatter,
    Section,
    Status,
    Table,
    phrase,
)
from zen_pipeline.reporting.charts import smoothed
from zen_pipeline.reporting.formatting import flattened, megabytes, number

_MAX_WORDS = 16
_STAGES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}

History = Sequence[Mapping[str, float]]


# --- release ----------------------------------------------------------------------------------------------------------


def release_section(released: Sequence[Mapping[str, Any]]) -> Section:
    """Each model's version: what it became, why, and the champion's figure where the two were compared.

    Args:
        released: what the release stage says of each model: `model`, `version`, `alias`, `reason`, and `compared`
            (`measure`, `candidate`, `champion`, `version`: the champion's) or None.
    """
    rows: list[list[Cell]] = []
    for item in released:
        compared = item.get("compared") or {}
        champion = item["alias"] == "champion"
        figures: list[Cell] = [None, None, None]
        if compared:
            figures = [
                compared["measure"],
                Amount(f"{compared['candidate']:.4f}"),
                Amount(f"{compared['champion']:.4f} ({item['model']}/{compared['version']})"),
            ]
        became = Status(str(item["alias"]), "good" if champion else "aside")
        rows.append([f"{item['model']}/{item['version']}", became, *figures, Quote(str(item["reason"]))])
    head: list[Label] = ["version", "is now", "measure", "this version", "champion before", "why"]
    if not any(item.get("compared") for item in released):
        head, rows = [*head[:2], head[5]], [[*row[:2], row[5]] for row in rows]
    return Section("released", "Release", [Table(head, rows, stacked=True)] if rows else [])


# --- training ---------------------------------------------------------------------------------------------------------


def training_section(trainings: Mapping[str, tuple[History, Mapping[str, Any]]]) -> Section:
    """Loss curve of every training, and what the training took.

    Args:
        trainings: logged steps, and the content of training.json, by the name of the stage.
    """
    shown: list[Block] = []
    for name, (history, totals) in trainings.items():
        if len(_points(history, "loss")) < 2:
            continue
        shown.append(_loss_curves(_training_title(name), history))
        if totals:
            shown.append(_totals(totals))
    return Section("training", "Training", shown)


def _training_title(step: str) -> Phrase:
    """`Pretraining (base)` of the step `pretrain-base`."""
    stage, _, model = step.partition("-")
    return phrase("{stage} ({model})", stage=phrase(_STAGES.get(stage, stage)), model=model)


def _loss_curves(title: Phrase, history: History) -> Curves:
    losses = _points(history, "loss")
    window = max(1, len(losses) // 50)
    curves = [Curve("training", losses)]
    if window > 1:
        mean = smoothed(losses, window)[window - 1 :]
        curves = [
            Curve("each step", losses, "faint"),
            Curve(phrase("mean of {window} steps", window=window), mean),
        ]
    if held_out := _points(history, "validation_loss"):
        curves.append(Curve("validation", held_out, "second"))
    return Curves(phrase("Loss: {stage}", stage=title), curves, x="steps", y="loss, nats per token")


def _points(history: History, key: str) -> list[Point]:
    return [(float(row["step"]), float(row[key])) for row in history if "step" in row and key in row]


def _totals(result: Mapping[str, Any]) -> Facts:
    """The figures of a training.json."""
    rows: list[tuple[Label, Cell]] = [
        ("steps", number(result["steps"])),
        ("tokens", number(result["tokens"])),
        ("tokens per second", number(round(result["tokens_per_second"]))),
        ("seconds in steps", number(result["seconds"])),
        ("seconds for checkpoints, for samples", f"{result['checkpoint_seconds']:.2f}, {result['sample_seconds']:.2f}"),
        ("model FLOPs", f"{result['flops']:.3g}"),
    ]
    if result["mfu"] is not None:
        rows.append(("share of the fastest matrix product measured here (MFU)", f"{result['mfu']:.1%}"))
    if result["peak_resident_bytes"] is not None:
        rows.append(("largest resident memory", megabytes(result["peak_resident_bytes"])))
    if str(result["device"]).startswith("cuda"):
        rows.append(("largest memory on the GPU", megabytes(result["peak_memory_bytes"])))
    energy = "energy" if result["energy_measured"] else "energy, estimated"
    rows.append((energy, f"{result['energy_joules'] / 3600:.3g} Wh ({result['energy_source']})"))
    return Facts(rows)


# --- data and tokens --------------------------------------------------------------------------------------------------

_COUNTED = (("records read", "records_in"), ("records kept", "records"), ("records set aside", "set_aside"))
_LISTED = (("set aside because", "reasons"), ("kinds", "kinds"), ("languages", "languages"), ("changed", "changes"),
           ("personal data replaced", "personal"))  # fmt: skip


def data_section(summary: Mapping[str, Any]) -> Section:
    """What was kept of the collected records, and why the others were set aside: the summary of the validation."""
    rows: list[tuple[Label, Cell]] = [
        (label, number(summary[key])) for label, key in _COUNTED if summary.get(key) is not None
    ]
    if "bytes" in summary:
        rows.append(("text", megabytes(summary["bytes"])))
    for label, key in _LISTED:
        if counts := summary.get(key):
            rows.append((label, ", ".join(f"{name} {number(count)}" for name, count in counts.items())))
    splits = [
        (phrase(name), found["records"], Amount(megabytes(found["bytes"])))
        for name, found in (summary.get("splits") or {}).items()
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Facts(rows))
    if splits:
        blocks.append(Table(("split", "records", "text"), splits))
    return Section("data", "Data", [*blocks, *all_figures(summary)])


def tokens_section(summary: Mapping[str, Any]) -> Section:
    """What the tokenizer needs for each language, from the summary of the tokenize stage."""
    fertility: Mapping[str, Mapping[str, float | None]] = summary.get("fertility") or {}
    if not fertility:
        return Section("tokens", "Tokens", [])
    columns = ("tokens_per_word", "tokens_per_byte", "characters_per_token")
    rows = [[language, *(found[c] for c in columns)] for language, found in fertility.items()]
    note = phrase(
        "A vocabulary of {size} tokens, measured on text that it was not trained on. A word is a run of letters, in "
        "Chinese one of jieba's dictionary; spaces, marks and numbers count as tokens.",
        size=number(summary["vocab_size"]),
    )
    head = ("language", *(c.replace("_", " ") for c in columns))
    return Section("tokens", "Tokens", [Note(note), Table(head, rows)])


# --- word vectors -----------------------------------------------------------------------------------------------------


def words_section(
    summary: Mapping[str, Any],
    neighbours: Mapping[str, Sequence[tuple[str, float]]],
    word_map: Sequence[Mapping[str, Any]],
) -> Section:
    """Neighbours and map of the word vectors.

    Args:
        summary: of the embedding stage.
        neighbours: nearest words of some words, with their cosines.
        word_map: `word`, `x` and `y` (0 … 1) of each word on the map, the most frequent first.
    """
    blocks: list[Block] = []
    if neighbours:
        rows = [
            (word, ", ".join(f"{n} {c:.2f}" for n, c in list(near)[:6]))
            for word, near in list(neighbours.items())[:_MAX_WORDS]
        ]
        blocks += [
            Note("The nearest words by cosine, for some frequent words of the corpus."),
            Table(("word", "neighbours"), rows),
        ]
    if word_map:
        blocks.append(Scatter("Map of the word vectors", [(e["word"], e["x"], e["y"]) for e in word_map]))
    if blocks:
        blocks += all_figures({k: v for k, v in summary.items() if k != "neighbours"})
    return Section("words", "Word vectors", blocks)


# --- what it was made from --------------------------------------------------------------------------------------------


def skipped_section(reasons: Mapping[str, str]) -> Section:
    """Stages that had nothing to do, with the reason and what to add."""
    return Section("skipped", "Skipped", [Table(("stage", "why"), list(reasons.items()))] if reasons else [])


def lineage_section(entries: Sequence[tuple[str, str, str]], settings: Mapping[str, Any]) -> Section:
    """What the result was made from, and with which settings.

    Args:
        entries: (stage, fingerprint, digest of the content) of each artifact.
        settings: of each stage, by its name.
    """
    blocks: list[Block] = []
    if entries:
        rows = [(stage, Code(fingerprint[:16]), Code(digest[:16])) for stage, fingerprint, digest in entries]
        blocks += [
            Note("The artifacts that this evaluation was made from: what each was made of, and what it holds."),
            Table(("stage", "fingerprint", "content"), rows),
        ]
    return Section("lineage", "Lineage and settings", [*blocks, *all_figures(settings, "all settings")])


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


def glossary_section() -> Section:
    """The terms of the page in plain words."""
    return Section(
        "glossary", "Glossary", [Facts([(term, phrase(said)) for term, said in _GLOSSARY.items()], folded="terms")]
    )


def all_figures(values: Mapping[str, Any], title: str = "all figures") -> list[Block]:
    """Nested figures under dotted names, folded away; nothing when there are none."""
    rows = flattened(values)
    return [Table(("name", "value"), rows, folded=title)] if rows else []
