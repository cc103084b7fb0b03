"""How far work is, shown on a terminal and without one."""

from __future__ import annotations

import logging

import pytest

from zen_pipeline import progress as shown
from zen_pipeline.progress import counted, progress
from zen_pipeline.terminal import console


def test_items_are_told_of_when_they_are_done() -> None:
    told: list[tuple[int, int]] = []
    items = counted(["a", "b"], lambda done, total: told.append((done, total)))
    assert next(items) == "a"
    assert told == []
    assert list(items) == ["b"]
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("total", "expected"), [(4, "3 of 4, 75%"), (0, "3 so far")])
def test_without_a_terminal_there_is_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, total: int, expected: str
) -> None:
    caplog.set_level(logging.INFO, logger="zen_pipeline")
    monkeypatch.setattr(logging.getLogger("zen_pipeline"), "propagate", True)
    with progress("counting", bar=True) as tell:
        tell(2, total)
        assert caplog.messages == []
        monkeypatch.setattr(shown, "LINE_SECONDS", 0.0)
        tell(3, total)
    assert caplog.messages == [f"counting: {expected}"]


def test_a_terminal_shows_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console(stderr=True).is_terminal
    with progress("counting [/]", bar=True) as tell:
        tell(3, 4)
    said = capsys.readouterr().err
    assert "counting [/]" in said
    assert "3/4" in said
