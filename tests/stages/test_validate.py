"""What validation sets aside because of other records: duplicates, near duplicates, and what the test data holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contamination import contaminated, plant
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config, load_config
from zen_pipeline.corpus.records import read_columns, read_records
from zen_pipeline.errors import DataError
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect, validate
from zen_pipeline.workspace import Workspace


@pytest.fixture
def context(workspace: Workspace) -> StageContext:
    return StageContext(workspace=workspace, run_id="test")


def prose(seed: int, words: int = 60) -> str:
    random = np.random.Generator(np.random.PCG64(seed))
    return " ".join(f"w{n}" for n in random.integers(0, 5000, words))


def jsonl(path: Path, texts: Sequence[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def config_for(folder: Path, *overrides: str) -> Config:
    return load_config(data=[str(folder)], overrides=overrides)


def run(config: Config, context: StageContext) -> ArtifactRef:
    return validate.STAGE.run(config, {"collect": collect.STAGE.run(config, {}, context)}, context)


def aside(ref: ArtifactRef) -> dict[str, str]:
    columns = read_columns(ref.path / "set_aside.parquet", "id", "reason")
    return {i: reason for ids, reasons in columns for i, reason in zip(ids, reasons, strict=True)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files for training, validation and test; each text on its own."""
    folder = tmp_path / "data"
    jsonl(folder / "train.jsonl", [prose(n) for n in range(40)])
    jsonl(folder / "valid.jsonl", [prose(n) for n in range(100, 105)])
    jsonl(folder / "test.jsonl", [prose(n) for n in range(200, 205)])
    return folder


def test_a_training_text_that_is_also_in_the_test_file_leaves_training(data: Path, context: StageContext) -> None:
    near = prose(201, 200).split()
    jsonl(data / "test.jsonl", [prose(200), " ".join(near), prose(202)])
    jsonl(data / "train.jsonl", [*(prose(n) for n in range(40)), prose(200).upper(), " ".join([*near[:-1], "changed"])])
    jsonl(data / "valid.jsonl", [prose(100), prose(202)])
    ref = run(config_for(data), context)
    found = aside(ref)
    assert re.fullmatch(
        r"near duplicate of data/test.jsonl#2 \(similarity [01].\d\d\)", found.pop("data/train.jsonl#42")
    )
    assert found == {
        "data/train.jsonl#41": "duplicate of data/test.jsonl#1",
        "data/valid.jsonl#2": "duplicate of data/test.jsonl#3",
    }
    assert ref.summary["reasons"] == {"duplicate": 2, "near duplicate": 1}
    assert ref.summary["share_near_duplicates"] == pytest.approx(1 / 47)


def test_a_training_text_that_quotes_a_test_text_leaves_training_with_its_figures(
    data: Path, context: StageContext
) -> None:
    quote = " ".join(prose(203).split()[10:25])
    jsonl(data / "train.jsonl", [*(prose(n) for n in range(40)), f"{prose(50)}: {quote.upper()}! {prose(51)}"])
    ref = run(config_for(data), context)
    [(name, reason)] = aside(ref).items()
    figures, _, shared = reason.rstrip("”").partition(", such as “")
    assert (name, figures) == (
        "data/train.jsonl#41",
        "contaminated: 3 of 123 runs of 13 words are in test data, most of them in data/test.jsonl#4",
    )
    assert shared in quote.lower()
    assert len(shared.split()) == 13
    assert ref.summary["records_in"] == ref.summary["records"] + ref.summary["set_aside"] == 51
    loose = run(config_for(data, "validate.contamination.max_overlap=0.1"), context)
    assert not aside(loose)
    off = run(config_for(data, "validate.contamination.enabled=false"), context)
    assert not aside(off)


def test_evaluation_data_is_protected_too_and_found_by_its_content(data: Path, context: StageContext) -> None:
    questions = jsonl(data.parent / "exam.jsonl", [prose(7), "short"])
    config = config_for(data, f"validate.evaluation_data=[{questions}]")
    ref = run(config, context)
    found = aside(ref)
    assert list(found) == ["data/train.jsonl#8"]
    assert re.fullmatch(
        r"contaminated: 48 of 48 runs .* in \S+/exam.jsonl#1, such as “.+”", found["data/train.jsonl#8"]
    )
    assert ref.summary["contamination"]["protected_records"] == 7
    assert ref.summary["contamination"]["too_short_to_protect"] == 1
    assert run(config, context).cached
    jsonl(questions, [prose(8)])
    assert list(aside(run(config, context))) == ["data/train.jsonl#9"]


def test_training_data_that_is_all_in_the_test_data_is_an_error_with_numbers(data: Path, context: StageContext) -> None:
    config = config_for(data, f"validate.evaluation_data=[{data / 'train.jsonl'}]")
    with pytest.raises(DataError, match=r"all 40 training records share runs of 13 words.*max_overlap"):
        run(config, context)


