"""What a pipeline run leaves in MLflow: a parent, a nested run per stage, inputs as datasets with digests."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from zen_pipeline.artifacts import ArtifactRef, Identity
from zen_pipeline.tracking import MlflowTracker, experiment_id, log_metrics, mlflow_client, numbers


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> MlflowClient:
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(empty_database, folder)
    return mlflow_client(folder)


def artifact(stage: str, **changes: object) -> ArtifactRef:
    ref = ArtifactRef(
        stage=stage, fingerprint="f" * 64, digest="d" * 64, folder=f"/store/{stage}", kind="records", cached=True
    )
    return ref.model_copy(update=changes)


def test_a_stage_is_a_nested_run_with_its_settings_inputs_and_figures(client: MlflowClient) -> None:
    tracker = MlflowTracker(client, experiment="zen", run_name="first", tags={"zen.run_id": "r1"})
    identity = Identity("validate", {"version": 1, "settings.min_characters": 32, "inputs.collect": "f" * 64})
    with tracker.stage("validate", identity, {"collect": artifact("collect", summary={"kept": 7})}) as stage:
        stage.finish(artifact("validate", summary={"kept": 5, "reasons": {"short": 2}, "note": "words"}))
    tracker.finish("FINISHED", {"seconds": 1.5})

    run = client.get_run(str(stage.run_id))
    assert run.data.tags["mlflow.parentRunId"] == tracker.run_id
    assert run.data.params == {"version": "1", "settings.min_characters": "32"}
    assert run.data.metrics == {"summary/kept": 5, "summary/reasons.short": 2}
    assert run.data.tags["zen.status"] == "cached"
    assert run.info.status == "FINISHED"

    [entry] = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("collect", "d" * 36)
    assert json.loads(entry.dataset.source) == {"uri": "/store/collect"}
    assert json.loads(entry.dataset.profile) == {"kept": 7}

    parent = client.get_run(str(tracker.run_id))
    assert parent.data.metrics == {"seconds": 1.5}
    assert parent.data.tags["mlflow.source.name"] == "zen"


def test_a_stage_that_raises_ends_as_failed(client: MlflowClient) -> None:
    tracker = MlflowTracker(client, experiment="zen", run_name="second", tags={})
    with pytest.raises(RuntimeError), tracker.stage("collect", Identity("collect", {}), {}) as stage:
        raise RuntimeError("no")
    assert client.get_run(str(stage.run_id)).info.status == "FAILED"


def test_figures_that_mlflow_refuses_cost_a_warning_and_not_the_stage(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = MlflowTracker(client, experiment="zen", run_name="refused", tags={})
    with tracker.stage("collect", Identity("collect", {}), {}) as stage:
        client.delete_run(str(stage.run_id))  # as a click in MLflow's pages does
        stage.log_metrics({"loss": 1.0})
        stage.finish(artifact("collect"))
    client.delete_run(str(tracker.run_id))
    tracker.finish("FINISHED", {})

    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [w.partition(":")[0].removeprefix("MLflow did not take ") for w in warnings] == [
        "figures",
        "the summary",
        "the end of collect",
        "the end of the run",
    ]
    assert f"mlflow runs restore --run-id {stage.run_id}" in warnings[0]
    assert f"mlflow runs restore --run-id {tracker.run_id}" in warnings[3]


def test_a_deleted_experiment_costs_no_stage_and_the_next_run_restores_it(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = MlflowTracker(client, experiment="gone", run_name="first", tags={})
    experiment = client.get_experiment_by_name("gone").experiment_id
    client.delete_experiment(experiment)
    with tracker.stage("collect", Identity("collect", {}), {}) as stage:
        stage.finish(artifact("collect"))
    tracker.finish("FINISHED", {})
    assert f"mlflow experiments restore --experiment-id {experiment}" in caplog.text

    MlflowTracker(client, experiment="gone", run_name="second", tags={}).finish("FINISHED", {})
    assert client.get_experiment(experiment).lifecycle_stage == "active"


def test_runs_that_log_the_same_inputs_at_once_all_succeed(client: MlflowClient) -> None:
    def log_input(number: int) -> str:
        tracker = MlflowTracker(client, experiment="crowd", run_name=str(number), tags={})
        inputs = {f"input{n}": artifact(f"stage{n}") for n in range(6)}
        with tracker.stage("validate", Identity("validate", {}), inputs) as stage:
            return str(stage.run_id)

    with ThreadPoolExecutor(6) as threads:
        runs = list(threads.map(log_input, range(6)))
    assert [len(client.get_run(run).inputs.dataset_inputs) for run in runs] == [6] * 6


def test_why_a_stage_was_skipped_is_kept(client: MlflowClient) -> None:
    tracker = MlflowTracker(client, experiment="zen", run_name="third", tags={})
    with tracker.stage("finetune", Identity("finetune", {}), {}) as stage:
        stage.finish(artifact("finetune", skipped="no questions: " + "x" * 6000))

    tags = client.get_run(str(stage.run_id)).data.tags
    assert tags["zen.status"] == "skipped"
    assert tags["zen.skipped"].startswith("no questions")


def test_files_lie_beside_the_database_whatever_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: MlflowClient
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker(client, experiment="files", run_name="r", tags={})
    (tmp_path / "report.html").write_text("<p>")
    with tracker.stage("evaluate", Identity("evaluate", {}), {}) as stage:
        stage.log_file(tmp_path / "report.html")

    database = Path(client.tracking_uri.removeprefix("sqlite:///"))
    assert list((database.parent / "artifacts" / "files").rglob("report.html"))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_reason_in_words_costs_no_figure(client: MlflowClient) -> None:
    reasons = {"ratio on translation.source, translation.target (max 9)": 7, "x" * 300: 1}
    metrics = numbers({"records": 3, "reasons": reasons})
    run = client.create_run(experiment_id(client, "reasons"))
    log_metrics(client, run.info.run_id, metrics, 0)
    kept = client.get_run(run.info.run_id).data.metrics
    assert kept["records"] == 3
    assert kept["reasons.ratio on translation.source translation.target max 9"] == 7
    assert len(kept) == 3


def test_numbers_are_found_in_nested_summaries() -> None:
    assert numbers({"a": {"b": 1, "c": {"d": 0.5}}, "e": "text", "f": True, "g": [1]}) == {
        "a.b": 1.0,
        "a.c.d": 0.5,
        "f": 1.0,
    }
