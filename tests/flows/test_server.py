from __future__ import annotations

import shutil
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from flows.prefect_settings import configured_api_url, files_not_read
from flows.server import LocalServer, check_answers, new_secret
from zen_pipeline.errors import ZenError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prefect's home, with nothing configured in it."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_without_any_setting_there_is_no_server() -> None:
    assert configured_api_url() is None


def test_the_environment_comes_before_the_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "profiles.toml").write_text('active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://profile/api"\n')
    assert configured_api_url() == "http://profile/api"
    monkeypatch.setenv("PREFECT_API_URL", "http://environment/api")
    assert configured_api_url() == "http://environment/api"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "A=1\nexport PREFECT_API_URL='http://here/api'\n"),
        ("prefect.toml", '[api]\nurl = "http://here/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://here/api"\n'),
    ],
)
def test_a_file_of_the_working_folder_chooses_no_server_and_is_named(name: str, text: str, tmp_path: Path) -> None:
    assert files_not_read() == []
    (tmp_path / name).write_text(text)
    assert configured_api_url() is None
    assert files_not_read() == [name]


def test_only_the_active_profile_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = 'active = "local"\n[profiles.local]\n[profiles.team]\nPREFECT_API_URL = "http://team/api"\n'
    (home / "profiles.toml").write_text(profiles)
    assert configured_api_url() is None
    monkeypatch.setenv("PREFECT_PROFILE", "team")
    assert configured_api_url() == "http://team/api"


@pytest.mark.parametrize("content", [b"\xff\xfe = [", b"active = 1", b""])
def test_a_profile_that_cannot_be_read_names_no_server(content: bytes, home: Path) -> None:
    (home / "profiles.toml").write_bytes(content)
    assert configured_api_url() is None


def test_a_user_who_is_nowhere_at_home_has_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "~nobody-of-this-name/prefect")
    assert configured_api_url() is None


def test_a_configured_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}/api"
        with pytest.raises(ZenError, match=r"does not answer .*PREFECT_API_URL") as raised:
            check_answers(address)
    assert "secret" not in str(raised.value)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ZenError, match=str(port)):
            LocalServer(tmp_path / "server", port=port)


def test_every_server_has_a_secret_of_its_own() -> None:
    assert new_secret() != new_secret()


def test_a_server_that_wants_a_password_is_there() -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.handle_request, daemon=True).start()
        check_answers(f"http://127.0.0.1:{server.server_port}/api")


def test_a_server_that_is_killed_is_started_again_at_the_same_address(
    databases: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(databases / "prefect", tmp_path / "prefect")
    before = set(psutil.Process().children())
    server = LocalServer(tmp_path / "prefect")
    try:
        (process,) = set(psutil.Process().children()) - before
        process.kill()
        server.wait_ready()
        assert "was killed (SIGKILL)" in caplog.text
    finally:
        server.stop()
    assert set(psutil.Process().children()) <= before
    assert server.wait_ended(0) is not None
