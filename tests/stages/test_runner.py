from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests import tiny_chain
from zen_pipeline.config import Config, load_config
from zen_pipeline.errors import DataError, StoreError, TrainingError, ZenError
from zen_pipeline.pipeline.chain import Step, all_steps, load_stage, steps_up_to
from zen_pipeline.pipeline.runner import run_pipeline, start_run
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.settings.models import Family
from zen_pipeline.tracking import mlflow_client
from zen_pipeline.workspace import RunRecord, Workspace


@pytest.fixture
def config(tmp_path: Path) -> Config:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("one two three")
    return load_config(data=[str(corpus)])


@pytest.fixture(autouse=True)
def _tiny_stages() -> Iterator[None]:
    tiny_chain.install()
    yield
    tiny_chain.uninstall()


def statuses(record: RunRecord) -> dict[str, str]:
    return {stage.step: stage.status for stage in record.stages}


def mlflow_status(workspace: Workspace, record: RunRecord) -> str:
    run = mlflow_client(workspace.mlflow_folder).get_run(str(record.mlflow_run_id))
    return str(run.info.status)


def raising(error: BaseException) -> Callable[[StageContext], None]:
    def fail(_context: StageContext) -> None:
        raise error

    return fail


def test_the_second_run_finds_everything_and_says_so(config: Config, workspace: Workspace) -> None:
    first = run_pipeline(config, workspace)
    second = run_pipeline(config, workspace)

    assert statuses(first) == dict.fromkeys(tiny_chain.step_names(config), "ran")
    assert statuses(second) == dict.fromkeys(tiny_chain.step_names(config), "cached")
    assert [s.artifact for s in second.stages] == [s.artifact for s in first.stages]
    released = {"version": 1, "alias": "champion", "reason": "the first", "new": True}
    names = [f"zen-{step.model.name}" for step in all_steps(config) if step.stage.name == "release" and step.model]
    assert first.released == [{"model": name, **released} for name in names]
    assert not any(r["new"] for r in second.released)
    assert workspace.runs() == [first, second]
    assert first.seconds >= sum(s.seconds for s in first.stages) > 0


def test_mlflow_has_one_parent_run_with_one_nested_run_for_each_stage(config: Config, workspace: Workspace) -> None:
    record = run_pipeline(config, workspace, until="validate")

    client = mlflow_client(workspace.mlflow_folder)
    parent = client.get_run(str(record.mlflow_run_id))
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == parent.data.tags["zen.run_id"] == record.run_id
    assert parent.data.tags["zen.target"] == "validate"
    assert parent.data.params["budget"] == config.budget
    assert parent.data.params["corpus"] == "corpus"
    assert set(parent.data.metrics) == {"seconds/collect", "seconds/validate", "seconds"}
    nested = client.search_runs(
        [parent.info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{record.mlflow_run_id}'"
    )
    assert {run.info.run_name for run in nested} == {"collect", "validate"}


def test_a_target_runs_what_it_needs_and_nothing_else(config: Config, workspace: Workspace) -> None:
    without_vectors = load_config(
        data=[*map(str, config.collect.sources[0].paths)], overrides=["pretrain.start=random"]
    )
    wanted = [step.name for step in steps_up_to("pretrain", without_vectors)]
    assert wanted[:5] == ["collect", "validate", "resolve", "tokenize", "pretrain-base"]
    assert {"evaluate-base", "evaluate-chat"} <= set(tiny_chain.step_names(config))
    with pytest.raises(KeyError):
        steps_up_to("train", config)

    assert list(statuses(run_pipeline(without_vectors, workspace, until="pretrain"))) == wanted


@pytest.mark.parametrize("family", get_args(Family))
def test_the_chain_of_every_family_hands_each_step_what_it_needs(
    family: str, config: Config, workspace: Workspace
) -> None:
    config = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"family": family})})
    steps = all_steps(config)
    for number, step in enumerate(steps):
        assert set(step.needs(config)) <= {earlier.name for earlier in steps[:number]}
    record = run_pipeline(config, workspace)
    assert [(s.step, s.status) for s in record.stages] == [(step.name, "ran") for step in steps]


