"""Repair of characters: what is damaged is made right, and what is right stays."""

from __future__ import annotations

import json
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.corpus.cleaning import characters as c

# Windows' characters where Latin-1 has controls; five bytes have none.
WINDOWS = {byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0) if byte not in b"\x81\x8d\x8f\x90\x9d"}
STEPS: dict[str, c.Step] = {
    "encoding": c.fix_encoding,
    "line_ends": c.fix_line_ends,
    "control": c.remove_control,
    "invisible": c.remove_invisible,
    "nfc": c.compose,
}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1250", "cp437"])
@pytest.mark.parametrize("text", ["Der Zug nach München fährt über Köln.", "déjà vu, naïve, façade", "Привет"])
def test_utf8_that_was_read_as_something_else_is_read_again(text: str, encoding: str) -> None:
    damaged = text.encode().decode(encoding)
    assert damaged != text
    assert c.fix_encoding(damaged) == (text, 1)


@pytest.mark.parametrize("text", ["café", "été", "It’s", "Raphaël", "¡Qué bueno!", "à la", "so – or so", "你好"])
def test_a_short_text_is_read_again_when_it_can_be_nothing_else(text: str) -> None:
    assert c.fix_encoding(text.encode().decode("latin-1")) == (text, 1)
    assert c.fix_encoding(c.fix_encoding(text.encode().decode("latin-1").translate(WINDOWS))[0])[0] == text


def test_a_no_break_space_that_became_a_space_is_found_again() -> None:
    assert c.fix_encoding("Ã la fÃªte, dÃ©jÃ ") == ("à la fête, déjà ", 1)


@pytest.mark.parametrize(
    "text",
    [
        "Ein „gutes“ Zitat – façade, 中文\ncafÃ©",  # not certain for the whole text
        "The letter “Â” stands in a word, and “Ã” is Portuguese; press “Ð” for eth.",
        "Limba română: litera „Ă”, apoi “Â” și „Î” se scriu după reforma din 1993.",
        "Die Zeichen „Ð”, ‚Ã’ und »Ä« stehen hier.",
        "When UTF-8 is read as Latin-1, the word café looks like cafÃ© on the screen.",
        "When UTF-8 is read as Latin-1, the word looks like cafÃ© on the screen.",
        'My screen shows "cafÃ©" again.',
        "MINHA IRMÃ… OÙ… É… VOILÀ…",
        "MINHA IRMÃ… e nada mais",
        "CAFÉ™ et ENTRÉE®",
        "Москва — столица: «Ñ» и «Ð»",
    ],
)
def test_a_guess_changes_nothing(text: str) -> None:
    assert c.fix_encoding(text) == (text, 0)


def test_c1_controls_are_those_of_windows() -> None:
    damaged = "I don\x92t know what he\x92s \x93waiting\x94 for \x96 5 \x80. Wait\x85"
    assert c.fix_encoding(damaged) == ("I don’t know what he’s “waiting” for – 5 €. Wait…", 7)
    assert c.remove_control("un\x81used")[0] == "unused"


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII with \\u00e9 and &eacute;",
        "« Été » à l’école, ça coûte 5 €…",
        "Größe: 3 × 4 m², ≈ 12 m² – „schön“",
        "El niño comió piña en Málaga; ¿qué más?",
        "Москва — столица России, «Война и мир»",
        "今天天气很好。「你好」——她说…",
        "ÃRIO? São João, Ação",
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert c.fix_encoding(text) == (text, 0)


def test_real_texts_in_five_languages_are_left_alone(shared_data: Callable[[str], Path]) -> None:
    texts = [
        paragraph["context"]
        for language in ("de", "en", "es", "zh")
        for article in json.loads((shared_data("xquad") / f"xquad.{language}.json").read_text())["data"]
        for paragraph in article["paragraphs"]
    ]
    with zipfile.ZipFile(shared_data("tatoeba-anki") / "fra-eng.zip") as archive:
        texts += archive.read("fra.txt").decode().split("\n")
    assert len(texts) > 140_000
    assert [text for text in texts if c.fix_encoding(text)[1]] == []


def test_surrogates_are_paired_or_replaced() -> None:
    assert c.fix_encoding("a\ud83d\ude42b\ud800c") == ("a🙂b\ufffdc", 3)


def test_every_line_end_becomes_a_line_feed() -> None:
    assert c.fix_line_ends("a\r\nb\rc\nd\u2028e\u2029f") == ("a\nb\nc\nd\ne\nf", 4)


def test_control_characters_and_terminal_escapes_go() -> None:
    assert c.remove_control("\x00a\x07b\x1b[1;31mred\x1b[0m\x7f\ufffe") == ("abred", 6)
    assert c.remove_control("tab\tline\nform\f") == ("tab\tline\nform\f", 0)


def test_characters_that_show_nothing_go() -> None:
    assert c.remove_invisible("\ufeffzero\u200bwidth soft\u00adhyphen\u2060") == ("zerowidth softhyphen", 4)
    hidden = "".join(chr(0xE0000 + ord(x)) for x in "ignore this")
    assert c.remove_invisible(f"a{hidden}b") == ("ab", 1)


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d💻",  # a joiner that makes one picture of two
        "می\u200cخواهم",  # Persian: a form that a letter has at a word's end
        "ภาษา\u200bไทย",  # Thai: where a word ends
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
    ],
)
def test_invisible_characters_that_mean_something_stay(text: str) -> None:
    assert c.remove_invisible(text) == (text, 0)


def test_characters_are_composed() -> None:
    assert c.compose("e\u0301") == ("é", 1)
    assert c.compose("é") == ("é", 0)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_repair_ends_in_a_text_that_needs_none(text: str) -> None:
    changes: Counter[str] = Counter()
    repaired = c.repair(text, STEPS, changes)
    assert c.repair(repaired, STEPS, Counter()) == repaired
    assert unicodedata.is_normalized("NFC", repaired)
    repaired.encode("utf-8")
    assert bool(changes) == (repaired != text)
