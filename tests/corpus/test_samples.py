"""The samples that are shipped, and published data sets, are read without a word of configuration."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.config import load_config
from zen_pipeline.corpus.records import read_records
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect, validate
from zen_pipeline.workspace import Workspace

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
KINDS = {
    "chats.jsonl": "chat",
    "dialogues.json.zst": "chat",
    "diary.tar.gz": "document",
    "documents.jsonl": "document",
    "harbour.en": "translation",
    "letters.txt": "document",
    "letters.zip": "document",
    "notes.md": "document",
    "page.html": "document",
    "pairs.tsv": "translation",
    "poems.jsonl.bz2": "document",
    "preferences.jsonl": "preference",
    "questions.jsonl": "qa",
    "reviews.csv": "classification",
    "squad.json": "qa",
    "sundials.parquet": "document",
    "table.csv": "document",
    "talks.json": "chat",
    "topics.jsonl.gz": "classification",
    "translations.jsonl": "translation",
}
_MIXED = """
    dialogues.json.zst diary.tar.gz documents.jsonl poems.jsonl.bz2 preferences.jsonl reviews.csv squad.json
    sundials.parquet talks.json topics.jsonl.gz
"""
LANGUAGES = {name: {"en", "zh"} for name in _MIXED.split()} | {"translations.jsonl": {"en", "de"}}  # all others: en


def test_every_sample_becomes_records_of_its_kind_and_language_and_nothing_is_set_aside(workspace: Workspace) -> None:
    config, context = load_config(data=[str(SAMPLES)]), StageContext(workspace, "run")
    ref = collect.STAGE.run(config, {}, context)
    records = list(read_records(ref.path / "records.parquet"))
    assert ref.summary["aside"] == 0
    found = {record.source.split("/")[1]: record.kind for record in records}
    assert found == KINDS
    assert {p.name for p in SAMPLES.iterdir()} == set(KINDS) | {"harbour.zh"}
    assert min(Counter(record.kind for record in records).values()) >= 3
    languages = defaultdict(set)
    config = load_config(data=[str(SAMPLES)], overrides=["validate.min_characters=1"])  # Chinese says more in fewer
    for record in read_records(validate.STAGE.run(config, {"collect": ref}, context).path / "records.parquet"):
        languages[record.source.split("/")[1]].add(record.language)
    assert languages == {name: LANGUAGES.get(name, {"en"}) for name in languages}
    assert {"letters.txt", "notes.md", "page.html"} <= languages.keys()  # in these nothing names the language


def test_each_sample_is_read_by_its_own_path() -> None:
    for name in set(KINDS) - {"harbour.en"}:
        read = read_paths(SAMPLES / name)
        assert set(read.kinds) == {KINDS[name]}


@pytest.mark.parametrize(
    ("folder", "file", "kind", "count", "aside"),
    [
        ("squad2-dev", "dev-v2.0.json", "qa", 6078, 0),
        ("xquad", "", "qa", 4 * 1190, 0),
        ("tatoeba-anki", "cmn.txt", "translation", 29_155, 0),
        ("tatoeba-anki", "fra-eng.zip", "translation", 142_787, 0),
        ("gpteacher", "", "chat", 1923, 0),
        ("kdconv", "", "chat", 900, 0),
        ("topical-chat", "", "chat", 1617, 0),
        ("hh-rlhf-harmless-test", "", "preference", 2308, 4),
        ("toxicity-labels", "", "classification", 36_537, 0),
        ("self-instruct-seeds", "seed_tasks.jsonl", "chat", 175, 0),
        ("self-instruct-seeds", "zh_seed_tasks.json", "chat", 175, 0),
    ],
)
def test_published_sets_are_read_by_their_path_alone(
    shared_data: Callable[[str], Path], folder: str, file: str, kind: str, count: int, aside: int
) -> None:
    read = read_paths(shared_data(folder) / file)
    assert set(read.kinds) == {kind}
    assert (len(read.records), len(read.aside)) == (count, aside)
    assert len({record.id for record in read.records}) == count


def test_answers_of_squad_and_xquad_are_where_they_are_said_to_be(shared_data: Callable[[str], Path]) -> None:
    for path in (shared_data("squad2-dev") / "dev-v2.0.json", shared_data("xquad")):
        metas = [json.loads(record.meta) for record in read_paths(path).records]
        assert sum(meta["impossible"] for meta in metas) == (3168 if path.is_file() else 0)
        for meta in metas:
            for answer, start in zip(meta["answers"], meta["answer_starts"], strict=True):
                assert meta["context"].startswith(answer, start)


def test_questions_about_one_context_are_in_one_group(shared_data: Callable[[str], Path]) -> None:
    records = read_paths(shared_data("squad2-dev") / "dev-v2.0.json").records
    contexts = {record.group: json.loads(record.meta)["context"] for record in records}
    assert len(contexts) == len(set(contexts.values()))
    assert all(contexts[record.group] == json.loads(record.meta)["context"] for record in records)