def test_kinds_whose_texts_resemble_each_other_on_purpose_are_not_compared(data: Path, context: StageContext) -> None:
    page = prose(300, 150)
    rows = [{"question": f"What is w{n}?", "context": page, "answers": [page.split()[n]]} for n in range(20)]
    (data / "train_questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(config_for(data), context).summary["kinds"] == {"document": 50, "qa": 20}
    both = run(config_for(data, "validate.near_duplicates.kinds=[document,qa]"), context)
    assert both.summary["reasons"] == {"near duplicate": 19}


def test_the_number_of_workers_changes_no_byte(tmp_path: Path, context: StageContext) -> None:
    texts = [prose(n % 7_000, 12) for n in range(9_000)]  # two row groups, with duplicates across them
    texts[::500] = [f"{prose(n, 300)} {prose(n // 2, 20)}" for n in range(18)]  # with near duplicates
    texts[::700] = [prose(1, 300)[: 1500 + n] for n in range(13)]
    folder = jsonl(tmp_path / "data" / "a.jsonl", texts).parent
    names = ("records.parquet", "set_aside.parquet", "measures.parquet", "profile.json")
    results = []
    for workers in (1, 2):
        ref = run(config_for(folder, f"validate.workers={workers}", "validate.min_characters=1"), context)
        results.append([(ref.path / name).read_bytes() for name in names])
        assert set(ref.summary["reasons"]) == {"contaminated", "duplicate", "near duplicate"}
        context.store.remove(ref.path)
    assert results[0] == results[1]


def test_leaks_of_wikitexts_test_set_are_all_found(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared_data("wikitext-2")
    leaks, originals = plant(source, tmp_path / "data", each=50, most=3000)
    found = contaminated(tmp_path, source / "test.txt", [])
    assert {kind: len(numbers & found) for kind, numbers in leaks.items()} == dict.fromkeys(leaks, 50)
    others = found - set().union(*leaks.values())
    assert len(others) <= 0.02 * originals  # lists and quotations: WikiText repeats itself a little


def test_what_cleaning_did_is_counted_and_can_be_judged(data: Path, context: StageContext) -> None:
    texts = [f"{prose(500)} write to ann.lee@gmail.com", f"Caf\u0065\u0301 {prose(501)}\r\n{prose(502)}"]
    jsonl(data / "more.jsonl", texts)
    ref = run(config_for(data), context)
    assert (ref.summary["changes"], ref.summary["personal"]) == (
        {"line_ends": 1, "nfc": 1, "personal data": 1},
        {"email": 1},
    )
    names = ("id", "repaired", "personal_count", "language_score")
    rows = {i: row for columns in read_columns(ref.path / "measures.parquet", *names) for i, *row in zip(*columns)}  # noqa: B905
    assert [rows[f"data/more.jsonl#{n}"][:2] for n in (1, 2)] == [[1, 1], [2, 0]]
    kept = {r.id: r.text for r in read_records(ref.path / "records.parquet")}
    assert "ann.lee" not in kept["data/more.jsonl#1"]
    assert kept["data/more.jsonl#2"].startswith("Caf\u00e9 ")


def test_a_language_that_is_not_wanted_is_set_aside_with_the_reason(data: Path, context: StageContext) -> None:
    jsonl(data / "more.jsonl", ["Der schnelle braune Fuchs springt über den faulen Hund und läuft dann nach Hause."])
    english = ("it was one of the things that he had found when they were there", "this is not what we had in mind at")
    jsonl(data / "train.jsonl", [f"{english[n % 2]} the {n} of them" for n in range(20)])
    config = config_for(data, "validate.clean.languages=[en,und]", "validate.near_duplicates.enabled=false")
    assert aside(run(config, context)) == {"data/more.jsonl#1": "language: de"}


def test_no_measure_is_lost_and_every_record_has_one_fate(data: Path, context: StageContext) -> None:
    binary = "\0".join(prose(420))  # cleaning takes the NULs out; it is set aside for what came in
    jsonl(data / "more.jsonl", ["short", prose(1), "\ufffd" * 50, binary, *(prose(n) for n in range(400, 420))])
    ref = run(config_for(data), context)
    collected = [r.id for r in read_records(collect.STAGE.run(config_for(data), {}, context).path / "records.parquet")]
    measured = [
        (i, reason)
        for columns in read_columns(ref.path / "measures.parquet", "id", "reason")
        for i, reason in zip(*columns, strict=True)
    ]
    assert [i for i, _ in measured] == collected
    kept = [r.id for r in read_records(ref.path / "records.parquet")]
    assert kept == [i for i, reason in measured if not reason]
    assert set(aside(ref)) == {i for i, reason in measured if reason}
    assert ref.summary["reasons"] == {
        "duplicate": 1,
        "too many control characters": 1,
        "too many replacement characters": 1,
        "too short": 1,
    }
