from __future__ import annotations

import os
import urllib.request

import httpx
import pytest
import requests

from tests.http_server import Home, serve
from zen_pipeline.loopback import except_loopback_from_proxies


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"127.0.0.1", "localhost", "::1"}),
        ({"NO_PROXY": "corp.example, localhost"}, {"corp.example", "localhost", "127.0.0.1", "::1"}),
        ({"no_proxy": "corp.example"}, {"corp.example", "localhost", "127.0.0.1", "::1"}),
        ({"NO_PROXY": "*"}, {"*"}),
    ],
)
def test_loopback_is_added_to_what_the_user_excepts(
    before: dict[str, str], after: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    for _ in range(2):  # a second time changes nothing
        except_loopback_from_proxies()
        for name in ("NO_PROXY", "no_proxy"):
            assert set(os.environ[name].split(",")) == after

    for host in ("127.0.0.1", "localhost"):
        assert urllib.request.proxy_bypass(f"{host}:4200")
        assert not requests.utils.get_environ_proxies(f"http://{host}:4200/", None)
    assert bool(requests.utils.get_environ_proxies("http://other.example/", None)) == (after != {"*"})


def test_our_own_clients_ask_loopback_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy at which nobody listens costs nothing, whichever library asks."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    except_loopback_from_proxies()
    with serve(Home(files={"/here": b"yes"})) as server:
        address = f"{server.url}/here"
        assert httpx.get(address).text == "yes"
        assert requests.get(address, timeout=5).text == "yes"
        assert urllib.request.urlopen(address, timeout=5).read() == b"yes"
