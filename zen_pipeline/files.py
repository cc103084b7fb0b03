"""Files that are whole or absent: digests, atomic writes, and what the system's refusals mean for a user."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

from zen_pipeline.errors import ConfigError, ZenError


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the sorted (relative path, SHA-256) of every file below `folder`, in hex."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def read_small_text(path: Path, limit: int = 4 << 20) -> str:
    """The text of a file that a person wrote; a pipe, a device or a file beyond `limit` bytes is never read to its end.

    Raises:
        OSError: it is no such file, or cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a pipe waits for who writes to it
        raise OSError(errno.EINVAL, "it is no regular file: save what it gives in one", str(path))
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit >> 20} MiB", str(path))
    return content.decode("utf-8-sig")


def expanded(path: str | Path) -> Path:
    """The path with the home folder that `~` or `~name` stands for.

    Raises:
        ConfigError: no such home folder is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = str(path).partition("/")[0]
        raise ConfigError(f"{path}: no home folder is known for {user}: write the whole path") from None


def files_named(patterns: Iterable[str], setting: str) -> list[Path]:
    """The files that paths and globs name, sorted.

    Args:
        patterns: paths and globs.
        setting: where they come from, for the message.

    Raises:
        ConfigError: one of them names no file.
    """
    found: set[Path] = set()
    for pattern in patterns:
        files = {Path(path) for path in glob(pattern) if Path(path).is_file()}
        if not files:
            raise ConfigError(f"{setting}: {pattern} names no file")
        found |= files
    return sorted(found)


# A refused write as safetensors, tokenizers, SQLite, NumPy and torch report it: without the system's number.
_FULL = re.compile(
    r"No space left on device|[Qq]uota exceeded|database or disk is full|\d+ requested and \d+ written|"
    r"inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing"
)
_TOO_LARGE = re.compile(r"File too large")


def explain_os_error(error: BaseException, root: Path) -> str | None:
    """One sentence for the failures of a disk that a user can mend; None for any other error.

    Args:
        error: the system's own, or what a library made of it.
        root: the folder that was worked in.
    """
    if _follows_from(error, (errno.EFBIG,), _TOO_LARGE):
        return f"the system lets no file in {root} grow as large as is needed: see `ulimit -f`, then start again"
    if _follows_from(error, (errno.ENOSPC, errno.EDQUOT), _FULL):
        where = getattr(error, "filename2", None) or getattr(error, "filename", None) or root
        return f"the disk is full ({where}): free some space, or run `zen gc`, and start again; nothing was lost"
    if isinstance(error, FileNotFoundError) and not root.exists():
        return f"{root} was removed while it was in use, with all that it held: start again"
    if isinstance(error, OSError) and error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EEXIST,
    ):
        where, reason = error.filename or root, os.strerror(error.errno)
        return f"cannot write to {where} ({reason}): make it writable, or name another folder in ZEN_HOME"
    return None


def _follows_from(error: BaseException | None, numbers: tuple[int, ...], text: re.Pattern[str]) -> bool:
    """True if an error, or one that it was raised from or while handling, has such a number or text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in numbers:
                return True
        elif not isinstance(error, ZenError) and text.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` so that a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_json_lines(path: Path, *, missing_ok: bool = False) -> list[Any]:
    """The values of a file with one JSON value in each line.

    Args:
        path: of the file.
        missing_ok: a file that does not exist has no lines.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is no JSON.
    """
    if missing_ok and not path.is_file():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]  # bytes: text is cut at U+2028 too


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value in each line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


_HALF_WRITTEN = re.compile(r"\..+\.(\d+)-\d+\.tmp")
_HALF_WRITTEN_SECONDS = 10.0  # more than a write takes: the process may be one of another machine


def remove_half_written(folder: Path) -> None:
    """Remove the temporary files of `write_atomically` whose process was killed."""
    import psutil

    for path in folder.glob(".*.tmp"):
        named = _HALF_WRITTEN.fullmatch(path.name)
        if named is None or psutil.pid_exists(int(named[1])):
            continue
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _HALF_WRITTEN_SECONDS:
                path.unlink()


_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n}\Z')


def sealed(text: str) -> str:
    """A JSON object with a last field that holds the SHA-256 of all the text before it."""
    body = text.rstrip().removesuffix("}").rstrip()
    return f'{body},\n "seal": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}'


def unsealed(content: bytes) -> bytes:
    """The JSON object that `sealed` was given.

    Raises:
        ValueError: a bit has changed, or it was never sealed.
    """
    if (seal := _SEAL.search(content)) is None:
        raise ValueError("it has no seal at its end: it was cut off, or written by an earlier version")
    body = content[: seal.start()]
    if hashlib.sha256(body).hexdigest().encode() != seal[1]:
        raise ValueError("its content does not fit its seal")
    return body + b"\n}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- files in folders that somebody else made -------------------------------------------------------------------------

_MOST_JSON_BYTES = 256 << 20  # the largest published tokenizer.json has a seventh of it


def own_file(folder: Path, name: str) -> Path | None:
    """A file of a given folder by its name in it; None where there is none.

    A link is followed inside the folder only, or to the blobs next to a snapshot of Hugging Face's download cache.

    Raises:
        ConfigError: it is a link that leads elsewhere or to nothing, or no regular file.
    """
    path = folder / name
    if not os.path.lexists(path):
        return None
    try:
        found = path.resolve(strict=True)
        roots = [folder.resolve()]
    except (OSError, RuntimeError) as error:  # a RuntimeError for links in a circle
        raise ConfigError(f"{path} cannot be read ({error}): put the file itself there") from None
    if roots[0].parent.name == "snapshots":
        roots.append(roots[0].parents[1] / "blobs")
    if not any(found.is_relative_to(root) for root in roots):
        raise ConfigError(f"{path} is a link that leads out of its folder, to {found}: put the file itself there")
    if not found.is_file():
        raise ConfigError(f"{path} is no regular file: put the file itself there")
    return path


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a given folder.

    Raises:
        ConfigError: it is missing, a link that leads out of its folder, too large, nested too deeply, or holds
            something else.
    """
    try:
        if own_file(path.parent, path.name) is None:
            raise ConfigError(f"{path.parent} has no {path.name}")
        if (size := path.stat().st_size) > _MOST_JSON_BYTES:
            raise ConfigError(f"{path} has {size} bytes, where at most {_MOST_JSON_BYTES} are read")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply to be read") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds a JSON {type(data).__name__}, where an object is expected")
    return data
