from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flows.artifacts import publish
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config


def test_a_missing_file_costs_a_line_in_the_log_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ref = ArtifactRef(stage="pretrain", fingerprint="f", digest="d", folder=str(tmp_path), kind="model")
    with caplog.at_level(logging.WARNING, "zen_pipeline.flows"):
        publish(Config(), ref)
    [line] = caplog.messages
    assert line.startswith("pretrain: its Prefect artifact is missing")
    assert "history.jsonl" in line


@pytest.mark.parametrize("stage", ["collect", "tokenize", "finetune"])
def test_there_is_nothing_to_show_of_a_stage_without_a_view_or_without_work(
    stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skipped = "no questions" if stage == "finetune" else None
    ref = ArtifactRef(stage=stage, fingerprint="f", digest="d", folder=str(tmp_path), kind="model", skipped=skipped)
    publish(Config(), ref)
    assert caplog.messages == []
