"""Collect, validate and tokenize through the store, from files to tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.config import Config, load_config
from zen_pipeline.corpus.records import read_columns, read_records
from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.errors import ConfigError, DataError, ValidationFailed
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect, tokenize, validate
from zen_pipeline.workspace import Workspace

_WORDS = """
    the of and to in that it is was he for on are with as his they be at one have this from or had by
"""
WORDS = _WORDS.split()


def prose(seed: int, words: int = 120) -> str:
    return " ".join(WORDS[(seed * 31 + n * n * (seed + 3)) % len(WORDS)] + str(seed) for n in range(words))


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace=workspace, run_id="test")


def resolved(context: StageContext, *, vocab_size: int = 400, context_length: int = 64) -> ArtifactRef:
    def build(output: Path) -> Built:
        sizes = {"vocab_size": vocab_size, "model": {"context_length": context_length}}
        (output / "resolved.json").write_text(json.dumps(sizes))
        return Built("sizes")

    identity = Identity("resolve", {"vocab_size": vocab_size, "context_length": context_length})
    return context.store.get_or_build(identity, build, inputs={}, run_id="test")


def chain(config: Config, context: StageContext, **sizes: int) -> dict[str, ArtifactRef]:
    refs: dict[str, ArtifactRef] = {}
    refs["collect"] = collect.STAGE.run(config, refs, context)
    refs["validate"] = validate.STAGE.run(config, refs, context)
    refs["resolve"] = resolved(context, **sizes)
    refs["tokenize"] = tokenize.STAGE.run(config, refs, context)
    return refs


def config_for(*paths: Path, overrides: tuple[str, ...] = ()) -> Config:
    return load_config(data=[str(p) for p in paths], overrides=overrides)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(30):
        (folder / f"note{n:02}.txt").write_text(prose(n))
    (folder / "copy.md").write_text(prose(5))
    (folder / "short.txt").write_text("tiny")
    (folder / "binary.txt").write_bytes(b"\0\1\2")
    (folder / "README.md").write_text("about this data")
    return folder


def test_records_in_are_records_kept_and_records_set_aside(data: Path, context: StageContext) -> None:
    refs = chain(config_for(data), context)
    collected, kept = refs["collect"].summary, refs["validate"].summary
    assert (collected["records"], collected["aside"]) == (32, 1)
    assert (kept["records_in"], kept["records"], kept["set_aside"], kept["unreadable"]) == (33, 30, 3, 1)
    assert kept["reasons"] == {"duplicate": 1, "too short": 1}
    folder = refs["validate"].path
    records = list(read_records(folder / "records.parquet"))
    aside = [i for columns in read_columns(folder / "set_aside.parquet", "id", "reason") for i in zip(*columns)]  # noqa: B905
    assert len(records) == 30
    assert sorted(aside) == [
        ("data/note05.txt#1", "duplicate of data/copy.md#1"),
        ("data/short.txt#1", "too short: 4 characters, at least 32"),
    ]
    assert {r.split for r in records} == {"train", "valid", "test"}


def test_what_could_not_be_read_is_counted_in_rows(data: Path, context: StageContext) -> None:
    path = data / "a.parquet"
    pq.write_table(pa.table({"text": [prose(n) for n in range(40, 90)]}), path, row_group_size=2, compression="gzip")
    start = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    refs = chain(config_for(data), context)
    assert (refs["collect"].summary["records"], refs["collect"].summary["aside"]) == (32 + 48, 1 + 2)
    kept = refs["validate"].summary
    assert (kept["unreadable"], kept["share_unreadable"]) == (3, 3 / 83)


def test_tokens_give_the_records_back_and_a_second_run_is_cached(data: Path, context: StageContext) -> None:
    config = config_for(data)
    refs = chain(config, context)
    tokens = refs["tokenize"].path
    tokenizer = Tokenizer.load(tokens / "tokenizer")
    for split in ("train", "valid", "test"):
        texts = [r.text for r in read_records(refs["validate"].path / "records.parquet", split=split)]
        stream = TokenSplit.open(tokens, split)
        assert [tokenizer.decode(stream.document(i).tolist()) for i in range(len(stream.bytes))] == texts
    again = chain(config, context)
    assert all(again[stage].cached for stage in ("collect", "validate", "tokenize"))


def test_moved_data_is_found_again_and_changed_data_is_not(data: Path, context: StageContext) -> None:
    first = collect.STAGE.run(config_for(data), {}, context)
    moved = data.parent / "elsewhere" / "data"
    moved.parent.mkdir()
    data.rename(moved)
    assert collect.STAGE.run(config_for(moved), {}, context).cached
    (moved / "note00.txt").write_text(prose(99))
    assert collect.STAGE.run(config_for(moved), {}, context).fingerprint != first.fingerprint


def test_the_report_needs_no_network_and_shows_what_was_set_aside(data: Path, context: StageContext) -> None:
    page = Path(chain(config_for(data), context)["validate"].summary["judgement"]["report"]).read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert "duplicate" in page
    assert "binary file" in page
    assert "<svg" in page


def test_text_in_the_report_is_escaped(data: Path, context: StageContext) -> None:
    (data / "evil.txt").write_text("<script>x</script>")
    page = Path(chain(config_for(data), context)["validate"].summary["judgement"]["report"]).read_text()
    assert "&lt;script&gt;x" in page
    assert "<script>" not in page


def test_data_that_fails_is_refused_with_three_masked_records_and_a_report(data: Path, context: StageContext) -> None:
    suites = data.parent / "suites"
    suites.mkdir()
    entry = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "characters", "max_value": 10},
        "meta": {"action": "stop", "advice": "shorten them"},
    }
    (suites / "records.json").write_text(json.dumps({"name": "records", "expectations": [entry]}))
    (data / "copy.md").write_text("Write to jane.doe@example.org about the matter of the invoices.")
    config = config_for(data, overrides=(f"validate.suites={suites}",))
    refs = {"collect": collect.STAGE.run(config, {}, context)}
    with pytest.raises(ValidationFailed) as caught:
        validate.STAGE.run(config, refs, context)
    message = str(caught.value)
    lines = message.splitlines()
    assert "expect_column_values_to_be_between on records.characters" in lines[0]
    assert "found 31 of 31 do not" in lines[0]
    assert "Shorten them." in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:4]] == [
        "data/copy.md#1",
        "data/note00.txt#1",
        "data/note01.txt#1",
    ]
    assert "jane.doe" not in message
    assert "<e-mail>" in lines[1]
    page = Path(lines[-1].removeprefix("The whole report: "))
    assert "Refused" in page.read_text()
    with pytest.raises(ValidationFailed, match="Shorten them"):  # found in the store, and refused again
        validate.STAGE.run(config, refs, context)
    assert len(list((context.workspace.home / "store" / "validate").glob("[!.]*"))) == 1


def test_a_corpus_of_mostly_bad_records_is_stopped_by_the_shipped_suite(tmp_path: Path, context: StageContext) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps({"text": prose(n)}) for n in range(10)]
    path.write_text("\n".join([*good, *("{broken 123456789" for _ in range(90))]))
    config = config_for(path)
    with pytest.raises(ValidationFailed, match=r"share_set_aside: expected max 0.5, found 0.9") as caught:
        chain(config, context)
    assert "{broken <number>" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0", b"too short"])
def test_an_empty_corpus_is_an_error_that_says_so(tmp_path: Path, context: StageContext, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no record"):
        chain(config_for(path), context)


def test_a_corpus_smaller_than_one_context_is_an_error_with_numbers(data: Path, context: StageContext) -> None:
    with pytest.raises(DataError, match=r"tokens, fewer than one context of 100001: add text"):
        chain(config_for(data), context, context_length=100_000)


def test_a_missing_path_is_named_before_anything_runs(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        collect.STAGE.identity(config_for(tmp_path / "nowhere"), {}, workspace)


def test_a_changed_threshold_judges_again_but_reads_nothing_again(data: Path, context: StageContext) -> None:
    first = chain(config_for(data), context)
    again = chain(config_for(data, overrides=("validate.min_characters=2",)), context)
    assert again["collect"].cached
    assert first["validate"].fingerprint != again["validate"].fingerprint


def test_a_tokenizer_that_is_brought_along_is_used(data: Path, context: StageContext, tmp_path: Path) -> None:
    own = chain(config_for(data), context)
    given = tmp_path / "model"
    Tokenizer.load(own["tokenize"].path / "tokenizer").save(given)
    (given / "chat_template.jinja").write_text("a chat template, which transformers 5 keeps in a file of its own")
    config = config_for(data, overrides=(f"pretrain.init_from={given}",))
    refs = chain(config, context, vocab_size=300)
    used = refs["tokenize"].path / "tokenizer" / "tokenizer.json"
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert used.with_name(name).read_bytes() == (given / name).read_bytes()
    assert refs["tokenize"].summary["given"] is True
    with pytest.raises(ConfigError, match=r"missing has no tokenizer.json"):
        chain(config_for(data, overrides=(f"pretrain.init_from={tmp_path / 'missing'}",)), context)


def test_a_validation_file_is_trained_on_where_nothing_else_is_and_a_test_file_never(
    shared_data: Callable[[str], Path], context: StageContext
) -> None:
    test = shared_data("wikitext-2") / "test.txt"
    refs = {"collect": collect.STAGE.run(config_for(test), {}, context)}
    alone = refs["collect"].summary["bytes"]
    config = config_for(shared_data("wikitext-2") / "valid.txt", test)
    refs = {"collect": collect.STAGE.run(config, {}, context)}
    splits = validate.STAGE.run(config, refs, context).summary["splits"]
    assert splits["train"]["bytes"] > splits["valid"]["bytes"] > 0
    assert splits["test"]["bytes"] > 0.99 * alone


def test_tinyshakespeare_goes_through_without_a_config(
    shared_data: Callable[[str], Path], context: StageContext
) -> None:
    refs = chain(config_for(shared_data("tinyshakespeare")), context, vocab_size=1000)
    summary = refs["tokenize"].summary
    assert refs["validate"].summary["judgement"]["stops"] == 0
    assert sum(summary[s]["bytes"] for s in ("train", "valid", "test")) > 1_100_000
    assert min(summary[s]["documents"] for s in ("train", "valid", "test")) > 5


def test_a_corpus_without_documents_is_read_as_the_text_of_its_records(tmp_path: Path, context: StageContext) -> None:
    rows: list[dict[str, object]] = []
    for n in range(60):
        rows.append({"question": f"What is thing {n}?", "context": prose(n), "answers": [prose(n)[:20]]})
        rows.append({"en": prose(n + 100), "zh": f"第{n}句话，" + "汉字" * 60})
        rows.append({"prompt": prose(n + 200), "chosen": "It is good.", "rejected": "It is bad."})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refs = chain(config_for(path, overrides=("finetune.enabled=false",)), context)
    kept = list(read_records(refs["validate"].path / "records.parquet"))
    assert {r.kind for r in kept} == {"qa", "translation", "preference"}
    assert refs["tokenize"].summary["text"] is None
    assert sum(refs["tokenize"].summary[split]["documents"] for split in ("train", "valid", "test")) == len(kept)
