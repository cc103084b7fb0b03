"""Verdicts: asked for on every run, kept apart from what they judge, and followed by every part of the pipeline."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selectolax.lexbor import LexborHTMLParser

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config, load_config
from zen_pipeline.corpus.cleaning.personal_eval import evaluate
from zen_pipeline.corpus.records import Kind, Record, aside_writer, read_columns, read_records, record_writer
from zen_pipeline.errors import ConfigError, ValidationFailed
from zen_pipeline.judging.judge_tensors import judge_tokens, judge_vectors
from zen_pipeline.judging.judgement import JUDGEMENT
from zen_pipeline.pipeline.garbage import collect_garbage
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.pipeline.verdicts import stored_refusal
from zen_pipeline.serving.bundle import lineage_of
from zen_pipeline.stages import tokenize, validate
from zen_pipeline.tracking import MlflowTracker, mlflow_client
from zen_pipeline.workspace import RunRecord, StageRecord, Workspace

_WORDS = """
    the of and to in that it is was he for on are with as his they be at one have this from or had by
"""
WORDS = _WORDS.split()


def prose(seed: int, words: int = 80, vocabulary: list[str] = WORDS) -> str:
    picked = np.random.default_rng(seed).choice(vocabulary, size=words)
    return " ".join(str(w) for w in picked) + f" number {seed}"


def document(number: int, text: str | None = None, **fields: Any) -> Record:
    held = {"source": "notes/a.txt", "language": "en", **fields}
    return Record(id=f"d{number}", group=f"g{number}", text=text or prose(number), **held)


def of_kind(kind: Kind, number: int, **meta: Any) -> Record:
    text = f"{kind} {prose(number + 1000)}"
    return Record(f"{kind}{number}", f"{kind}{number}", text, "pairs.jsonl", "en", kind=kind, meta=json.dumps(meta))


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace=workspace, run_id="test")


def collected(context: StageContext, records: list[Record]) -> ArtifactRef:
    def build(output: Path) -> Built:
        with record_writer(output / "records.parquet") as writer, aside_writer(output / "aside.parquet"):
            for record in records:
                writer.write(record)
        return Built("records")

    parts = {"texts": [r.text + r.meta for r in records]}
    return context.store.get_or_build(Identity("collect", parts), build, inputs={}, run_id="test")


def config_for(suites: Path | None = None) -> Config:
    return load_config(overrides=(f"validate.suites={suites}",) if suites else ())


def run(config: Config, context: StageContext, records: list[Record]) -> ArtifactRef:
    return validate.STAGE.run(config, {"collect": collected(context, records)}, context)


def suite(folder: Path, name: str, *entries: tuple[str, dict[str, Any], str]) -> Path:
    folder.mkdir(exist_ok=True)
    made = [{"type": t, "kwargs": k, "meta": {"action": a, "advice": "mend it"}} for t, k, a in entries]
    (folder / f"{name}.json").write_text(json.dumps({"name": name, "expectations": made}))
    return folder


def limit(action: str, **limits: float) -> tuple[str, dict[str, Any], str]:
    return ("expect_column_values_to_be_between", {"column": "words", **limits}, action)


def stored(context: StageContext, stage: str) -> list[Path]:
    return sorted((context.workspace.home / "store" / stage).glob("[!.]*"))


def tokens_fingerprint(config: Config, context: StageContext, ref: ArtifactRef) -> str:
    upstream = {"validate": ref.fingerprint, "resolve": "sizes"}
    return tokenize.STAGE.identity(config, upstream, context.workspace).fingerprint


# --- lineage, not identity --------------------------------------------------------------------------------------------


def test_a_changed_warning_judges_again_and_makes_nothing_again(tmp_path: Path, context: StageContext) -> None:
    records = [document(n) for n in range(30)]
    folder = suite(tmp_path / "suites", "records", limit("warn", max_value=10_000))
    config = config_for(folder)
    first = run(config, context, records)
    suite(folder, "records", limit("warn", max_value=10))
    second = run(config, context, records)
    assert second.cached
    assert second.fingerprint == first.fingerprint
    assert tokens_fingerprint(config, context, second) == tokens_fingerprint(config, context, first)
    assert (first.summary["judgement"]["warnings"], second.summary["judgement"]["warnings"]) == (
        first.summary["judgement"]["warnings"],
        first.summary["judgement"]["warnings"] + 1,
    )
    assert len(stored(context, "judgement")) == 2


def test_a_changed_limit_that_sets_aside_makes_other_data(tmp_path: Path, context: StageContext) -> None:
    records = [document(n) for n in range(30)]
    folder = suite(tmp_path / "suites", "records", limit("set_aside", max_value=10_000))
    first = run(config_for(folder), context, records)
    suite(folder, "records", limit("set_aside", max_value=9_000))
    second = run(config_for(folder), context, records)
    assert second.fingerprint != first.fingerprint
    assert tokens_fingerprint(config_for(folder), context, second) != tokens_fingerprint(
        config_for(folder), context, first
    )


def test_the_same_question_is_asked_once(context: StageContext, caplog: pytest.LogCaptureFixture) -> None:
    records = [document(n) for n in range(30)]
    with caplog.at_level(logging.INFO, "zen_pipeline"):
        first = run(config_for(), context, records)
        assert [m for m in caplog.messages if "Great Expectations was waited for" in m]
        caplog.clear()
        second = run(config_for(), context, records)
    assert second.summary == first.summary
    assert not [m for m in caplog.messages if "Great Expectations was waited for" in m]
    assert [m for m in caplog.messages if "little text" in m], "the warnings are said again"


def test_stop_stops_on_every_run_also_where_all_is_stored(tmp_path: Path, context: StageContext) -> None:
    records = [document(n) for n in range(30)]
    run(config_for(), context, records)
    config = config_for(suite(tmp_path / "suites", "records", limit("stop", max_value=10)))
    for _ in range(2):
        with pytest.raises(ValidationFailed, match=r"found 30 of 30 do not .*Mend it") as caught:
            run(config, context, records)
        assert caught.value.exit_code == 3
        assert caught.value.report is not None
        assert "Refused" in caught.value.report.read_text()
    assert len(stored(context, "validate")) == 1, "the data itself was made once"
    assert run(config_for(), context, records).cached


def test_a_stored_verdict_that_refuses_is_known_without_judging_again(context: StageContext) -> None:
    def judged(name: str, refusal: str) -> str:
        ref = context.store.get_or_build(
            Identity("tokenize", {"x": name}), lambda _: Built("tokens"), inputs={}, run_id="test"
        )
        verdict = Built(JUDGEMENT, {"refusal": refusal})
        context.store.get_or_build(
            Identity(JUDGEMENT, {"x": name}), lambda _: verdict, inputs={"tokenize": ref}, run_id="test"
        )
        return ref.fingerprint

    refused, accepted = judged("a", "too long: set pretrain.model.context_length=512\nand more"), judged("b", "")
    found = stored_refusal(context.store, "tokenize", refused)
    assert found == "too long: set pretrain.model.context_length=512"
    assert stored_refusal(context.store, "tokenize", accepted) is None
    assert stored_refusal(context.store, "tokenize", "0" * 64) is None


def test_verdicts_stay_as_long_as_what_they_judge(context: StageContext, workspace: Workspace) -> None:
    old, new = ([document(n) for n in range(start, start + 30)] for start in (0, 100))
    first, second = run(config_for(), context, old), run(config_for(), context, new)
    keep = StageRecord(name="validate", status="ran", seconds=1, fingerprint=second.fingerprint)
    workspace.save_run(RunRecord(run_id="r", pipeline="zen", started="2026", status="completed", stages=[keep]))
    collect_garbage(workspace, keep_runs=1)
    assert stored(context, "validate") == [second.path]
    assert not Path(first.summary["judgement"]["report"]).exists()
    assert Path(second.summary["judgement"]["report"]).exists()


def test_the_verdict_is_linked_from_mlflow_and_from_what_is_released(
    context: StageContext, workspace: Workspace, empty_database: Path
) -> None:
    workspace.mlflow_folder.mkdir()
    (workspace.mlflow_folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    client = mlflow_client(workspace.mlflow_folder)
    tracked = replace(context, tracker=MlflowTracker(client, experiment="zen", run_name="r", tags={}))
    ref = run(config_for(), tracked, [document(n) for n in range(30)])
    (found,) = client.search_runs([client.get_experiment_by_name("zen").experiment_id], "tags.`zen.stage` = 'validate'")
    report = Path(ref.summary["judgement"]["report"])
    assert found.data.tags["zen.validation"] == str(report.parent)
    assert found.data.tags["zen.verdict"] == ref.summary["judgement"]["verdict"] == "accepted, with warnings"
    assert [a.path for a in client.list_artifacts(found.info.run_id)] == ["validation.html"]
    judgement = lineage_of({"validate": ref}, context.store)["validate"]["judgement"]
    assert (judgement["report"], judgement["run"]) == (str(report), "test")


# --- records set aside ------------------------------------------------------------------------------------------------

CHAT = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
BAD = [
    of_kind("chat", 1, messages=[{"role": "user", "content": "hello"}]),
    of_kind("preference", 1, prompt=[], chosen="Same", rejected="same"),
    of_kind("translation", 1, source="a", target="much longer than nine times", source_language="en"),
    of_kind("translation", 2, source="The same", target="the same"),
    of_kind("qa", 1, question="what?", context="a text", answers=["not there"], answer_starts=[0]),
    of_kind("qa", 2, question="what?", context="a text", answers=["text"], answer_starts=[3]),
]
GOOD = [
    of_kind("chat", 0, **CHAT),
    of_kind("preference", 0, prompt=[], chosen="a good answer", rejected="a bad one"),
    of_kind("translation", 0, source="good day", target="你好", source_language="en", target_language="zh"),
    of_kind("qa", 0, question="what?", context="a text", answers=["text"], answer_starts=[2], impossible=False),
    of_kind("qa", 3, question="what?", context="a text", answers=[], answer_starts=[], impossible=True),
    of_kind("classification", 0, text="some words", label="a"),
    of_kind("classification", 1, text="other words", label="b"),
]


def test_shipped_suites_set_bad_records_of_every_kind_aside_and_count_them(context: StageContext) -> None:
    records = [*(document(n) for n in range(20)), *GOOD, *BAD]
    ref = run(config_for(), context, records)
    kept = {r.id for r in read_records(ref.path / "records.parquet")}
    columns = read_columns(ref.path / "set_aside.parquet", "id", "reason")
    aside = dict(pair for group in columns for pair in zip(*group, strict=True))
    assert kept | set(aside) == {r.id for r in records}
    assert not kept & set(aside)
    assert set(aside) == {r.id for r in BAD}
    assert aside["qa1"] == "expect_column_values_to_be_in_set on qa.answer_in_context (value set [1])"
    assert aside["translation1"] == "expect_column_values_to_be_between on translation.length_ratio (max 9)"
    assert (ref.summary["records_in"], ref.summary["records"], ref.summary["set_aside"]) == (33, 27, 6)
    held = json.loads((Path(ref.summary["judgement"]["report"]).parent / "validation.json").read_text())
    counted = {f["column"]: f["observed"] for f in held["expectations"] if f["suite"] == "qa"}
    assert counted["qa.answer_in_context"] == "1 of 4 do not (25.00%)"


def test_only_suites_of_kinds_that_are_there_judge(context: StageContext) -> None:
    ref = run(config_for(), context, [document(n) for n in range(20)])
    held = json.loads((Path(ref.summary["judgement"]["report"]).parent / "validation.json").read_text())
    assert {f["suite"] for f in held["expectations"]} == {"incoming", "records", "document", "corpus"}


def test_labels_that_are_all_the_same_stop(context: StageContext) -> None:
    records = [of_kind("classification", n, text=f"words {n}", label="x") for n in range(20)]
    with pytest.raises(ValidationFailed, match=r"classification\.label.*all records have the same label|All records"):
        run(config_for(), context, records)


def test_ids_that_are_not_unique_stop(context: StageContext) -> None:
    records = [document(n) for n in range(20)]
    twice = [*records, replace(records[0], text=prose(99))]
    with pytest.raises(ValidationFailed, match=r"corpus\.repeated_ids: expected max 0, found 1"):
        run(config_for(), context, twice)


def test_a_suite_with_an_unknown_measure_is_an_error_that_lists_those_there_are(
    tmp_path: Path, context: StageContext
) -> None:
    entry = ("expect_column_values_to_be_between", {"column": "wrods", "max_value": 1}, "warn")
    with pytest.raises(ConfigError, match=r"no measure 'wrods'; known: .*words.*qa\.answer_in_context"):
        run(config_for(suite(tmp_path / "suites", "records", entry)), context, [document(n) for n in range(20)])


# --- drift ------------------------------------------------------------------------------------------------------------


def accept(workspace: Workspace, run_id: str, ref: ArtifactRef) -> None:
    stage = StageRecord(name="validate", status="ran", seconds=1, fingerprint=ref.fingerprint)
    workspace.save_run(RunRecord(run_id=run_id, pipeline="zen", started=run_id, status="failed", stages=[stage]))


def test_drift_is_judged_against_the_last_accepted_data_and_changes_no_fingerprint(
    context: StageContext, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    usual = [document(n) for n in range(200)]
    with caplog.at_level(logging.INFO, "zen_pipeline"):
        first = run(config_for(), context, usual)
    assert [m for m in caplog.messages if "drift was not judged" in m]
    accept(workspace, "2026-01", first)

    similar = run(config_for(), context, [document(n) for n in range(20, 220)])
    assert drifted(similar) == []
    accept(workspace, "2026-02", similar)

    other = [w[::-1] * 2 for w in WORDS]
    strange = [document(n, prose(n, 900, other), language="fr", source="mail/b.txt") for n in range(200)]
    unjudged = validate.STAGE.identity(config_for(), {"collect": collected(context, strange).fingerprint}, workspace)
    changed = run(config_for(), context, strange)
    assert drifted(changed) == ["length", "language", "source", "vocabulary"]
    assert changed.fingerprint == unjudged.fingerprint
    page = Path(changed.summary["judgement"]["report"]).read_text()
    assert f"Compared with the last accepted data set, {similar.path.name}" in page
    assert "mail" in page

    accept(workspace, "2026-03", changed)
    assert drifted(run(config_for(), context, strange)) == drifted(changed), "data is not compared with itself"


def drifted(ref: ArtifactRef) -> list[str]:
    held = json.loads((Path(ref.summary["judgement"]["report"]).parent / "validation.json").read_text())
    return [f["column"] for f in held["expectations"] if f["suite"] == "drift" and not f["success"]]


# --- tokens and vectors -----------------------------------------------------------------------------------------------


def tokenized(context: StageContext, config: Config, records: list[Record], context_length: int = 64) -> ArtifactRef:
    def sizes(output: Path) -> Built:
        held = {"vocab_size": 400, "model": {"context_length": context_length}}
        (output / "resolved.json").write_text(json.dumps(held))
        return Built("sizes")

    identity = Identity("resolve", {"context_length": context_length})
    resolved = context.store.get_or_build(identity, sizes, inputs={}, run_id="test")
    inputs = {"validate": run(config, context, records), "resolve": resolved}
    return tokenize.STAGE.run(config, inputs, context)


def test_tokens_are_judged_on_every_run_and_a_changed_file_stops(context: StageContext) -> None:
    records = [document(n) for n in range(30)]
    ref = tokenized(context, config_for(), records)
    assert ref.summary["judgement"]["stops"] == 0
    held = json.loads((Path(ref.summary["judgement"]["report"]).parent / "validation.json").read_text())
    assert Counter(f["suite"] for f in held["expectations"]) == {"tokens": 7, "token_documents": 2}


@pytest.mark.parametrize("token", [65_000, 3], ids=["an id beyond the vocabulary", "another id"])
def test_token_files_that_are_not_what_was_written_are_refused(context: StageContext, token: int) -> None:
    records = [document(n) for n in range(30)]
    ref = tokenized(context, config_for(), records)
    for verdict in stored(context, "judgement"):
        context.store.remove(verdict)
    tokens = np.memmap(ref.path / "train.bin", dtype="<u2", mode="r+")
    tokens[-1] = token
    tokens.flush()
    inputs = {"validate": run(config_for(), context, records)}
    with pytest.raises(ValidationFailed, match=r"tokens\.digest_right: .*The file is not the one") as caught:
        judge_tokens(load_config(overrides=("finetune.enabled=false",)), inputs, ref, context)
    assert "  train" in str(caught.value)
    assert ("vocab_size, largest_id" in str(caught.value)) == (token == 65_000)


def test_answers_beyond_the_context_are_refused(context: StageContext) -> None:
    far = {"messages": [{"role": "user", "content": prose(1, 400)}, {"role": "assistant", "content": "yes"}]}
    records = [*(document(n) for n in range(30)), *(of_kind("chat", n, **far) for n in range(5))]
    with pytest.raises(
        ValidationFailed, match=r"supervised_tokens.*longer than the context.*set pretrain.model.context_length=512"
    ):
        tokenized(context, config_for(), records)
    near = [*(document(n) for n in range(30)), *(of_kind("chat", n, **CHAT) for n in range(5))]
    assert tokenized(context, config_for(), near).summary["judgement"]["stops"] == 0


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("vectors.safetensors", 0.0, "zero_share"),
        ("token_vectors.safetensors", float("nan"), "finite"),
        ("vectors.safetensors", 1.0, None),
        ("token_vectors.safetensors", 0.0, None),
    ],
)
def test_vectors_must_be_numbers_and_words_must_have_one(
    context: StageContext, file: str, value: float, message: str | None
) -> None:
    from safetensors.numpy import save_file

    def build(output: Path) -> Built:
        matrix = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
        for name in ("vectors.safetensors", "token_vectors.safetensors"):
            save_file({"vectors": matrix}, output / name)
        matrix[3] = value
        save_file({"vectors": matrix}, output / file)
        return Built("embeddings", {"coverage": 0.9})

    ref = context.store.get_or_build(Identity("embed", {"a": 1}), build, inputs={}, run_id="test")
    given = {"validate": made.store(context.workspace, "validate", lambda _: {"languages": {"en": 1}})}
    if message is None:
        assert judge_vectors(config_for(), given, ref, context).summary["judgement"]["stops"] == 0
        return
    with pytest.raises(ValidationFailed, match=rf"what embed made failed validation: .*{message}") as caught:
        judge_vectors(config_for(), given, ref, context)
    assert f"  {file}: vectors" in str(caught.value)


# --- personal data ----------------------------------------------------------------------------------------------------

LABELLED = """[
 {"full_text": "Write to ann@mail.net.",
  "spans": [{"entity_type": "EMAIL_ADDRESS", "start_position": 9, "end_position": 21}]},
 {"full_text": "His number is 83 15 22.",
  "spans": [{"entity_type": "PHONE_NUMBER", "start_position": 14, "end_position": 22}]}
]"""


def rows_of(page: str) -> list[list[str]]:
    """The cells of every table's rows, as a reader sees them."""
    return [[cell.text().strip() for cell in row.css("td")] for row in LexborHTMLParser(page).css("tr")]


