"""What tests of the stages share."""

from __future__ import annotations

import pytest

from zen_pipeline.training.dial import Request, Speed, choose
from zen_pipeline.training.resolved import Resolved


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`resolve` takes this machine to train at 1,000 tokens a second, and saves the seconds of finding out."""

    def chosen(request: Request, *_: object) -> Resolved:
        return choose(request, lambda *_: Speed(1000.0, 0.01))

    monkeypatch.setattr("zen_pipeline.training.measure.measure_and_choose", chosen)
