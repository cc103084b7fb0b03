"""The page of an evaluation or of a whole run, put together from the artifacts of the run.

Each model brings its own part (`zen_pipeline.blocks.ModelReport`: a verdict, cards, sections), which its task makes and
the evaluation keeps in `blocks.json`. What all models share (release, training, data, tokens, vectors, lineage) is read
here from the artifacts, by what they hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, read_manifest
from zen_pipeline.blocks import Label, ModelReport, Page, Phrase, Section, from_json, phrase, to_json
from zen_pipeline.config import Config
from zen_pipeline.files import read_json_lines
from zen_pipeline.machine.facts import profile
from zen_pipeline.masking import masked
from zen_pipeline.reporting import shared_sections as shared
from zen_pipeline.reporting.rendering import render
from zen_pipeline.reporting.wording import page_language

BLOCKS_FILE = "blocks.json"


def write_reports(folder: Path, models: Mapping[str, ModelReport]) -> None:
    """Keep the reports of an evaluation's models in its artifact.

    Args:
        folder: of the artifact that is being made.
        models: by the model's short name; one or several.
    """
    (folder / BLOCKS_FILE).write_text(json.dumps(to_json(models), ensure_ascii=False) + "\n", encoding="utf-8")


def read_reports(folder: Path) -> dict[str, ModelReport]:
    """The reports that an evaluation's artifact keeps, by the model's short name; empty when there are none."""
    reports: dict[str, ModelReport] = from_json(_read_json(folder / BLOCKS_FILE, {}))
    return reports


def evaluation_page(
    config: Config,
    inputs: Mapping[str, ArtifactRef],
    models: Mapping[str, ModelReport],
    released: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as HTML.

    Args:
        config: the whole configuration.
        inputs: artifacts of the stages that the evaluation needs, by the name that the page shows.
        models: each model's part of the page, by the model's short name, in the order shown.
        released: what became of each model, once the release stage has run (`release_section` says the keys).
    """
    records = inputs["validate"].summary
    words = inputs.get("embed")
    settings = {name: _settings(ref) for name, ref in inputs.items() if name != "resolve"}
    measured = {name: value for name, value in config.evaluate.identity().items() if value is not None}
    sections = [
        shared.release_section(released),
        shared.training_section(_trainings(inputs)),
        shared.data_section(records),
        shared.tokens_section(inputs["tokenize"].summary),
        *([] if words is None else _word_sections(words)),
        shared.skipped_section({name: ref.skipped for name, ref in inputs.items() if ref.skipped}),
        shared.glossary_section(),
        shared.lineage_section(
            [(name, ref.fingerprint, ref.digest) for name, ref in inputs.items()],
            {**{k: v for k, v in settings.items() if v}, "evaluate": measured},
        ),
    ]
    page = models_page(config.name, models, sections)
    about = (
        ("Corpus", corpus_names(config)),
        ("Budget", config.budget),
        ("Machine", _machine()),
        ("Date", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"),
    )
    return render(replace(page, about=about, language=page_language(records.get("languages", {}))))


def run_page(config: Config, artifacts: Mapping[str, ArtifactRef], released: Sequence[Mapping[str, Any]]) -> str | None:
    """The page of a whole run: its evaluations and what was released; None when nothing was evaluated.

    Args:
        config: the whole configuration.
        artifacts: of the run, by step.
        released: what became of each model.
    """
    evaluated = [ref for ref in artifacts.values() if ref.stage == "evaluate" and not ref.skipped]
    if not evaluated:
        return None
    models = {name: report for ref in evaluated for name, report in read_reports(ref.path).items()}
    later = {"evaluate", "optimize", "release"}
    inputs = {name: ref for name, ref in artifacts.items() if ref.stage not in later}
    return evaluation_page(config, inputs, models, released)


def _word_sections(words: ArtifactRef) -> list[Section]:
    neighbours = _read_json(words.path / "neighbours.json", {})
    return [
        shared.words_section(words.summary, neighbours, _read_json(words.path / "map.json", [])),
    ]


def models_page(name: str, models: Mapping[str, ModelReport], sections: Sequence[Section] = ()) -> Page:
    """Verdicts, cards and sections of several models on one page, and below them what they share.

    Args:
        name: of the pipeline.
        models: by the model's short name, in the order shown.
        sections: the shared ones; a release stands before the models' own sections.
    """
    several = len(models) > 1
    own = [
        replace(section, name=f"{model}-{section.name}", of=model if several else "")
        for model, report in models.items()
        for section in report.sections
    ]
    released = [section for section in sections if section.name == "released"]
    verdict: list[Label] = [report.verdict for report in models.values()]
    cards = [
        replace(card, label=phrase("{model}: {label}", model=model, label=_as_phrase(card.label))) if several else card
        for model, report in models.items()
        for card in report.cards
    ]
    return Page(
        title=name,
        verdict=verdict or [phrase("No model was trained, so there is nothing to judge.")],
        cards=cards,
        sections=[*released, *own, *(section for section in sections if section not in released)],
    )


def _as_phrase(label: Label) -> Phrase:
    return label if isinstance(label, Phrase) else Phrase(label)


def corpus_names(config: Config) -> str:
    """The configured sources as people name them: files by their own names, without the folders around them."""
    names = []
    for source in config.collect.sources:
        paths = getattr(source, "paths", None) or [str(source.type).replace("_", " ")]
        names += [Path(masked(path)).name or masked(path) for path in paths]
    return ", ".join(names)


def _trainings(inputs: Mapping[str, ArtifactRef]) -> dict[str, tuple[list[dict[str, float]], dict[str, Any]]]:
    """Logged steps and totals of every artifact that holds a training."""
    return {
        name: (read_json_lines(history), _read_json(ref.path / "training.json", {}))
        for name, ref in inputs.items()
        if (history := ref.path / "history.jsonl").is_file()
    }


def _machine() -> str:
    found = profile()
    return ", ".join([*found.gpus, f"{found.cpu} ({found.cores} cores)", f"{found.memory_gib} GiB"])


def _settings(ref: ArtifactRef) -> dict[str, Any]:
    """The settings that an artifact was really made with, from its manifest."""
    parts = read_manifest(ref.path).parts
    return {key.removeprefix("settings."): value for key, value in parts.items() if key.startswith("settings.")}


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
