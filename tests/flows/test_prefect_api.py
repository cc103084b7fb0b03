"""Requests to Prefect's server while it is busy, has no such thing, or refuses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from flows.prefect_api import ask
from tests.http_server import Home, serve
from zen_pipeline.errors import ZenError


@pytest.fixture
def server() -> Iterator[Home]:
    with serve(Home(files={"/api/work_pools/zen": b'{"name": "zen"}', "/api/nothing": b""})) as home:
        yield home


def test_an_answer_is_read_as_json_and_a_missing_thing_is_none(server: Home) -> None:
    assert ask(f"{server.url}/api", "GET", "/work_pools/zen") == {"name": "zen"}
    assert ask(f"{server.url}/api", "GET", "/work_pools/other") is None
    assert ask(f"{server.url}/api", "GET", "/nothing") is None


def test_a_busy_server_is_asked_again(server: Home) -> None:
    server.statuses = deque([503, 503])
    assert ask(f"{server.url}/api", "GET", "/work_pools/zen") == {"name": "zen"}
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_or_refuses_is_an_error(server: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    server.statuses = deque([422])
    with pytest.raises(ZenError, match="422"):
        ask(f"{server.url}/api", "GET", "/work_pools/zen")
    assert len(server.asked) == 1
    monkeypatch.setattr("flows.prefect_api._BUSY_SECONDS", 0.1)
    server.statuses = deque([503] * 9)
    with pytest.raises(ZenError, match="503"):
        ask(f"{server.url}/api", "GET", "/work_pools/zen")
