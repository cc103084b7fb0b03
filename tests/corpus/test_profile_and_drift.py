"""Profiles are counted in parts and compared: what moved is measured as the libraries of the field do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from zen_pipeline.corpus.profile.drift import (
    drift_frame,
    jensen_shannon_distance,
    largest_moves,
    population_stability_index,
    stability_noise,
)
from zen_pipeline.corpus.profile.profile import Profile
from zen_pipeline.corpus.records import Record
from zen_pipeline.errors import StoreError


def record(number: int, text: str, *, source: str = "a/one.txt", language: str = "en") -> Record:
    return Record(id=str(number), group=str(number), text=text, source=source, language=language)


def profile(*records: Record) -> Profile:
    made = Profile()
    for each in records:
        made.add(each)
    return made


MANY = [record(n, "the word " * (n % 7 + 1) + f"w{'abcdefg'[n % 7]}", source=f"f{n % 3}/x.txt") for n in range(200)]


def test_parts_add_up_to_the_whole_whatever_their_order(tmp_path: Path) -> None:
    whole, left, right = profile(*MANY), profile(*MANY[:77]), profile(*MANY[77:])
    right.merge(left)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole.save(tmp_path / "a")
    right.save(tmp_path / "b")
    assert (tmp_path / "a" / "profile.json").read_bytes() == (tmp_path / "b" / "profile.json").read_bytes()
    assert Profile.load(tmp_path / "a") == whole


def test_what_is_counted() -> None:
    made = profile(record(1, "One two, one!"), record(2, "猫和狗 x" * 9, source="m", language="zh"))
    assert made.records == 2
    assert made.lengths == {3: 1, 5: 1}
    assert made.sources == {"a": 1, "m": 1}
    assert made.languages == {"en": 1, "zh": 1}
    assert (made.words["one"], made.words["猫"], made.word_total) == (2, 9, 3 + 36)


@pytest.mark.parametrize("text", ["", "{", '{"records": 1}', "[]"])
def test_a_broken_profile_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(StoreError, match=r"profile\.json is not a profile"):
        Profile.load(tmp_path)


def test_the_distance_is_that_of_scipy() -> None:
    before, now = np.array([5.0, 0, 3, 9]), np.array([1.0, 4, 0, 9])
    assert jensen_shannon_distance(before, now) == pytest.approx(jensenshannon(before, now, base=2), abs=1e-12)
    assert jensen_shannon_distance(before, before * 7) == pytest.approx(0, abs=1e-7)
    assert jensen_shannon_distance(np.array([1.0, 0]), np.array([0, 3.0])) == pytest.approx(1)


def test_the_stability_index_of_a_worked_example() -> None:
    # (0.3-0.2)·ln(0.3/0.2) + (0.4-0.3)·ln(0.4/0.3) + (0.3-0.5)·ln(0.3/0.5)
    index = population_stability_index(np.array([20.0, 30, 50]), np.array([30.0, 40, 30]))
    assert index == pytest.approx(0.040547 + 0.028768 + 0.102165, abs=1e-5)


def test_chance_exceeds_the_noise_level_in_one_of_twenty_cases() -> None:
    generator = np.random.default_rng(1)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    draws = [(generator.multinomial(800, shares), generator.multinomial(400, shares)) for _ in range(2000)]
    pairs = [(a.astype(float), b.astype(float)) for a, b in draws]
    exceeded = np.mean([population_stability_index(a, b) > stability_noise(a, b) for a, b in pairs])
    assert 0.03 < exceeded < 0.07


def test_the_frame_holds_every_bin_of_both_sides() -> None:
    before = profile(record(1, "apple pear"), record(2, "apple plum", language="fr"))
    now = profile(record(1, "apple kiwi " * 20, source="b/two.txt"))
    frame = drift_frame(before, now)
    assert set(frame["distribution"]) == {"length", "language", "source", "kind", "vocabulary"}
    language = frame[frame["distribution"] == "language"].set_index("bin")
    assert language.loc["fr"].tolist() == ["language", 1, 0]
    assert frame.groupby("distribution")["now"].sum().to_dict()["vocabulary"] == 40
    assert largest_moves(frame, "source")[0] == ("a", 1.0, 0.0)
    assert ("kiwi", 0.0, 0.5) in largest_moves(frame, "vocabulary")
    assert largest_moves(frame, "kind") == []


def test_halves_of_one_text_show_no_drift_and_another_text_does() -> None:
    words = np.random.default_rng(2)
    usual = 1.0 / np.arange(1, 3001)  # word frequencies of a text fall as 1/rank (Zipf)

    def texts(offset: int) -> list[Record]:
        drawn = words.choice(3000, size=(400, 80), p=usual / usual.sum()) + offset
        return [record(n, " ".join(_word(w) for w in row)) for n, row in enumerate(drawn)]

    def distance(a: Profile, b: Profile) -> float:
        rows = drift_frame(a, b).query("distribution == 'vocabulary'")
        return jensen_shannon_distance(rows["before"].to_numpy(float), rows["now"].to_numpy(float))

    first = profile(*texts(0))
    assert distance(first, profile(*texts(0))) < 0.1
    assert distance(first, profile(*texts(1500))) > 0.5


def _word(number: int) -> str:
    return "".join(chr(97 + int(digit)) for digit in str(number))