def test_the_report_holds_what_is_measured_on_real_labels(
    shared_data: Callable[[str], Path], context: StageContext
) -> None:
    folder = shared_data("presidio-pii")
    config = load_config(overrides=(f"validate.personal_labels=[{folder / '*.json'}]",))
    found = run(config, context, [document(n) for n in range(30)])
    page = Path(found.summary["judgement"]["report"]).read_text()
    missed = 0
    for path in sorted(folder.glob("*.json")):
        for kind, score in evaluate(path).items():
            assert [path.name, kind, f"{score.labelled:,}", f"{score.recall:.3f}"] in [row[:4] for row in rows_of(page)]
            missed += len(score.missed)
    assert missed == page.count("00.000.0.000") == 1, (
        "of every miss the shape is shown: an address of a private network"
    )


def test_the_report_says_how_much_personal_data_is_found(tmp_path: Path, context: StageContext) -> None:
    (tmp_path / "labelled.json").write_text(LABELLED)
    config = load_config(overrides=(f"validate.personal_labels=[{tmp_path / 'labelled.json'}]",))
    records = [document(n) for n in range(30)]
    records.append(document(30, prose(30) + " write to bob@mail.net or ring at 5"))
    first = run(config, context, records)
    page = Path(first.summary["judgement"]["report"]).read_text()
    assert ["email", "1", "replaced by <EMAIL>"] in rows_of(page)
    shown = [row[:4] for row in rows_of(page)]
    assert ["labelled.json", "email", "1", "1.000"] in shown
    assert ["labelled.json", "phone", "1", "0.000"] in shown
    assert "00 00 00" in page, "what was missed is shown by its shape"
    assert "83 15 22" not in page
    (tmp_path / "labelled.json").write_text("[]")
    second = run(config, context, records)
    assert second.cached, "labels measure, they change no record"
    assert "labelled.json" not in Path(second.summary["judgement"]["report"]).read_text()
