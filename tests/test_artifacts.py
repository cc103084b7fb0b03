"""The artifact store: what it finds, what it builds, and what it does with damage, rivals and full disks."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.artifacts import (
    MANIFEST,
    Built,
    Identity,
    Manifest,
    Store,
    canonical_json,
    flatten,
    read_manifest,
)
from zen_pipeline.errors import StageBusy, StoreError
from zen_pipeline.files import folder_digest, unsealed, write_atomically

# --- canonical JSON ---------------------------------------------------------------------------------------------------

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(plain, lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(), c, max_size=4))


@given(json_values)
def test_canonical_json_loses_nothing(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@given(json_values, json_values)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    if canonical_json(one) == canonical_json(other):
        assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.parametrize(
    "value",
    [{1, 2}, Path("x"), datetime.now(UTC), b"bytes", {1: "a"}, {"a": [object()]}, 1j, {"a": {None: 1}}],
    ids=["set", "path", "date", "bytes", "number as key", "object within", "complex", "none as key"],
)
def test_canonical_json_refuses_what_has_no_stable_form(value: object) -> None:
    with pytest.raises(TypeError, match=r"\$"):
        canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_numbers_that_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match=r"\$\.a\[1\]"):
        canonical_json({"a": [0.0, value]})


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_flatten_keeps_lists_and_empty_mappings() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, {"e": 2}]}, "s") == {"s.a.b": 1, "s.a.c": {}, "s.d": [1, {"e": 2}]}


def test_flatten_does_not_let_one_key_hide_another() -> None:
    with pytest.raises(ValueError, match=r"s\.a\.b"):
        flatten({"a": {"b": 1}, "a.b": 2}, "s")
    with pytest.raises(TypeError, match="not a string"):
        flatten({1: "a"}, "s")


def test_every_part_and_the_stage_decide_the_fingerprint() -> None:
    parts = {"version": 1, "settings.size": 8, "inputs.collect": "ab"}
    base = Identity("embed", parts).fingerprint
    assert Identity("embed", dict(reversed(parts.items()))).fingerprint == base
    assert Identity("other", parts).fingerprint != base
    for name in parts:
        assert Identity("embed", parts | {name: "changed"}).fingerprint != base
        assert Identity("embed", {k: v for k, v in parts.items() if k != name}).fingerprint != base


def test_changed_from_names_the_parts_that_differ() -> None:
    new = Identity("embed", {"version": 2, "settings.size": 8, "settings.new": None, "sources.0": ("a", 1)})
    earlier = json.loads(json.dumps({"version": 1, "settings.size": 8, "settings.old": 1, "sources.0": ("a", 1)}))
    assert new.changed_from(earlier) == ["settings.new", "settings.old", "version"]
    assert new.changed_from(json.loads(json.dumps(dict(new.parts)))) == []


# --- hit, miss, failure -----------------------------------------------------------------------------------------------

IDENTITY = Identity("embed", {"version": 1, "settings.size": 8})


class Builder:
    """Builds an artifact of two files, and counts how often."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, output: Path) -> Built:
        assert not list(output.iterdir())
        self.builds += 1
        (output / "deep").mkdir()
        (output / "deep" / "vectors.bin").write_bytes(bytes(range(256)) * 64)
        (output / "words.txt").write_text("one\ntwo\n")
        return Built(kind="embeddings", summary={"words": 2})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ask(store: Store, build: Callable[[Path], Built], **options: Any) -> Any:
    return store.get_or_build(IDENTITY, build, inputs={}, run_id="run-1", **options)


def folder_of(store: Store) -> Path:
    return store.folder(IDENTITY.stage, IDENTITY.fingerprint)


def test_a_miss_builds_and_a_hit_does_not(store: Store) -> None:
    build = Builder()
    made, found = ask(store, build), ask(store, build)
    assert build.builds == 1
    assert (made.cached, found.cached) == (False, True)
    assert made.model_dump(exclude={"cached"}) == found.model_dump(exclude={"cached"})
    manifest = read_manifest(made.path)
    assert set(manifest.files) == {"words.txt", "deep/vectors.bin"}
    assert manifest.size == 256 * 64 + 8
    assert manifest.parts == dict(IDENTITY.parts)