def test_a_stage_with_nothing_to_do_is_skipped_and_the_chain_goes_on(config: Config, workspace: Workspace) -> None:
    tiny_chain.install(skipped=("embed",))
    record = run_pipeline(config, workspace, until="embed")
    assert statuses(record)["embed"] == "skipped"


@pytest.mark.parametrize(
    ("error", "status", "tracked"),
    [
        (DataError("the corpus is empty"), "failed", "FAILED"),
        (ValueError("a bug"), "failed", "FAILED"),
        (KeyboardInterrupt(), "interrupted", "KILLED"),
        (SystemExit(143), "interrupted", "KILLED"),
    ],
)
def test_an_end_before_the_end_is_written_down(
    error: BaseException, status: str, tracked: str, config: Config, workspace: Workspace
) -> None:
    tiny_chain.install({"validate": raising(error)})

    with pytest.raises(type(error)) as raised:
        run_pipeline(config, workspace)

    assert raised.value is error
    [record] = workspace.runs()
    assert record.status == status
    assert statuses(record) == {"collect": "ran", "validate": "failed"}
    assert mlflow_status(workspace, record) == tracked


def test_the_end_of_a_killed_run_is_written_down_by_the_next(config: Config, workspace: Workspace) -> None:
    with start_run(config, workspace) as run:
        record = run.record.model_copy()
    workspace.save_run(record)  # as if it had been killed: it says `running` and nobody holds its lock
    run_pipeline(config, workspace, until="collect")
    assert workspace.killed_runs() == []
    assert [r.status for r in workspace.runs()] == ["interrupted", "completed"]
    assert mlflow_status(workspace, record) == "KILLED"


def test_a_run_under_way_can_be_seen(config: Config, workspace: Workspace) -> None:
    with start_run(config, workspace) as run:
        run.run_step(Step(load_stage("collect")), {})
        [record] = workspace.runs()
        assert (record.status, statuses(record)) == ("running", {"collect": "ran"})
    assert workspace.runs()[0].status == "completed"


def test_a_stage_that_is_tried_again_has_one_record_with_the_time_of_both(config: Config, workspace: Workspace) -> None:
    attempts: list[int] = []

    def once(_context: StageContext) -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise TrainingError("the training process was killed")

    tiny_chain.install({"collect": once})
    with start_run(config, workspace) as run:
        with pytest.raises(TrainingError):
            run.run_step(Step(load_stage("collect")), {})
        [failed] = run.record.stages
        run.run_step(Step(load_stage("collect")), {})
    [stage] = workspace.runs()[0].stages
    assert stage.status == "ran"
    assert stage.seconds >= failed.seconds


def test_a_full_disk_is_explained(config: Config, workspace: Workspace) -> None:
    tiny_chain.install({"collect": raising(OSError(errno.ENOSPC, "No space left on device"))})
    with pytest.raises(StoreError, match="disk is full"):
        run_pipeline(config, workspace)
    assert workspace.runs()[0].status == "failed"


def test_a_tracking_server_that_does_not_answer_is_named_without_its_password(
    config: Config, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9/")
    with pytest.raises(ZenError, match=r"http://127\.0\.0\.1:9/, which does not answer") as raised:
        run_pipeline(config, workspace)
    assert "secret" not in str(raised.value)
    assert workspace.runs()[0].status == "failed"


def test_options_reach_the_stages(config: Config, workspace: Workspace) -> None:
    seen: list[StageContext] = []
    tiny_chain.install({"collect": seen.append})
    run_pipeline(config, workspace, until="collect", wait=False, verify=True, recalibrate=True, progress=True)
    [context] = seen
    assert (context.wait, context.verify, context.progress) == (False, True, True)
    assert workspace.calibration("any") == 1
