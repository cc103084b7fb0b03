"""Files at addresses: `file://`, `http://`, `https://`, `s3://` and `gs://`.

Credentials are those of the environment, as each library documents them. One in the address itself is used for reading
and never written down.
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from glob import has_magic
from typing import Any, BinaryIO, cast

from zen_pipeline.errors import ConfigError, DataError, first_line
from zen_pipeline.logs import get_logger
from zen_pipeline.masking import masked

# fsspec knows many more, some of which run programs, log in elsewhere or unpack what they find.
_READ = ("file", "http", "https", "s3", "s3a", "gs", "gcs", "memory")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# What servers say about the content itself; `Last-Modified` says only when it was copied.
_DIGESTS = ("ETag", "etag", "md5Hash", "Content-MD5", "content_md5")
_BLOCK = 1 << 20
_IP_V6 = re.compile(r"(?<=://)\[[0-9a-fA-F:.]+\]")
_STAR = re.compile(r"[*\[]")
MOST_UNSAID = 16 << 30  # bytes that are read of a file whose length the server does not say: it may have no end
MOST_LISTINGS, MOST_LISTED = 2000, 100_000  # pages of links that are asked for, and files that they may name: the same
_PATIENCE = 10.0  # seconds between two notes while something is waited for

log = get_logger(__name__)


def is_address(path: str) -> bool:
    """True if this is an address and no path of this machine."""
    return "://" in path


def find(address: str) -> Iterator[tuple[str, str]]:
    """The files at an address as (place below it with the last folder's name, address).

    Raises:
        ConfigError: the library for it is missing, nothing is there, or it cannot be asked.
    """
    system, path = _system(address)
    try:
        on_the_web = address.startswith(("http:", "https:"))
        if on_the_web and (star := _STAR.search(_IP_V6.sub(lambda host: "x" * len(host[0]), path))):
            found, top = sorted(_crawl(address, system, path, star.start())), ""
        elif has_magic(path) and not on_the_web:  # where a question mark begins a query
            found, top = sorted(map(str, system.glob(path))), ""
        elif system.isfile(path):
            found, top = [path], ""
        else:
            found, top = sorted(map(str, system.find(path))), path.rstrip("/")
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{address} cannot be reached: {first_line(error)}") from error
    if not found:
        raise ConfigError(f"there is no file at {address}: check the address, and that you may read it")
    for each in found:
        below = each[len(top) :].lstrip("/") if top else each.rsplit("/", 1)[-1]
        folder = masked(top or each.rpartition("/")[0]).rsplit("/", 1)[-1]
        yield f"{folder}/{below.partition('?')[0]}", str(system.unstrip_protocol(each))


def _crawl(address: str, system: Any, pattern: str, star: int) -> list[str]:
    """What a pattern matches on a web server whose pages list files: their links, followed to the pattern's depth."""
    from fsspec.utils import glob_translate

    root = pattern[: pattern.rfind("/", 0, star) + 1]
    deepest = None if "**" in pattern else pattern[len(root) :].count("/")
    wanted = re.compile(glob_translate(pattern))
    seen, waiting, found = {root}, deque([(root, 0)]), list[str]()
    note = _Note(address)
    while waiting:
        folder, depth = waiting.popleft()
        for entry in system.ls(folder, detail=True):
            name = str(entry["name"])
            if entry["type"] != "directory":
                found += [name] if wanted.match(name) else []
            elif name not in seen and (deepest is None or depth < deepest):
                seen.add(name)
                waiting.append((name, depth + 1))
        note.say(f"{len(seen):,} pages of links, {len(found):,} files so far")
        if len(seen) > MOST_LISTINGS or len(found) > MOST_LISTED:
            raise ConfigError(
                f"{address} lists more than {MOST_LISTINGS:,} folders or {MOST_LISTED:,} files, perhaps without end: "
                "name the folder or the files that are meant"
            )
    return found


class _Note:
    """Says now and then that something is waited for."""

    def __init__(self, address: str) -> None:
        self._address, self._last = address, time.monotonic()

    def say(self, what: str) -> None:
        """Log it when the last note is old enough."""
        if time.monotonic() - self._last > _PATIENCE:
            self._last = time.monotonic()
            log.info("%s: %s", self._address, what)


class _RemoteFile(io.RawIOBase):
    """A file at an address whose trouble is that of the address, never of the content.

    A connection that breaks must end the run: as a set-aside entry it would silently make the data smaller.
    """

    def __init__(self, address: str, opened: Any) -> None:
        self._address, self._opened = address, opened
        self._said_size = getattr(opened, "size", None)
        self._read = 0
        self._note = _Note(address)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._opened.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._asked(self._opened.seek, offset, whence))

    def tell(self) -> int:
        return int(self._opened.tell())

    def read(self, size: int = -1) -> bytes:
        block = bytes(self._asked(self._opened.read, size))
        self._read += len(block)
        self._note.say(f"{self._read / 1e6:,.0f} MB so far")
        if self._said_size is None and self._read > MOST_UNSAID:
            raise DataError(
                f"cannot read {self._address}: it does not say how long it is and has sent more than "
                f"{MOST_UNSAID >> 30} GiB, perhaps without end: download the part that is meant"
            )
        return block

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._opened.close()
        super().close()

    def _asked(self, method: Callable[..., Any], *arguments: int) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            raise DataError(f"cannot read {self._address}: {first_line(error)}") from error


def open_address(address: str) -> BinaryIO:
    """The bytes at an address.

    Raises:
        DataError: it cannot be opened or, later, not be read.
    """
    system, path = _system(address)
    try:
        return cast(BinaryIO, _RemoteFile(address, system.open(path, "rb")))
    except Exception as error:
        raise DataError(f"cannot read {address}: {first_line(error)}") from error


def header_charset(address: str) -> str:
    """The charset that a web server names for a text; empty where it names none, or this is no web server."""
    import httpx

    if not address.startswith(("http://", "https://")):
        return ""
    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=15.0) as response:  # ends before the body
            return response.charset_encoding or ""
    except (httpx.HTTPError, httpx.InvalidURL):  # reading will say it
        return ""


def content_digest(address: str) -> str:
    """What identifies the content: the server's own entity tag or checksum, else a SHA-256 of what is read.

    A weak entity tag (`W/…`) promises no equal bytes and does not count.

    Raises:
        DataError: it cannot be read.
    """
    system, path = _system(address)
    try:
        info: dict[str, Any] = system.info(path)
        for name in _DIGESTS:
            value = info.get(name)
            if isinstance(value, str) and value and not value.startswith("W/"):
                return f"{name.lower()} {value} {info.get('size')}"
        whole = hashlib.sha256()
        with open_address(address) as file:
            while block := file.read(_BLOCK):
                whole.update(block)
        return whole.hexdigest()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"cannot read {address}: {first_line(error)}") from error


def _system(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    scheme = address.partition("://")[0].lower()
    if scheme not in _READ or "::" in _IP_V6.sub("", address):
        known = ", ".join(f"{name}://" for name in _READ if name != "memory")
        raise ConfigError(f"{address} is no address that is read: use {known} or hf://, or download it first")
    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        how = f'pip install "zen-pipeline[{extra}]"' if extra else str(error)
        raise ConfigError(f"{address} needs a library that is not installed: {how}") from error
    except Exception as error:
        raise ConfigError(f"{address} is no address that can be read: {first_line(error)}") from error
    return system, str(path)
