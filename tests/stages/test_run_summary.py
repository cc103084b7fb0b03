"""What a run came to, read from its record and its artifacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.evaluation_artifacts import store
from zen_pipeline.evaluation.scores import Score, deciding_scores
from zen_pipeline.pipeline.run_summary import figures, note, summarize_run
from zen_pipeline.workspace import RunRecord, StageRecord, Workspace

METRICS = {
    "baselines": {"unigram": 2.9, "5-gram": 1.5},
    "base": {"bits_per_byte": 1.4},
    "chat": {
        "f1": 0.1,
        "questions": 7,
        "baselines": {"repeat_the_question": {"f1": 0.05}, "most_frequent_answer": {"f1": 0.2}},
    },
}


def run_with(workspace: Workspace, evaluated: bool = True) -> RunRecord:
    """A run whose evaluation said `METRICS`, or one that only pretrained."""

    def fill(output: Path) -> None:
        (output / "metrics.json").write_text(json.dumps(METRICS))
        (output / "samples.jsonl").write_text('{"prompt": "Once", "continuation": "more", "truth": "x"}\n')
        (output / "answers.jsonl").write_text('{"question": "Who?", "answer": "Nobody."}\n')

    if evaluated:
        ref = store(workspace, "evaluate", fill)
    else:
        ref = store(workspace, "pretrain", lambda _: {"final": {"validation_loss": 2.5}})
    stage = StageRecord(name=ref.stage, status="ran", seconds=1, fingerprint=ref.fingerprint)
    return RunRecord(run_id="1", pipeline="notes", started="now", stages=[stage])


def test_a_model_stands_beside_the_strongest_plain_baseline() -> None:
    scores = deciding_scores(METRICS)
    assert (scores["base"].baseline, scores["base"].beats_baseline) == ("5-gram", True)
    assert (scores["chat"].baseline, scores["chat"].beats_baseline) == ("most frequent answer", False)
    assert "1.400" in str(scores["base"])
    assert "1.500" in str(scores["base"])
    assert Score("f1", 1.0, "F1").beats_baseline is None


def test_a_run_shows_its_figures_one_sample_of_each_model_and_what_to_type_next(workspace: Workspace) -> None:
    record = run_with(workspace)
    summary = summarize_run(record, workspace)
    assert set(summary.scores) == {"notes-base", "notes-chat"}
    assert summary.samples == (("Once", "more"), ("Who?", "Nobody."))
    assert figures(summary)["notes-base.bits_per_byte"] == 1.4
    assert figures(summary)["notes-chat.f1_baseline"] == 0.2
    assert "1.400" in note(record, summary)
    assert summary.command == "zen release"
    record.released = [{"model": "notes-chat", "version": "1", "alias": "champion", "reason": ""}]
    assert summarize_run(record, workspace).command == "zen chat"


def test_without_an_evaluation_the_validation_loss_is_shown(workspace: Workspace) -> None:
    summary = summarize_run(run_with(workspace, evaluated=False), workspace)
    assert summary.scores["pretrain"].value == 2.5
    assert summary.samples == ()


@pytest.mark.parametrize("own", [True, False])
def test_the_report_is_found_in_a_project_that_was_moved(own: bool, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / ".zen", tmp_path / "b" / ".zen"
    workspace = Workspace(first)
    record = run_with(workspace)
    record.stages.append(StageRecord(name="validate", status="ran", seconds=1, report="store/page.html"))
    page = workspace.report_file("1") if own else first / "store" / "page.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<html>")
    first.parent.rename(second.parent)
    found = summarize_run(record, Workspace(second)).report
    assert found is not None
    assert found == second / page.relative_to(first)
