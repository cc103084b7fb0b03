"""What the server of a run lets through: programs that know its secret, and pages of its own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from flows.guard import Guard

HERE = "http://127.0.0.1:4200"
SECRET = "zen:word"
KNOWN = {"Authorization": f"Basic {b64encode(SECRET.encode()).decode()}"}


async def _page(_request: object) -> PlainTextResponse:
    return PlainTextResponse("served")


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("served")
    await socket.close()


APP = Starlette(routes=[Route("/", _page, methods=["GET", "POST"]), WebSocketRoute("/events", _socket)])


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(Guard(APP, 4200, SECRET), base_url=HERE, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_program_that_knows_the_secret_is_served(client: TestClient, method: str) -> None:
    assert client.request(method, "/", headers=KNOWN).text == "served"
    assert client.request(method, "http://localhost:4200/", headers=KNOWN).text == "served"
    assert client.request(method, "/", headers={**KNOWN, "Origin": HERE}).text == "served"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic " + b64encode(b"zen:other").decode()}, 401),
        ({"Authorization": "Bearer " + b64encode(SECRET.encode()).decode()}, 401),
        ({"Authorization": "Basic é".encode("latin-1")}, 401),
        ({"Cookie": "zen-4200=; other=\x01"}, 401),
        ({**KNOWN, "Host": "rebound.example:4200"}, 421),
        ({**KNOWN, "Host": "127.0.0.1:4201"}, 421),
        ({**KNOWN, "Host": "127.0.0.1"}, 421),
        ({**KNOWN, "Origin": "https://foreign.example"}, 403),
        ({**KNOWN, "Origin": "null"}, 403),
        ({**KNOWN, "Origin": "http://127.0.0.1:4201"}, 403),
    ],
)
def test_everybody_else_is_refused(client: TestClient, headers: dict[str, str | bytes], status: int) -> None:
    answer = client.post("/", headers=headers)
    assert answer.status_code == status
    assert "served" not in answer.text


def test_a_foreign_page_may_not_even_ask_whether_it_may_ask(client: TestClient) -> None:
    asked = {"Origin": "https://foreign.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/", headers=asked)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_browser_brings_the_token_once_and_then_has_a_cookie(client: TestClient) -> None:
    assert client.get("/", params={"token": "wrong"}).status_code == 401
    answer = client.get("/", params={"token": "word"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/").text == "served"
    assert client.post("/", headers={"Origin": "https://foreign.example"}).status_code == 403
    ours = {"Host": "127.0.0.1:4200", "Origin": HERE, "Cookie": cookie.partition(";")[0]}
    with client.websocket_connect("/events", headers=ours) as socket:
        assert socket.receive_text() == "served"


@pytest.mark.parametrize("headers", [{}, {**KNOWN, "Origin": "https://foreign.example"}])
def test_a_socket_is_refused_like_a_request(client: TestClient, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/events", headers={"Host": "127.0.0.1:4200", **headers}),
    ):
        pass


def test_without_a_secret_foreign_pages_are_still_refused() -> None:
    with TestClient(Guard(APP, 4200, None), base_url=HERE) as client:
        assert client.get("/").text == "served"
        assert client.get("/", headers={"Origin": "https://foreign.example"}).status_code == 403
        assert client.get("/", headers={"Host": "rebound.example"}).status_code == 421
