"""Downloads by name from a real server that cuts, changes, refuses and lies."""

from __future__ import annotations

import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http_server import Home, mirror_of, serve
from zen_pipeline.corpus.catalogue.download import Patience
from zen_pipeline.corpus.catalogue.entries import Entry, SetFile, read_catalogue
from zen_pipeline.corpus.catalogue.local import Got, LocalSets
from zen_pipeline.errors import DownloadError, StoreError

OLD = random.Random(1).randbytes(700_000)
NEW = random.Random(2).randbytes(700_000)
QUICK = Patience(tries=4, pause=0.0, read=5.0)


@pytest.fixture
def home() -> Iterator[Home]:
    with serve(Home({"/words/a.txt": OLD})) as served:
        yield served


@pytest.fixture
def sets(tmp_path: Path) -> LocalSets:
    return LocalSets(tmp_path / "data")


def entry_at(home: Home, sha256: str | None = None) -> Entry:
    file = SetFile(path="a.txt", url=f"{home.url}/words/a.txt", bytes=None, sha256=sha256)
    about = {"title": "Words", "languages": ["en"], "licence": "CC0", "homepage": "", "citation": ""}
    return Entry(name="words", kind="document", commercial=True, files=[file], **about)


def get(sets: LocalSets, home: Home, **options: object) -> Got:
    """The one file of the set, downloaded with little patience."""
    settings: dict[str, object] = {"patience": QUICK, **options}
    return sets.get(entry_at(home), lambda *_: None, **settings)[0]  # type: ignore[arg-type]


def test_a_second_get_asks_for_nothing(home: Home, sets: LocalSets) -> None:
    first = get(sets, home)
    assert (first.path.read_bytes(), first.downloaded) == (OLD, True)
    assert not get(sets, home).downloaded
    assert len(home.asked) == 1
    assert sets.is_complete(entry_at(home))


def test_a_cut_connection_is_gone_on_from_where_it_ended(home: Home, sets: LocalSets) -> None:
    home.cuts.extend([100_000, 200_000])
    assert get(sets, home).path.read_bytes() == OLD
    assert home.asked == [("/words/a.txt", f) for f in (None, "bytes=100000-", "bytes=300000-")]


def test_a_later_command_goes_on_where_an_earlier_one_gave_up(home: Home, sets: LocalSets) -> None:
    home.cuts.extend([300_000])
    home.statuses.extend([])
    with pytest.raises(DownloadError, match="300,000 bytes are kept"):
        get(sets, home, patience=Patience(tries=1, pause=0.0))
    assert not sets.is_complete(entry_at(home))
    assert get(sets, home).path.read_bytes() == OLD
    assert home.asked[-1][1] == "bytes=300000-"


def test_a_file_that_was_whole_but_not_yet_in_place_is_not_fetched_again(home: Home, sets: LocalSets) -> None:
    get(sets, home)
    folder = sets.folder(entry_at(home))
    part = folder / ".part" / "a.txt.part"
    (folder / "a.txt").rename(part)
    part.with_name("a.txt.part.json").write_text(json.dumps({"url": f"{home.url}/words/a.txt", "version": '"one"'}))
    assert get(sets, home).path.read_bytes() == OLD
    assert home.asked[-1][1] == f"bytes={len(OLD)}-"


def test_without_range_support_the_file_is_fetched_whole_again(home: Home, sets: LocalSets) -> None:
    home.ranges = False
    home.cuts.extend([100_000])
    assert get(sets, home).path.read_bytes() == OLD
    assert home.asked[1][1] == "bytes=100000-"


def test_without_a_version_nothing_is_stitched_together(home: Home, sets: LocalSets) -> None:
    home.etag = None
    home.cuts.extend([100_000])
    assert get(sets, home).path.read_bytes() == OLD
    assert [r for _, r in home.asked] == [None, None]


@pytest.mark.parametrize("if_range", [True, False], ids=["server checks If-Range", "server ignores If-Range"])
def test_a_file_that_changes_in_the_middle_is_fetched_whole(home: Home, sets: LocalSets, if_range: bool) -> None:
    home.if_range = if_range
    home.cuts.extend([400_000])
    with pytest.raises(DownloadError):
        get(sets, home, patience=Patience(tries=1, pause=0.0))
    home.files["/words/a.txt"], home.etag = NEW, '"two"'
    assert get(sets, home).path.read_bytes() == NEW


def test_a_file_that_shrinks_in_the_middle_is_fetched_whole(home: Home, sets: LocalSets) -> None:
    home.if_range = False
    home.cuts.extend([400_000])
    with pytest.raises(DownloadError):
        get(sets, home, patience=Patience(tries=1, pause=0.0))
    home.files["/words/a.txt"], home.etag = NEW[:1000], '"two"'
    assert get(sets, home).path.read_bytes() == NEW[:1000]


def test_wrong_bytes_are_refused_and_forgotten(home: Home, sets: LocalSets) -> None:
    get(sets, home)
    (sets.folder(entry_at(home)) / "a.txt").unlink()
    home.files["/words/a.txt"] = NEW
    with pytest.raises(DownloadError, match=r"expected SHA-256 [0-9a-f]{64} \(pinned on 20.* --repin"):
        get(sets, home)
    assert not list(sets.folder(entry_at(home)).rglob("*.txt*part"))
    assert not sets.is_complete(entry_at(home))
    home.files["/words/a.txt"] = OLD
    assert get(sets, home).path.read_bytes() == OLD


