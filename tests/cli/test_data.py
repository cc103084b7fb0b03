"""`zen data`: the real command against a real server, and on files of all kinds."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.http_server import Home, mirror_of, serve
from tests.zen_command import Zen

PROSE = "The sea was calm that morning, and the boats went out before the light came over the hills. " * 40
ENTRY = """\
title: Letters
kind: {kind}
languages: [en]
licence: CC BY-NC 4.0
commercial: false
homepage: https://example.org
citation: nobody
files:
  - {{path: one.txt, url: "{url}/one.txt", bytes: null, sha256: null}}
"""


def project(tmp_path: Path, *, url: str = "http://127.0.0.1:1", kind: str = "document") -> Zen:
    """A workspace with one catalogue entry of its own, `letters`."""
    folder = tmp_path / ".zen" / "catalogue"
    folder.mkdir(parents=True)
    (folder / "letters.yaml").write_text(ENTRY.format(url=url, kind=kind))
    return Zen(tmp_path)


_WORDS = "sea calm morning boat light hill wind harbour letter night rope tide sail storm gull net salt fish lamp"
WORDS = _WORDS.split()


def letter(number: int) -> str:
    """About 2,800 characters that resemble no other letter."""
    chosen = random.Random(number)
    return " ".join("the " + chosen.choice(WORDS) for _ in range(320))


def letters(count: int = 30) -> str:
    return "\n\n".join(map(letter, range(count)))


def test_sets_are_listed_without_a_workspace_and_none_is_made(tmp_path: Path) -> None:
    listed = {s["name"]: s for s in Zen(tmp_path).json("data", "list")["sets"]}
    assert listed["squad-2.0"]["kind"] == "qa"
    assert not any(s["downloaded"] for s in listed.values())
    assert Zen(tmp_path).json("data", "show", "alpaca")["commercial"] is False
    assert not list(tmp_path.iterdir())


def test_a_set_is_downloaded_once_and_used_by_its_name(tmp_path: Path) -> None:
    with serve(Home({"/one.txt": letters().encode()})) as home:
        zen = project(tmp_path, url=home.url)
        assert "run `zen data get letters` first" in zen("collect", "--data", "letters").stderr
        first = zen("data", "get", "letters")
        assert first.returncode == 0, first.stderr
        said = first.stderr.splitlines()
        assert "forbids commercial use" in said[0]
        assert any("one.txt: " in line and "100%" in line for line in said[1:])
        again = zen.json("data", "get", "letters")
        assert [f["downloaded"] for f in again["sets"][0]["files"]] == [False]
        assert len(home.asked) == 1
    shown = zen.json("data", "show", "letters")
    assert shown["folder"] == str(tmp_path / ".zen" / "data" / "letters")
    assert shown["pins"]["one.txt"]["sha256"] == again["sets"][0]["files"][0]["sha256"]
    used = zen.json("config", "show", "--data", "letters")["collect"]["sources"]
    assert [source["paths"] for source in used] == [[shown["folder"]]]


def test_a_path_of_the_same_name_comes_first(tmp_path: Path) -> None:
    zen = project(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text(PROSE)
    paths = zen.json("config", "show", "--data", "letters")["collect"]["sources"][0]["paths"]
    assert paths == [str(tmp_path / "letters")]
    assert zen.json("data", "show", "letters")["files"] == ["letters/mine.txt"]


def test_vectors_are_no_corpus_and_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    zen = project(tmp_path, kind="vectors")
    result = zen("plan", "--data", "letters")
    assert (result.returncode, "holds vectors" in result.stderr) == (2, True)
    result = zen("data", "get", "wikitext")
    assert (result.returncode, "did you mean 'wikitext-2'" in result.stderr) == (2, True)


def test_real_sets_come_from_a_mirror_and_go_through_collection(
    prepared: Zen, shared_data: Callable[[str], Path]
) -> None:
    files = mirror_of(shared_data, {"/tinyshakespeare/input.txt": "tinyshakespeare/input.txt"})
    with serve(Home(files)) as mirror:
        assert prepared("data", "get", "tinyshakespeare", "--mirror", mirror.url).returncode == 0
    stage = prepared.json("collect", "--data", "tinyshakespeare")["stages"][0]
    assert stage["status"] == "ran"
    outside = [p for p in prepared.folder.iterdir() if p.name != ".zen"]
    assert not outside


def test_ctrl_c_keeps_what_has_arrived(tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    with serve(Home({"/one.txt": content}, claim=len(content) + 1)) as home:  # the last byte never comes
        zen = project(tmp_path, url=home.url)
        stopped = zen.interrupt_at("one.txt: ", "data", "get", "letters")
        assert stopped.returncode == 130, stopped.stderr
        assert "Traceback" not in stopped.stderr
        home.claim = None
        assert zen("data", "get", "letters").returncode == 0
    assert (tmp_path / ".zen" / "data" / "letters" / "one.txt").read_bytes() == content


def test_files_are_judged_as_a_run_would_and_the_run_takes_the_answer_over(prepared: Zen) -> None:
    (prepared.folder / "good.txt").write_text(letters())
    judged = prepared.json("data", "validate", "good.txt")
    assert judged["accepted"] is True
    assert judged["summary"]["records_in"] == judged["summary"]["records"] + judged["summary"]["set_aside"]
    printed = prepared("data", "validate", "good.txt")
    assert "the data may be used" in printed.stdout
    assert len(printed.stdout.splitlines()) < 40
    aside = prepared.json("data", "aside")["records"]
    assert len(aside) == judged["summary"]["set_aside"], "of what was judged, since nothing has run"
    stages = prepared.json("validate", "--data", "good.txt")["stages"]
    assert [s["status"] for s in stages] == ["cached", "cached"]


def test_files_that_may_not_be_used_end_with_3_and_say_why(tmp_path: Path) -> None:
    rows = [json.dumps({"text": letter(n), "shelf": n}) for n in range(10)]
    (tmp_path / "bad.jsonl").write_text("\n".join([*rows, *["{broken"] * 90]))
    result = Zen(tmp_path)("data", "validate", "bad.jsonl", "--json")
    assert result.returncode == 3
    printed = json.loads(result.stdout)
    assert printed["accepted"] is False
    assert printed["summary"]["set_aside"] == 90
    assert printed["summary"]["unused_fields"] == {"shelf": 10}
    assert "share_set_aside" in printed["refusal"]
    assert "share_set_aside" in result.stderr


def test_the_first_records_of_any_file_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": PROSE}) + "\n{broken\n")
    shown = Zen(tmp_path).json("data", "show", "a.jsonl")
    assert [r["text"] for r in shown["records"]] == [PROSE]
    assert len(shown["aside"]) == 1
    assert not (tmp_path / ".zen").exists()


def test_a_file_says_what_it_was_taken_for_what_is_left_over_and_how_to_say_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": PROSE, "stars": 5, "lang": "en"}))
    zen = Zen(tmp_path)
    shown = zen.json("data", "show", "a.jsonl", "-n", "1")
    (taken,) = shown["taken_for"].values()
    assert taken == {"document, by text": 1}
    assert shown["unused_fields"] == {"stars": 1, "lang": 1}
    printed = zen("data", "show", "a.jsonl").stdout
    assert all(said in printed for said in ("document, by text", "stars", "--label"))
    assert zen.json("data", "show", "a.jsonl", "--label", "stars")["records"][0]["kind"] == "classification"


def test_columns_of_a_table_without_a_header_are_named_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ham\tsee you at the ferry\nspam\twin a boat today\n")
    shown = Zen(tmp_path).json("data", "show", "a.txt", "--no-header", "--text", "2", "--label", "1")
    metas = [json.loads(record["meta"]) for record in shown["records"]]
    assert [(m["label"], m["text"]) for m in metas] == [("ham", "see you at the ferry"), ("spam", "win a boat today")]


def test_the_last_runs_corpus_is_shown_whatever_its_pipeline_is_called(prepared: Zen) -> None:
    (prepared.folder / "good.txt").write_text(letters())
    (prepared.folder / "zen.yaml").write_text("name: poems\n")
    assert "nothing has run" in prepared("data", "show").stderr
    prepared.json("validate", "--data", "good.txt")
    assert prepared.json("data", "show", "-n", "1")["summary"]["records"] > 0
    assert prepared.json("data", "aside")["records"] is not None
    result = prepared("data", "show", "--pipeline", "zen")
    assert (result.returncode, "'zen' has no validate artifact" in result.stderr) == (2, True)