def test_equal_content_has_an_equal_digest(tmp_path: Path) -> None:
    one, other = ask(Store(tmp_path / "a"), Builder()), ask(Store(tmp_path / "b"), Builder())
    assert one.digest == other.digest
    assert folder_digest(one.path / "deep") == folder_digest(other.path / "deep")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_build_that_fails_leaves_nothing(store: Store, error: BaseException) -> None:
    def fail(output: Path) -> Built:
        (output / "half").write_text("half")
        raise error

    with pytest.raises(type(error)):
        ask(store, fail)
    assert not list((store.root / "embed").iterdir())
    assert list(store.manifests()) == []
    assert ask(store, Builder()).cached is False


def test_what_a_killed_build_left_is_not_part_of_the_next(store: Store) -> None:
    scratch = folder_of(store).with_name(f".building-{folder_of(store).name}")
    scratch.mkdir(parents=True)
    (scratch / "left").write_text("left")
    assert set(read_manifest(ask(store, Builder()).path).files) == {"words.txt", "deep/vectors.bin"}


def test_a_source_that_may_not_be_read_is_not_blamed_on_the_store(store: Store, tmp_path: Path) -> None:
    def refuse(_output: Path) -> Built:
        raise PermissionError(13, "Permission denied", str(tmp_path.parent / "secret.txt"))

    with pytest.raises(PermissionError, match=r"secret\.txt"):
        ask(store, refuse)


def test_removing_an_artifact_removes_what_an_earlier_removal_left(store: Store) -> None:
    folder = ask(store, Builder()).path
    left = folder.with_name(f".removing-{folder.name}")
    left.mkdir()
    (left / "file").touch()
    store.remove(folder)
    assert list(folder.parent.iterdir()) == []