def test_the_catalogues_own_digest_stands_above_any_pin(home: Home, sets: LocalSets) -> None:
    entry = entry_at(home, sha256="0" * 64)
    for options in ({}, {"repin": True}):
        with pytest.raises(DownloadError, match=r"\(the catalogue's\)"):
            sets.get(entry, lambda *_: None, patience=QUICK, **options)


def test_repin_takes_the_new_bytes(home: Home, sets: LocalSets) -> None:
    get(sets, home)
    home.files["/words/a.txt"], home.etag = NEW, '"two"'
    assert get(sets, home, repin=True).path.read_bytes() == NEW
    assert not get(sets, home).downloaded


@pytest.mark.parametrize("damage", ["cut", "same size"])
def test_a_file_that_was_changed_here_is_fetched_again(home: Home, sets: LocalSets, damage: str) -> None:
    path = get(sets, home).path
    path.write_bytes(OLD[:10] if damage == "cut" else OLD[:-1] + bytes([OLD[-1] ^ 1]))
    assert not sets.is_complete(entry_at(home))
    assert get(sets, home).path.read_bytes() == OLD


def test_a_file_that_was_only_touched_is_kept(home: Home, sets: LocalSets) -> None:
    os.utime(get(sets, home).path, (0, 0))
    assert not get(sets, home).downloaded


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_names_the_address(home: Home, sets: LocalSets, status: int) -> None:
    home.statuses.append(status)
    with pytest.raises(DownloadError, match=rf"words/a.txt: the server answers {status}.*--mirror"):
        get(sets, home)
    assert len(home.asked) == 1


def test_a_passing_failure_is_tried_again_but_not_for_ever(home: Home, sets: LocalSets) -> None:
    home.statuses.extend([503, 429, 500])
    assert get(sets, home).path.read_bytes() == OLD
    home.statuses.extend([503] * 9)
    with pytest.raises(DownloadError, match="answers 503"):
        get(sets, home, repin=True)
    assert len(home.asked) == 4 + QUICK.tries


def test_a_server_that_starts_slowly_is_waited_for_and_a_silent_one_is_given_up(home: Home, sets: LocalSets) -> None:
    home.wait = 0.5
    with pytest.raises(DownloadError, match="ReadTimeout"):
        get(sets, home, patience=Patience(tries=2, pause=0.0, read=0.1))
    assert get(sets, home).path.read_bytes() == OLD


def test_nobody_there_is_an_error_with_advice(sets: LocalSets) -> None:
    with serve(Home()) as gone:
        entry = entry_at(gone)
    with pytest.raises(DownloadError, match="See that the network is there"):
        sets.get(entry, lambda *_: None, patience=Patience(tries=2, pause=0.0))


def test_a_redirect_is_followed_and_gone_on_from(home: Home, sets: LocalSets) -> None:
    home.redirects["/words/a.txt"] = "/elsewhere"
    home.files["/elsewhere"] = OLD
    home.cuts.extend([100_000])
    assert get(sets, home).path.read_bytes() == OLD
    assert home.asked[-1] == ("/elsewhere", "bytes=100000-")


def test_a_file_that_the_disk_cannot_hold_is_refused_before_it_is_written(home: Home, sets: LocalSets) -> None:
    home.claim = 10**15
    with pytest.raises(DownloadError, match=r"disk is too full for a.txt: it needs 1,000,000,000,000,000 bytes"):
        get(sets, home)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_fills_up_is_the_systems_error(home: Home, sets: LocalSets) -> None:
    part = sets.folder(entry_at(home)) / ".part" / "a.txt.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        get(sets, home)


def test_what_arrives_is_reported_up_to_the_last_byte(home: Home, sets: LocalSets) -> None:
    told: list[tuple[int, int | None]] = []
    home.cuts.extend([100_000])
    sets.get(entry_at(home), lambda _, done, total: told.append((done, total)), patience=QUICK)
    assert told[0] == (0, len(OLD))
    assert told[-1] == (len(OLD), len(OLD))
    assert (100_000, len(OLD)) in told


def test_a_mirror_serves_a_real_set_by_name_and_path(sets: LocalSets, shared_data: Callable[[str], Path]) -> None:
    entry = read_catalogue()["xquad"]
    files = mirror_of(shared_data, {f"/data/xquad/{f.path}": f"xquad/{f.path}" for f in entry.files})
    with serve(Home(files, cuts=deque([50_000]))) as mirror:
        got = sets.get(entry, lambda *_: None, mirror=f"{mirror.url}/data/", patience=QUICK)
    assert [g.sha256 for g in got] == [f.sha256 for f in entry.files]
    assert sets.is_complete(entry)


def test_damaged_pins_are_named_and_not_overwritten(home: Home, sets: LocalSets) -> None:
    get(sets, home)
    pins = sets.folder(entry_at(home)).parent / "pins.json"
    pins.write_text("{")
    with pytest.raises(StoreError, match=r"pins\.json cannot be read"):
        get(sets, home)
    assert pins.read_text() == "{"
