"""Judge what the tokenize and embed stages made: the token files, the conversations in tokens, and the vectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.blocks import Phrase, phrase
from zen_pipeline.config import Config
from zen_pipeline.corpus.expectations.findings import Finding
from zen_pipeline.corpus.expectations.judge import Judge
from zen_pipeline.corpus.expectations.suites import TOKEN_SUITES, VECTOR_SUITES
from zen_pipeline.errors import ConfigError
from zen_pipeline.judging.judgement import Outcome, Suites, judged
from zen_pipeline.pipeline.stage import Inputs, StageContext
from zen_pipeline.reporting.data_page import DataReport, data_page

if TYPE_CHECKING:
    import pandas as pd

_MOST_CONVERSATIONS = 20_000  # that are encoded once more to be judged; shares do not need all of them


def judge_tokens(config: Config, inputs: Inputs, ref: ArtifactRef, context: StageContext) -> ArtifactRef:
    """The tokenize artifact with its verdict.

    Raises:
        ValidationFailed: the tokens must not be trained on.
    """

    frames = partial(
        _token_frames, ref, inputs["validate"].path, inputs["resolve"].path if config.finetune.enabled else None
    )
    judge = partial(_judge_frames, phrase("Tokens of {name}", name=config.name), frames, _languages(inputs))
    extra = {"settings.finetune": config.finetune.enabled}
    return judged(ref, config, context, suites=TOKEN_SUITES, judge=judge, what="what tokenize made", extra=extra)


def judge_vectors(config: Config, inputs: Inputs, ref: ArtifactRef, context: StageContext) -> ArtifactRef:
    """The embed artifact with its verdict; as it is where the stage had nothing to do.

    Raises:
        ValidationFailed: the vectors must not be used.
    """
    if ref.skipped:
        return ref
    title, frames = phrase("Vectors of {name}", name=config.name), partial(_vector_frames, ref)
    judge = partial(_judge_frames, title, frames, _languages(inputs))
    return judged(ref, config, context, suites=VECTOR_SUITES, judge=judge, what="what embed made")


Frames = tuple[dict[str, "pd.DataFrame"], list[str]]  # by suite what it judges, and notes


def _token_frames(ref: ArtifactRef, validated: Path, resolved: Path | None) -> Frames:
    """Without the folder of the sizes (`resolved`) conversations are not looked at."""
    from zen_pipeline.corpus.tokens.token_measures import measure_documents, measure_splits
    from zen_pipeline.tasks.supervision import too_short

    records = validated / "records.parquet"
    frames = {
        "tokens": measure_splits(ref.path, records, ref.summary["text"]),
        "token_documents": measure_documents(ref.path),
    }
    if resolved is None:
        return frames, []
    sizes = json.loads((resolved / "resolved.json").read_text())
    context_length = int(sizes["model"]["context_length"])
    found = _conversations(records, ref.path / "tokenizer", context_length)
    if isinstance(found, str):
        return frames, [found]
    note = too_short(found["targets"].tolist(), context_length)
    return {**frames, "conversations": found}, [] if note is None else [note]


def _vector_frames(ref: ArtifactRef) -> Frames:
    from zen_pipeline.embeddings.vector_measures import measure_vectors

    return {"vectors": measure_vectors(ref.path, ref.summary.get("coverage"))}, []


def _conversations(records: Path, tokenizer: Path, context_length: int) -> pd.DataFrame | str:
    """`supervised_tokens` and `targets` of the first conversations that train, by id, or why none are judged."""
    import pandas as pd

    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.chat_markup import chat_format
    from zen_pipeline.tasks.supervision import supervised_tokens

    try:
        chat = chat_format(tokenizer)
    except ConfigError as error:
        return f"conversations were not judged: {error}"
    counted = supervised_tokens(read_records(records, split="train"), chat, context_length)
    rows = list(islice(counted, _MOST_CONVERSATIONS))
    columns = {"supervised_tokens": [count for _, count, _ in rows], "targets": [length for *_, length in rows]}
    return pd.DataFrame(columns, index=[name for name, *_ in rows])


def _languages(inputs: Inputs) -> Mapping[str, int]:
    """How many records the corpus has in each language, for the language of the page."""
    languages: Mapping[str, int] = inputs["validate"].summary.get("languages", {})
    return languages


def _judge_frames(
    title: Phrase, measure: Callable[[], Frames], languages: Mapping[str, int], asked: Judge, suites: Suites
) -> Outcome:
    frames, notes = measure()
    findings: list[Finding] = []
    for name, entries in suites.items():
        if name in frames and len(frames[name]):
            findings += asked.findings(frames[name], entries)
    if notes:  # they name the value to set, which no suite can know
        advice = "; ".join(notes)
        findings = [replace(f, advice=advice) if f.suite == "conversations" else f for f in findings]
    page = data_page(DataReport(title=title, summary={"languages": languages}, findings=findings, notes=notes))
    return Outcome(findings, page, notes=notes)
