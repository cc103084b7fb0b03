"""What a run came to, read from its record and its artifacts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.stages.evaluation_artifacts import store
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.evaluation.scores import Metric, Score, score_of
from zen_pipeline.pipeline.run_summary import figures, note, summarize_run
from zen_pipeline.workspace import RunRecord, StageRecord, Workspace

BITS = Metric("bits_per_byte", "bits per byte of unseen text", "documents", lower_is_better=True, seed_noise=0.01)
F1 = Metric("f1", "F1 of {count} answers", "questions", lower_is_better=False, seed_noise=0.02)
BASE = score_of(BITS, 1.4, {"unigram": 2.9, "5-gram": 1.5}, count=3)
CHAT = score_of(F1, 0.1, {"repeat the question": 0.05, "most frequent answer": 0.2}, count=7)


def evaluated(workspace: Workspace, model: str, task: str, score: Score, sample: tuple[str, str]) -> ArtifactRef:
    def fill(output: Path) -> None:
        metrics = {"model": model, "task": task, "score": asdict(score)}
        (output / "metrics.json").write_text(json.dumps(metrics))
        (output / "samples.jsonl").write_text(json.dumps(dict(zip(("prompt", "text"), sample, strict=True))) + "\n")

    return store(workspace, "evaluate", fill, model=model)


def run_with(workspace: Workspace, *, measured: bool = True) -> RunRecord:
    """A run that evaluated two models, or one that only pretrained."""
    if measured:
        refs = [
            evaluated(workspace, "base", "language", BASE, ("Once", "more")),
            evaluated(workspace, "chat", "chat", CHAT, ("Who?", "Nobody.")),
        ]
    else:
        refs = [store(workspace, "pretrain", lambda _: {"final": {"validation_loss": 2.5}}, model="base")]
    stages = [
        StageRecord(name=ref.stage, model=ref.model, status="ran", seconds=1, fingerprint=ref.fingerprint)
        for ref in refs
    ]
    return RunRecord(run_id="1", pipeline="notes", started="now", stages=stages)


def test_a_score_names_the_strongest_plain_baseline() -> None:
    assert (BASE.baseline, BASE.beats_baseline) == ("5-gram", True)
    assert (CHAT.baseline, CHAT.beats_baseline) == ("most frequent answer", False)
    assert "1.400" in str(BASE)
    assert "1.500" in str(BASE)
    assert "7" in CHAT.measure
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
    summary = summarize_run(run_with(workspace, measured=False), workspace)
    assert summary.scores["pretrain-base"].value == 2.5
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
