"""Files at addresses, served by real servers where that needs no network beyond this machine."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.hostile_files import zipfile_of
from tests.corpus.reading_files import read_paths
from zen_pipeline.config import load_config
from zen_pipeline.corpus.catalogue.download import Patience, download
from zen_pipeline.corpus.reading import remote as addresses
from zen_pipeline.corpus.reading.digests import digest_files
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.huggingface import parse
from zen_pipeline.corpus.reading.remote import content_digest
from zen_pipeline.corpus.records import read_columns
from zen_pipeline.errors import ConfigError, DataError, DownloadError
from zen_pipeline.logs import show_on_stderr
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect
from zen_pipeline.workspace import Workspace

ROW = b'{"text": "a row that is long enough to be kept"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "my data"
    (data / "deep").mkdir(parents=True)
    (data / "a.jsonl.gz").write_bytes(gzip.compress(ROW))
    (data / "deep" / "b.txt").write_text("text")
    (data / "c.zip").write_bytes(zipfile_of({"d.txt": b"in a zip"}))
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["in a table"]}), table)
    (data / "e.parquet").write_bytes(table.getvalue())
    return data


class _Handler(SimpleHTTPRequestHandler):
    """Serves whole files, as the simplest servers do; with an entity tag where the server is told to."""

    tags = False
    cut = False  # promise the whole file and send half of it

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        outputfile.write(content[: len(content) // 2] if self.cut else content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.tags and path.is_file():
            self.send_header("ETag", f'"{hashlib.md5(path.read_bytes()).hexdigest()}"')
        super().end_headers()


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Handler, "tags", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_the_charset_that_a_web_server_names_is_that_of_the_page(folder: Path, server: str) -> None:
    (folder / "p.html").write_bytes("<meta charset=windows-1251><p>Café</p>".encode("latin-1"))
    _Handler.extensions_map = {**_Handler.extensions_map, ".html": "text/html; charset=ISO-8859-1"}
    found = read_paths(f"{server}/p.html")
    assert [r.text for r in found.records] == ["Café"]
    assert found.tally.charsets == {"cp1252 (server)": 1}


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    system.put(str(folder), "/bucket/my data", recursive=True)
    yield "memory://bucket/my data"
    system.rm("/bucket", recursive=True)


def texts(*paths: str | Path) -> list[str]:
    read = read_paths(*paths)
    assert not read.aside
    return [record.text for record in read.records]


def test_a_file_address_is_a_path(folder: Path) -> None:
    assert texts(f"file://{str(folder).replace(' ', '%20')}") == texts(folder)
    assert find_files([f"file://{folder}/a.jsonl.gz"]).files == find_files([str(folder / "a.jsonl.gz")]).files


def test_a_folder_in_a_store_gives_the_names_and_records_of_a_local_one(folder: Path, memory: str) -> None:
    assert texts(memory) == texts(folder)
    assert [f.name for f in find_files([memory]).files] == [f.name for f in find_files([str(folder)]).files]
    assert texts(f"{memory}/*.jsonl.gz") == texts(f"{memory}/a.jsonl.gz") == texts(folder / "a.jsonl.gz")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "deep/b.txt", "c.zip", "e.parquet"])
def test_files_on_a_web_server_are_read(server: str, folder: Path, name: str) -> None:
    assert texts(f"{server}/{name}") == texts(folder / name)


def test_the_digest_is_that_of_the_content_or_the_servers_own_tag(
    server: str, folder: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (folder / "a.jsonl.gz").read_bytes()
    assert content_digest(f"{server}/a.jsonl.gz") == hashlib.sha256(content).hexdigest()
    local = digest_files([("x", str(folder / "a.jsonl.gz"))])
    assert digest_files([("x", f"{server}/a.jsonl.gz")]) == digest_files([("x", f"{memory}/a.jsonl.gz")]) == local
    monkeypatch.setattr(_Handler, "tags", True)
    tagged = content_digest(f"{server}/a.jsonl.gz")
    assert tagged == f'etag "{hashlib.md5(content).hexdigest()}" {len(content)}'
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(ROW * 2))
    fsspec.filesystem("http").dircache.clear()
    assert content_digest(f"{server}/a.jsonl.gz") != tagged


def test_a_remote_source_is_collected_once(server: str, workspace: Workspace, folder: Path) -> None:
    config = load_config(data=[f"{server}/a.jsonl.gz"])
    context = StageContext(workspace, "run")
    first = collect.STAGE.run(config, {}, context)
    assert first.summary["records"] == 1
    assert collect.STAGE.run(config, {}, context).cached
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(ROW.replace(b"row", b"line")))
    assert not collect.STAGE.run(config, {}, context).cached


def test_a_connection_that_breaks_ends_the_run(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "long.jsonl").write_bytes(ROW * 200_000)
    monkeypatch.setattr(_Handler, "cut", True)
    with pytest.raises(DataError, match=r"cannot read http://.*long\.jsonl"):
        read_paths(f"{server}/long.jsonl")


def test_credentials_in_an_address_are_used_and_not_kept(
    server: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_on_stderr()
    address = server.replace("://", "://someone:hidden-password@") + "/a.jsonl.gz?token=hidden-token"
    with pytest.raises(ConfigError) as raised:
        find_files([address.replace("a.jsonl", "missing")])
    built = collect.STAGE.run(load_config(data=[address]), {}, StageContext(workspace, "run"))
    assert built.summary["records"] == 1
    assert built.summary["aside"] == 0
    [source] = {name for columns in read_columns(built.path / "records.parquet", "source") for name in columns[0]}
    shown = f"{raised.value} {capsys.readouterr()} {source}"
    assert "127.0.0.1" in shown
    assert "hidden" not in shown
    assert not [path for path in workspace.home.rglob("*") if path.is_file() and b"hidden" in path.read_bytes()]


@pytest.mark.parametrize(
    "address",
    [
        "github://owner:repository@main/a.txt",
        "sftp://host/a.txt",
        "simplecache::https://host/a.txt",
        "zip://a.txt::https://host/a.zip",
        "https://host/a::github://owner:repository@main/a.txt",
        "reference://a",
        "python://a",
    ],
)
def test_an_address_of_another_kind_is_refused_before_anything_is_asked(address: str) -> None:
    with pytest.raises(ConfigError, match="https://"):
        find_files([address])


def test_addresses_that_lead_nowhere_are_named(server: str) -> None:
    for address in (
        f"{server}/missing.txt",
        "memory://nowhere/a.txt",
        "nosuch://host/a.txt",
        "http://127.0.0.1:9/a.txt",
    ):
        with pytest.raises(ConfigError, match=address.partition("//")[2].partition("/")[0]):
            find_files([address])


@pytest.mark.parametrize(("address", "library", "extra"), [("s3://b/a", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs")])
def test_a_missing_library_is_named_with_its_extra(address: str, library: str, extra: str) -> None:
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    with pytest.raises(ConfigError, match=rf"zen-pipeline\[{extra}\]"):
        find_files([address])


# --- the hub ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://squad/train", ("squad", None, "train")),
        ("hf://owner/name/test", ("owner/name", None, "test")),
        ("hf://owner/name:zh/test", ("owner/name", "zh", "test")),
    ],
)
def test_an_address_of_the_hub_has_a_data_set_a_configuration_and_a_split(
    address: str, parts: tuple[str, str | None, str]
) -> None:
    assert parse(address) == parts
    with pytest.raises(ConfigError, match="must name a data set and a split"):
        parse("hf://squad")


def test_a_data_set_is_read_by_the_library_of_the_hub(tmp_path: Path, workspace: Workspace) -> None:
    if find_spec("datasets") is None:
        with pytest.raises(ConfigError, match=r"zen-pipeline\[hf\]"):
            find_files(["hf://squad/train"])
        pytest.skip("datasets is not installed")
    data = tmp_path / "tides"
    data.mkdir()
    for split, count in (("train", 3), ("test", 1)):
        rows = [{"question": f"How high is tide {n}?", "answer": f"{n} feet"} for n in range(count)]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(data=[f"hf://{data}/train", f"hf://{data}/test"])
    ref = collect.STAGE.run(config, {}, StageContext(workspace, "run"))
    assert (ref.summary["records"], ref.summary["aside"]) == (4, 0)
    assert collect.STAGE.run(config, {}, StageContext(workspace, "run")).cached
    read = read_paths(f"hf://{data}/train")
    assert (read.kinds, {r.split for r in read.records}) == ({"chat": 3}, {"train"})
    with pytest.raises(DataError, match="nosplit"):
        read_paths(f"hf://{data}/nosplit")


class _Endless(SimpleHTTPRequestHandler):
    """A site whose pages list ever more pages, and a file that never ends."""

    protocol_version = "HTTP/1.0"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith("/"):
            self.wfile.write(b'<a href="a/">a</a><a href="b/">b</a><a href="c.txt">c</a>')
            return
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(ROW * 1000)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_a_crawl_without_end_is_bounded(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MOST_LISTINGS", 30)
    with pytest.raises(ConfigError, match="perhaps without end"):
        find_files([f"{endless}/**"])
    assert [file.name for file in find_files([f"{endless}/a/*.txt"]).files] == ["a/c.txt"]


def test_a_body_without_end_is_bounded(endless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MOST_UNSAID", 1 << 20)
    with pytest.raises(DataError, match="perhaps without end"):
        content_digest(f"{endless}/endless.jsonl")
    with pytest.raises(DataError, match="perhaps without end"):
        read_paths(f"{endless}/endless.jsonl")
    monkeypatch.setattr("zen_pipeline.corpus.catalogue.download.ROOM", 1 << 20)
    with pytest.raises(DownloadError, match="perhaps without end"):
        download(f"{endless}/endless.txt", tmp_path / "part", lambda *_: None, Patience(), known=10)
