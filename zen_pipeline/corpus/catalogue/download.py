"""One file over HTTP, resumed where it was cut off.

What has arrived lies in `NAME.part`, next to a note that says from which address and which version of it (RFC 9110: the
strong ETag, else Last-Modified). A later request asks for the rest with `Range` and `If-Range`, so that the server
sends the rest of the same version or the whole of a new one, never the rest of a new one.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline import __version__
from zen_pipeline.errors import DownloadError
from zen_pipeline.files import write_atomically
from zen_pipeline.logs import get_logger

if TYPE_CHECKING:
    import httpx

# Called with the bytes that are there and the bytes of the whole file, where the server says them.
Report = Callable[[int, int | None], None]

MOST_UNSAID = 64 << 30  # bytes of a file whose size nobody says
ROOM = 64 << 20  # bytes by which one may be larger than it was
_LONGEST_PAUSE = 60.0  # seconds; also of what a server asks for in Retry-After
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what may be gone at the next try

log = get_logger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try.

    Attributes:
        tries: requests in a row that bring nothing before giving up; one that brings something starts the count anew.
        pause: before the second try; it doubles each time.
        connect: until a connection stands.
        read: without a byte on a connection that stands.
    """

    tries: int = 6
    pause: float = 1.0
    connect: float = 15.0
    read: float = 60.0


class _Passing(Exception):
    """A failure that another try may mend."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def download(url: str, part: Path, report: Report, patience: Patience, known: int | None = None) -> None:
    """Bring the file at `url` to `part`, going on from what is there already; follows redirects.

    Args:
        url: its address.
        part: where it is written.
        report: is told what has arrived.
        patience: how often and how long to try.
        known: its size as far as it is known; one that does not say its own may be a little larger, not without end.

    Raises:
        DownloadError: the server refuses, or nothing arrives; what has arrived is kept for the next time.
        OSError: the disk cannot take it.
    """
    import httpx

    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    agent = {"User-Agent": f"zen-pipeline/{__version__}"}
    failures = 0
    with httpx.Client(timeout=timeout, headers=agent, follow_redirects=True) as client:
        while True:
            before = _size(part)
            try:
                return _go_on(client, url, part, report, known)
            except httpx.TransportError as error:
                reason, asked = f"{type(error).__name__}: {error}", None
            except _Passing as error:
                reason, asked = str(error), error.after
            except (httpx.HTTPError, httpx.InvalidURL) as error:  # too many redirects, an address that is none
                raise DownloadError(f"cannot download {url}: {error}") from None
            failures = 1 if _size(part) > before else failures + 1
            if failures >= patience.tries:
                raise DownloadError(_gave_up(url, reason, _size(part)))
            pause = min(asked if asked is not None else patience.pause * 2 ** (failures - 1), _LONGEST_PAUSE)
            log.warning("%s: %s; trying again in %.0f s", url, reason, pause)
            time.sleep(pause)


def _go_on(client: httpx.Client, url: str, part: Path, report: Report, known: int | None) -> None:
    """One request: the rest of the file, or all of it."""
    note = part.with_name(part.name + ".json")
    start, version = _resume_point(part, note, url)
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file, not of a compressed form
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            if response.headers.get("content-range") == f"bytes */{start}":
                return  # it was whole already
            part.unlink(missing_ok=True)
            raise _Passing("the server has fewer bytes than arrived before, so the file was changed")
        _refuse(response, url)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise DownloadError(f"{url}: the server sends it compressed although it was asked not to: use a mirror")
        if response.status_code == 206 and not _is_the_rest(response, start, version):
            part.unlink(missing_ok=True)
            raise _Passing("the server sent another part than it was asked for")
        if response.status_code != 206:
            if start:
                log.info("%s: the server sends the whole file again", url)
            start = 0
        length = response.headers.get("content-length", "")
        total = start + int(length) if length.isdigit() else None
        _check_disk(part, total, start)
        write_atomically(note, json.dumps({"url": url, "version": _version(response)}))
        _write(response, part, start, total, report, MOST_UNSAID if known is None else 2 * known + ROOM)


def _write(response: httpx.Response, part: Path, start: int, total: int | None, report: Report, most: int) -> None:
    report(start, total)
    with part.open("ab" if start else "wb") as file:
        done = start
        for block in response.iter_raw():  # a block size would hold back, and lose, what arrives before a cut
            file.write(block)
            done += len(block)
            report(done, total)
            if total is None and done > most:
                raise DownloadError(
                    f"cannot download {response.url}: the server does not say how long it is and has sent more than "
                    f"{most:,} bytes, perhaps without end: name a copy with --mirror"
                )
    if total is not None and done != total:
        raise _Passing(f"the connection ended after {done} of {total} bytes")


def _resume_point(part: Path, note: Path, url: str) -> tuple[int, str]:
    """How many bytes of which version are there; (0, "") when they cannot be gone on from."""
    try:
        noted = json.loads(note.read_text())
        version = noted["version"] if noted["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        version = None
    return (_size(part), version) if isinstance(version, str) and version else (0, "")


def _version(response: httpx.Response) -> str | None:
    """What If-Range may name: weak ETags promise no equal bytes."""
    tag = response.headers.get("etag")
    if tag is not None and not tag.startswith("W/"):
        return str(tag)
    date = response.headers.get("last-modified")
    return None if date is None else str(date)


def _is_the_rest(response: httpx.Response, start: int, version: str) -> bool:
    """True if a 206 goes on where the part ends, in the same version: some servers ignore If-Range."""
    begins = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return begins is not None and int(begins[1]) == start and _version(response) in (None, version)


def _refuse(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in _PASSING:
        after = response.headers.get("retry-after", "")
        raise _Passing(
            f"the server answers {status} {response.reason_phrase}", float(after) if after.isdigit() else None
        )
    if status not in (200, 206):
        raise DownloadError(
            f"cannot download {url}: the server answers {status} {response.reason_phrase}. "
            "If the set has moved, correct its address in a catalogue entry of your own, or name a copy with --mirror"
        )


def _check_disk(part: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise DownloadError(
            f"the disk is too full for {part.stem}: it needs {total - start:,} bytes more and {free:,} are free in "
            f"{part.parent}: free some space, or run `zen gc`"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _gave_up(url: str, reason: str, size: int) -> str:
    kept = f" {size:,} bytes are kept and the same command goes on from there." if size else ""
    return f"cannot download {url}: {reason}.{kept} See that the network is there, or name a copy with --mirror"
