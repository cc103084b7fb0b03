"""A real HTTP server on a free port of this machine, which can be told to behave badly."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Home:
    """What the server has, and how it answers.

    Attributes:
        files: content by path, such as `/set/train.txt`.
        cuts: how many bytes of the body to send before the connection is closed; one entry per request, in order.
        statuses: refuse the next requests with these.
        etag: the version; None sends none.
        ranges: whether Range is understood.
        if_range: whether If-Range is looked at; servers that ignore it send the rest of whatever there is now.
        claim: content length to claim, whatever the file's is.
        redirects: path to path.
        wait: seconds before the first byte of an answer.
        asked: (path, Range header) of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: deque[int] = field(default_factory=deque)
    statuses: deque[int] = field(default_factory=deque)
    etag: str | None = '"one"'
    ranges: bool = True
    if_range: bool = True
    claim: int | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.statuses:
            return self.statuses.popleft(), {"Retry-After": "0"}, b""
        if path in self.redirects:
            return 302, {"Location": self.url + self.redirects[path]}, b""
        if path not in self.files:
            return 404, {}, b""
        body = self.files[path]
        sent = {} if self.etag is None else {"ETag": self.etag}
        wanted = re.match(r"bytes=(\d+)-$", headers.get("Range", "")) if self.ranges else None
        if wanted is None or (self.if_range and headers.get("If-Range") != self.etag):
            return 200, sent, body
        start = int(wanted[1])
        if start >= len(body):
            return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
        return 206, {**sent, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, body[start:]


@contextmanager
def serve(home: Home) -> Iterator[Home]:
    """Serve until the block ends; `home.url` has the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            home.asked.append((self.path, self.headers.get("Range")))
            time.sleep(home.wait)
            status, headers, body = home.answer(self.path, self.headers)
            cut = home.cuts.popleft() if home.cuts and body else None
            self.send_response(status)
            length = home.claim if home.claim is not None else len(body)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if cut is None else body[:cut])
            self.close_connection = cut is not None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    home.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield home
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def mirror_of(shared_data: Callable[[str], Path], files: Mapping[str, str]) -> dict[str, bytes]:
    """Real files under the paths of a mirror: {"/set/path": "folder/file"}."""
    found = {}
    for path, place in files.items():
        folder, _, name = place.partition("/")
        found[path] = (shared_data(folder) / name).read_bytes()
    return found