# --- damage -----------------------------------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "file missing": lambda f: (f / "words.txt").unlink(),
    "folder missing": lambda f: shutil.rmtree(f / "deep"),
    "file longer": lambda f: (f / "words.txt").write_text("one\ntwo\nthree\n"),
    "file empty": lambda f: (f / "deep" / "vectors.bin").write_bytes(b""),
    "byte flipped": lambda f: _flip(f / "deep" / "vectors.bin"),
    "manifest changed in one bit": lambda f: _flip(f / MANIFEST),
    "manifest missing": lambda f: (f / MANIFEST).unlink(),
    "manifest truncated": lambda f: os.truncate(f / MANIFEST, 200),
    "manifest empty": lambda f: (f / MANIFEST).write_bytes(b""),
    "manifest of another": lambda f: (f / MANIFEST).write_text(
        (f / MANIFEST).read_text().replace(IDENTITY.fingerprint, "0" * 64)
    ),
    "file turned folder": lambda f: ((f / "words.txt").unlink(), (f / "words.txt").mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_artifact_is_set_aside_and_built_again(
    store: Store, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    build = Builder()
    made = ask(store, build)
    damage(made.path)
    assert store.inspect(IDENTITY.stage, IDENTITY.fingerprint)[0] == "damaged"
    assert store.find(IDENTITY.stage, IDENTITY.fingerprint) is None
    with caplog.at_level(logging.WARNING):
        again = ask(store, build)
    assert build.builds == 2
    assert again.digest == made.digest
    assert "set aside" in caplog.text
    assert len(list((store.root / "damaged").iterdir())) == 1
    assert [folder for folder, _ in store.manifests()] == [again.path]


def test_every_bit_of_a_manifest_counts(store: Store) -> None:
    content = (ask(store, Builder()).path / MANIFEST).read_bytes()
    assert Manifest.model_validate_json(unsealed(content)).fingerprint == IDENTITY.fingerprint
    for place in range(len(content)):
        for bit in range(8):
            with pytest.raises(ValueError, match="seal"):
                unsealed(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])


def test_damage_that_keeps_size_and_time_is_found_when_digests_are_asked_for(store: Store) -> None:
    build = Builder()
    file = ask(store, build).path / "deep" / "vectors.bin"
    times = file.stat()
    _flip(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ask(store, build).cached
    assert ask(store, build, digests=True).cached is False
    assert build.builds == 2


def test_a_file_that_was_only_touched_is_not_damaged(store: Store) -> None:
    build = Builder()
    os.utime(ask(store, build).path / "words.txt", ns=(1, 1))
    assert ask(store, build).cached


# --- two processes ----------------------------------------------------------------------------------------------------

# A builder that says when it has begun and ends when a line arrives on its standard input.
RIVAL = """
import sys
from pathlib import Path
from zen_pipeline.artifacts import Built, Identity, Store

def build(output):
    (output / "made").write_text("by the rival")
    print("building", flush=True)
    sys.stdin.readline()
    return Built(kind="embeddings")

ref = Store(Path(sys.argv[1])).get_or_build(
    Identity("embed", {"version": 1, "settings.size": 8}), build, inputs={}, run_id="rival-run"
)
print(ref.cached, flush=True)
"""


@pytest.fixture
def rival(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of building the same artifact."""
    command = [sys.executable, "-c", RIVAL, str(store.root)]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        yield process
        process.kill()


class _LetItGoOn(logging.Handler):
    """Lets the rival finish as soon as we say that we wait for it."""

    def __init__(self, rival: subprocess.Popen[str]) -> None:
        super().__init__()
        self.rival = rival
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        assert self.rival.stdin is not None
        self.rival.stdin.write("\n")
        self.rival.stdin.flush()


def test_the_second_process_waits_says_for_whom_and_takes_what_the_first_built(
    store: Store, rival: subprocess.Popen[str]
) -> None:
    handler = _LetItGoOn(rival)
    logger = logging.getLogger("zen_pipeline.locks")
    logger.addHandler(handler)
    try:
        build = Builder()
        ref = ask(store, build)
    finally:
        logger.removeHandler(handler)
    assert build.builds == 0
    assert ref.cached
    assert (ref.path / "made").read_text() == "by the rival"
    assert f"rival-run (process {rival.pid}" in handler.messages[0]


def test_without_waiting_a_second_process_is_refused(store: Store, rival: subprocess.Popen[str]) -> None:
    with pytest.raises(StageBusy, match=rf"embed is in use by run rival-run \(process {rival.pid}"):
        ask(store, Builder(), wait=False)


def test_a_killed_builder_gives_its_lock_back(store: Store, rival: subprocess.Popen[str]) -> None:
    rival.send_signal(signal.SIGKILL)
    rival.wait()
    assert store.inspect(IDENTITY.stage, IDENTITY.fingerprint) == ("missing", "")
    ref = ask(store, Builder(), wait=False)
    assert set(read_manifest(ref.path).files) == {"words.txt", "deep/vectors.bin"}
    assert not list((store.root / "embed").glob(".*"))


# --- a disk that does not play along ----------------------------------------------------------------------------------


def test_a_store_path_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write to .*store.*ZEN_HOME"):
        ask(Store(tmp_path / "store"), Builder())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="Permission denied"):
            ask(Store(tmp_path / "store"), Builder())
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_explained_and_leaves_nothing(small_disk: Path) -> None:
    store = Store(small_disk / "store")

    def too_large(output: Path) -> Built:
        (output / "large").write_bytes(b"x" * (2 << 20))
        return Built(kind="embeddings")

    with pytest.raises(StoreError, match=r"disk is full .*zen gc"):
        ask(store, too_large)
    assert list((store.root / "embed").iterdir()) == []
    assert ask(store, Builder()).cached is False


def test_an_atomic_write_that_fails_keeps_the_old_file(small_disk: Path) -> None:
    file = small_disk / "state.json"
    write_atomically(file, "old")
    with pytest.raises(OSError, match="space"):
        write_atomically(file, b"x" * (2 << 20))
    assert file.read_text() == "old"
    assert list(small_disk.iterdir()) == [file]
