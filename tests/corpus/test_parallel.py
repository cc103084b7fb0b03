"""Files with the same lines in several languages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.reading_files import Read, read_paths
from zen_pipeline.errors import DataError

ENGLISH = ["The tea is cold.", "It rains.", "We wait here.", "The boat is late.", "Night falls."]
GERMAN = ["Der Tee ist kalt.", "Es regnet.", "Wir warten hier.", "Das Boot kommt spät.", "Die Nacht kommt."]


def write(folder: Path, **texts: str) -> Path:
    for ending, text in texts.items():
        (folder / f"news.{ending}").write_bytes(text.encode())
    return folder


def pairs(found: Read) -> list[tuple[str, str]]:
    metas = [json.loads(record.meta) for record in found.records]
    return [(meta["source"], meta["target"]) for meta in metas]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_same_lines_in_two_languages_are_pairs(tmp_path: Path, end: str) -> None:
    found = read_paths(write(tmp_path, en=end.join([*ENGLISH, "", ""]), de=end.join(GERMAN)))
    assert pairs(found) == list(zip(ENGLISH, GERMAN, strict=True))
    assert found.aside == []


def test_a_lone_carriage_return_ends_no_line_where_others_do(tmp_path: Path) -> None:
    english = [ENGLISH[0], "It rains.\rA second part.", "Unusual\u2028but possible\x0b\x85.", *ENGLISH[3:]]
    found = read_paths(write(tmp_path, en="\n".join(english), de="\r\n".join(GERMAN)))
    assert pairs(found) == list(zip(english, GERMAN, strict=True))


def test_different_numbers_of_lines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, en="\n".join(ENGLISH), de="\n".join(GERMAN[:3]))
    with pytest.raises(DataError, match=r"5 and 3 lines.*alignment=as_is"):
        read_paths(tmp_path)
    found = read_paths(tmp_path, alignment="as_is")
    assert pairs(found) == list(zip(ENGLISH[:3], GERMAN[:3], strict=True))
    assert [entry.where for entry in found.aside] == ["line 4"]


def made_up(lines: int, seed: int) -> tuple[list[str], list[str]]:
    """Pairs of lines whose lengths follow each other, as those of translations do; some hold a number."""
    chance = random.Random(seed)
    english, german = [], []
    for _ in range(lines):
        words = chance.randint(2, 25)
        number = f" {chance.randint(2, 999)}" if chance.random() < 0.2 else ""
        end = chance.choice("...?!")
        english.append(" ".join(chance.choices(["the", "boat", "was", "late", "again"], k=words)) + number + end)
        german.append(" ".join(chance.choices(["das", "Schiff", "kam", "zu", "wieder"], k=words)) + number + end)
    return english, german


def test_lines_that_do_not_fit_from_some_line_on_are_refused(tmp_path: Path) -> None:
    english, german = made_up(120, seed=1)
    found = read_paths(write(tmp_path, en="\n".join(english), de="\n".join(german)))
    assert len(found.records) == 120
    without, with_another = [*german[:40], *german[41:], "Ende."], [*german[:40], "Neu.", *german[40:-1]]
    for changed, direction in ((without, "up"), (with_another, "down")):
        write(tmp_path, de="\n".join(changed))
        with pytest.raises(DataError, match=rf"From line (3[5-9]|4\d) on.* 1 line further {direction}"):
            read_paths(tmp_path)
    assert len(read_paths(tmp_path, alignment="as_is").records) == 120


def test_where_the_numbers_of_lines_differ_the_place_is_said(tmp_path: Path) -> None:
    english, german = made_up(120, seed=2)
    with pytest.raises(DataError, match=r"120 and 119 lines.*From line (3[5-9]|4\d) on"):
        read_paths(write(tmp_path, en="\n".join(english), de="\n".join(german[:40] + german[41:])))


def test_real_translations_fit(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    lines = (shared_data("tatoeba-anki") / "cmn.txt").read_text(encoding="utf-8").split("\n")[:5000]
    cells = [line.split("\t") for line in lines if "\t" in line]
    found = read_paths(write(tmp_path, en="\n".join(c[0] for c in cells), zh="\n".join(c[1] for c in cells)))
    assert len(found.records) == len(cells)


def test_three_languages_are_paired_each_with_each_in_one_group(tmp_path: Path) -> None:
    french = ["Le thé est froid.", "Il pleut.", "Nous attendons ici.", "Le bateau est en retard.", "La nuit tombe."]
    write(tmp_path, en="\n".join(ENGLISH), de="\n".join(GERMAN), fr="\n".join(french))
    found = read_paths(tmp_path)
    assert sorted(pairs(found)[:3]) == sorted(
        [(ENGLISH[0], GERMAN[0]), (ENGLISH[0], french[0]), (GERMAN[0], french[0])]
    )
    assert len(found.records) == 15
    assert len({record.id for record in found.records}) == 15
    assert len({record.group for record in found.records}) == 5
    chosen = read_paths(tmp_path, languages=["fr", "de"])
    assert pairs(chosen) == list(zip(GERMAN, french, strict=True))
    assert sum(chosen.left_out.values()) == 1


def test_endings_like_languages_are_no_proof_of_a_translation(tmp_path: Path) -> None:
    (tmp_path / "l.cs").write_text(
        "using System;\nnamespace Mill {\n  // prints the flow of the river\n  class Program {\n"
        "    static void Main(string[] args) { Console.WriteLine(args.Length); }\n  }\n}\n"
    )
    (tmp_path / "l.pl").write_text(
        "#!/usr/bin/perl\nuse strict;\nuse warnings;\n# print the flow of the river\nmy $flow = shift @ARGV;\n"
        'while (<STDIN>) { chomp; print "$_ $flow\\n"; }\nexit 0;\n'
    )
    (tmp_path / "a.txt").write_text("text")
    found = read_paths(tmp_path)
    assert found.kinds == {"document": 1}
    assert sum(found.left_out.values()) == 2
    assert read_paths(tmp_path / "l.cs", tmp_path / "l.pl").kinds.keys() == {"document"}
