from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.server import check_answers, configured_api_url
from zen_pipeline.errors import ZenError


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_there_is_no_server() -> None:
    assert configured_api_url() is None


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://file/api"\n')
    monkeypatch.setenv("PREFECT_API_URL", "http://environment/api")
    assert configured_api_url() == "http://environment/api"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "A=1\nPREFECT_API_URL='http://here/api'\n"),
        ("prefect.toml", '[api]\nurl = "http://here/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://here/api"\n'),
        ("home/profiles.toml", 'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://here/api"\n'),
    ],
)
def test_a_server_is_found_where_prefect_would_find_it(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert configured_api_url() == "http://here/api"


def test_only_the_active_profile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = 'active = "local"\n[profiles.local]\n[profiles.team]\nPREFECT_API_URL = "http://team/api"\n'
    (tmp_path / "home" / "profiles.toml").write_text(profiles)
    assert configured_api_url() is None
    monkeypatch.setenv("PREFECT_PROFILE", "team")
    assert configured_api_url() == "http://team/api"


def test_an_unreadable_file_is_left_to_prefect(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_bytes(b"\xff\xfe = [")
    assert configured_api_url() is None


def test_a_configured_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}/api"
        with pytest.raises(ZenError, match=r"does not answer .*PREFECT_API_URL") as raised:
            check_answers(address)
    assert "secret" not in str(raised.value)


def test_a_server_that_wants_a_password_is_there() -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.handle_request, daemon=True).start()
        check_answers(f"http://127.0.0.1:{server.server_port}/api")
