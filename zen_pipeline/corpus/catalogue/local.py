"""The sets that were downloaded: `.zen/data/NAME/…`, and `.zen/data/pins.json` with the digest of every file.

A digest is pinned when a file is downloaded for the first time, unless the catalogue gives one. From then on the name
stands for these bytes: a home that serves others is an error, not another corpus under the same name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from zen_pipeline.corpus.catalogue.download import Patience, download
from zen_pipeline.corpus.catalogue.entries import Entry, SetFile
from zen_pipeline.errors import DownloadError, StoreError, first_line
from zen_pipeline.files import file_digest, sync_folder, write_atomically
from zen_pipeline.locks import hold_lock
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

# Called with the file, the bytes that are there, and the bytes of the whole file where they are known.
Progress = Callable[[SetFile, int, int | None], None]


class Pin(BaseModel):
    """What one file is, since its first download."""

    sha256: str
    bytes: int
    modified_ns: int
    url: str
    pinned: str


class Got(NamedTuple):
    """One file after `get`."""

    path: Path
    sha256: str
    bytes: int
    downloaded: bool


class LocalSets:
    """The folder of downloaded sets of one workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pins_file = folder / "pins.json"

    def folder(self, entry: Entry) -> Path:
        """Where the files of a set lie, or would lie."""
        return self._folder / entry.name

    def pins(self) -> dict[str, dict[str, Pin]]:
        """The pins of all sets, by name and by the file's path.

        Raises:
            StoreError: pins.json is damaged.
        """
        if not self._pins_file.is_file():
            return {}
        try:
            loaded = json.loads(self._pins_file.read_text(encoding="utf-8"))
            return {
                name: {path: Pin.model_validate(pin) for path, pin in files.items()} for name, files in loaded.items()
            }
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise StoreError(
                f"{self._pins_file} cannot be read ({first_line(error)}): restore it, or remove it to pin every set "
                "anew"
            ) from None

    def is_complete(self, entry: Entry) -> bool:
        """True if every file of the set is there as it was pinned."""
        pins = self.pins().get(entry.name, {})
        return all(self._is_there(entry, file, pins.get(file.path)) for file in entry.files)

    def get(
        self,
        entry: Entry,
        progress: Progress,
        *,
        mirror: str | None = None,
        repin: bool = False,
        patience: Patience | None = None,
    ) -> list[Got]:
        """Download what is missing of a set; what is there is kept.

        Args:
            entry: the set.
            progress: is told what has arrived.
            mirror: address of a folder that holds `NAME/PATH` for every file, instead of the public homes.
            repin: take the bytes that come now as the set, in place of those that were pinned earlier.
            patience: how often and how long to try.

        Raises:
            DownloadError: a file cannot be had, or has another digest than the pinned one.
            StoreError: pins.json is damaged.
            OSError: the disk cannot take it.
        """
        with self._alone(entry):
            return [self._get(entry, f, progress, mirror, repin, patience or Patience()) for f in entry.files]

    def _get(
        self, entry: Entry, file: SetFile, progress: Progress, mirror: str | None, repin: bool, patience: Patience
    ) -> Got:
        target = self.folder(entry) / file.path
        pin = self.pins().get(entry.name, {}).get(file.path)
        if not repin and pin is not None and self._is_there(entry, file, pin):
            return Got(target, pin.sha256, pin.bytes, downloaded=False)
        if pin is not None and target.is_file() and not repin:
            log.warning("%s was changed since it was downloaded; it is downloaded again", target)
        url = file.url if mirror is None else f"{mirror.rstrip('/')}/{entry.name}/{quote(file.path)}"
        part = self.folder(entry) / ".part" / f"{file.path}.part"  # hidden, so that nothing reads it as data
        part.parent.mkdir(parents=True, exist_ok=True)
        download(url, part, lambda done, total: progress(file, done, total or file.bytes), patience, file.bytes)
        digest = file_digest(part)
        self._check(file, None if repin else pin, digest, url, part)
        return Got(target, digest, self._keep(entry, file, part, digest, url), downloaded=True)

    def _is_there(self, entry: Entry, file: SetFile, pin: Pin | None) -> bool:
        """Size and time as pinned; another time makes the digest decide."""
        if pin is None or (file.sha256 is not None and file.sha256 != pin.sha256):
            return False
        path = self.folder(entry) / file.path
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_size != pin.bytes:
            return False
        return status.st_mtime_ns == pin.modified_ns or file_digest(path) == pin.sha256

    def _check(self, file: SetFile, pin: Pin | None, digest: str, url: str, part: Path) -> None:
        """Refuse bytes that are not the known ones, and forget them."""
        expected, known = (
            (file.sha256, "the catalogue's") if file.sha256 else (pin.sha256, "pinned") if pin else ("", "")
        )
        if not expected or digest == expected:
            return
        size = part.stat().st_size
        part.unlink()
        when = f" on {pin.pinned}" if known == "pinned" and pin else ""
        remedy = (
            "if the change is meant, take the new bytes with `zen data get --repin`"
            if known == "pinned"
            else "try again, name a copy with --mirror, or correct the digest in a catalogue entry of your own"
        )
        raise DownloadError(
            f"{url} is not the file that {file.path} stands for: expected SHA-256 {expected} ({known}{when}), "
            f"found {digest} ({size:,} bytes); {remedy}"
        )

    def _keep(self, entry: Entry, file: SetFile, part: Path, digest: str, url: str) -> int:
        """Move the whole file to its place and pin it; its size in bytes."""
        target = self.folder(entry) / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, target)
        sync_folder(target.parent)
        part.with_name(part.name + ".json").unlink(missing_ok=True)
        status = target.stat()
        today = datetime.now(UTC).isoformat(timespec="seconds")
        pin = Pin(sha256=digest, bytes=status.st_size, modified_ns=status.st_mtime_ns, url=url, pinned=today)
        with hold_lock(self._folder / ".pins.lock", what="the list of digests", run_id="-"):
            pins = self.pins()
            pins.setdefault(entry.name, {})[file.path] = pin
            plain = {name: {p: pinned.model_dump() for p, pinned in files.items()} for name, files in pins.items()}
            write_atomically(self._pins_file, json.dumps(plain, indent=1) + "\n")
        return status.st_size

    @contextmanager
    def _alone(self, entry: Entry) -> Iterator[None]:
        """Two downloads of one set wait for each other."""
        with hold_lock(self._folder / f".{entry.name}.lock", what=f"the public set {entry.name}", run_id="-"):
            yield
