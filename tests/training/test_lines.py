"""Files that grow with the steps: cut after a kill, and whole on a full disk."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from zen_pipeline.files import read_json_lines
from zen_pipeline.tasks.questions import Question, read_questions, write_questions
from zen_pipeline.training.step_lines import StepLines


@pytest.fixture
def warnings() -> list[str]:
    return []


def test_steps_that_are_done_again_and_a_torn_line_are_cut_off(tmp_path: Path, warnings: list[str]) -> None:
    path = tmp_path / "history.jsonl"
    lines = StepLines(path, warnings.append)
    lines.open_after(0)
    for step in (1, 2, 3, 3, 4):
        lines.append({"step": step, "text": "é"})
    lines.close()
    with path.open("ab") as file:
        file.write(b'{"step": 5, "te')
    lines.open_after(3)
    assert [line["step"] for line in read_json_lines(path)] == [1, 2, 3, 3]
    lines.append({"step": 4})
    assert read_json_lines(path)[-1] == {"step": 4}
    lines.open_after(0)
    assert read_json_lines(path) == warnings == []
    lines.close()


def test_only_a_newline_ends_a_line(tmp_path: Path, warnings: list[str]) -> None:
    lines = StepLines(tmp_path / "samples.jsonl", warnings.append)
    lines.open_after(0)
    entries = [{"step": step, "text": f"one{mark}two"} for step, mark in enumerate("\u2028\u2029\x85\x1c\r\n")]
    for entry in entries:
        lines.append(entry)
    lines.close()
    assert read_json_lines(lines.path) == entries


def test_questions_may_hold_any_character(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a\u2028b?"}, {"role": "assistant", "content": "c\x85d\u2029."}]
    questions = [Question("one", "subject", "chat", messages), Question("two", "subject", "chat", messages)]
    write_questions(tmp_path / "questions.jsonl", questions)
    assert read_questions(tmp_path / "questions.jsonl") == questions


def test_a_full_device_costs_lines_and_one_warning(tmp_path: Path, warnings: list[str]) -> None:
    path = tmp_path / "history.jsonl"
    path.symlink_to("/dev/full")
    lines = StepLines(path, warnings.append)
    lines.open_after(0)
    for step in (7, 8):
        lines.append({"step": step})
    lines.close()
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert "lines from step 7 on are missing" in warnings[0]


def test_a_line_that_only_fits_in_part_is_left_out(tmp_path: Path, warnings: list[str]) -> None:
    lines = StepLines(tmp_path / "history.jsonl", warnings.append)
    lines.open_after(0)
    lines.append({"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))  # the kernel writes a part, as on a disk that fills up
    try:
        lines.append({"step": 2, "loss": 3.25})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warnings) == 1
    lines.append({"step": 3})
    lines.close()
    assert [json.loads(line)["step"] for line in lines.path.read_text().splitlines()] == [1, 3]
