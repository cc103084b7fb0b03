from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from flows.artifacts import publish, publish_refusal, report_markdown
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.errors import ValidationFailed


def test_a_missing_file_costs_a_line_in_the_log_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ref = ArtifactRef(stage="pretrain", fingerprint="f", digest="d", folder=str(tmp_path), kind="model")
    with caplog.at_level(logging.WARNING, "zen_pipeline.flows"):
        publish(Config(), ref)
    [line] = caplog.messages
    assert line.startswith("pretrain: its Prefect artifact is missing")
    assert "history.jsonl" in line


def test_an_error_that_says_nothing_costs_a_line_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("prefect.artifacts.create_markdown_artifact", refuse)
    publish(Config(), ArtifactRef(stage="release", fingerprint="f", digest="d", folder=str(tmp_path), kind="release"))
    publish_refusal(Config(), ValidationFailed("no text"))
    assert [line.rpartition(": ")[2] for line in caplog.messages] == ["TimeoutError", "TimeoutError"]


@pytest.mark.parametrize("stage", ["collect", "tokenize", "finetune"])
def test_there_is_nothing_to_show_of_a_stage_without_a_view_or_without_work(
    stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skipped = "no questions" if stage == "finetune" else None
    ref = ArtifactRef(stage=stage, fingerprint="f", digest="d", folder=str(tmp_path), kind="model", skipped=skipped)
    publish(Config(), ref)
    assert caplog.messages == []


def test_a_report_holds_its_figures_and_says_where_its_page_lies(tmp_path: Path) -> None:
    summary = {"verdict": "better | safe", "tokens": 7, "reasons": {"too <b> short": 2}, "names": ["left out"]}
    text = report_markdown("Scores", summary, tmp_path / "report.html")
    assert "| tokens | 7.0 |" in text
    assert "## reasons\n\n| figure | value |" in text
    assert r"better \| safe" in text
    assert "<b>" not in text
    assert str(tmp_path / "report.html") in text
    assert "file://" not in text


def test_curves_of_different_units_are_drawn_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"step": n, "loss": 4.0 / n, "val_loss": 5.0 / n, "val_bits_per_byte": 2.0 / n} for n in range(1, 4)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    drawn: dict[str, str] = {}

    def keep(image_url: str, key: str, description: str) -> None:
        drawn[key] = description

    monkeypatch.setattr("prefect.artifacts.create_image_artifact", keep)
    publish(Config(), ArtifactRef(stage="pretrain", fingerprint="f", digest="d", folder=str(tmp_path), kind="model"))
    assert sorted(drawn) == ["zen-pretrain-bits-per-byte", "zen-pretrain-loss"]
    assert "val_loss" in drawn["zen-pretrain-loss"]
    assert "val_bits_per_byte" not in drawn["zen-pretrain-loss"]
