"""Near duplicates: what the signatures estimate, what is found, and who stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.deduplication import EDITS, jaccard, ours, plant, shingles
from zen_pipeline.corpus.duplicates.minhash import Alike, MinHash, SignatureFiles
from zen_pipeline.corpus.duplicates.normal_form import Texts, normal_form
from zen_pipeline.settings.data import NearDuplicatesConfig


def words(seed: int, count: int) -> list[str]:
    random = np.random.Generator(np.random.PCG64(seed))
    return [f"w{n}" for n in random.integers(0, 5000, count)]


def edited(text: list[str], *places: int) -> str:
    return " ".join("other" if n in places else word for n, word in enumerate(text))


def find(folder: Path, texts: list[str], priority: list[int] | None = None, **settings: object) -> Alike:
    minhash = MinHash(NearDuplicatesConfig.model_validate(settings))
    with SignatureFiles(folder, minhash) as files:
        half = len(texts) // 2  # two parts, as a corpus has many
        files.add(minhash.sign(Texts.of([normal_form(t) for t in texts[:half]])), 0)
        files.add(minhash.sign(Texts.of([normal_form(t) for t in texts[half:]])), half)
    ranks: npt.NDArray[np.int8] = np.array(priority or [0] * len(texts), np.int8)
    return files.find(np.ones(len(texts), bool), ranks)


def pairs(alike: Alike) -> list[tuple[int, int]]:
    return sorted(zip(alike.rows.tolist(), alike.originals.tolist(), strict=True))


def test_an_edited_copy_is_found_and_a_different_text_is_not(tmp_path: Path) -> None:
    first = words(1, 200)
    texts = [" ".join(first), " ".join(words(2, 200)), edited(first, 90).upper() + "!", " ".join(words(3, 200))]
    alike = find(tmp_path, texts)
    assert pairs(alike) == [(2, 0)]
    assert 0.85 < alike.likeness[0] < 1  # 191 of 201 shingles: 0.951, with a standard deviation of 0.02


def test_what_a_text_is_like_is_estimated_without_a_drift_to_one_side(tmp_path: Path) -> None:
    texts, exact = [], []
    for seed in range(200):
        first = words(seed, 150)
        texts += [" ".join(first), edited(first, 30, 60)]
        exact.append(136 / 156)  # each edit changes 5 of 146 shingles
    found = find(tmp_path, texts, threshold=0.5)
    assert pairs(found) == [(2 * n + 1, 2 * n) for n in range(200)]
    assert found.likeness.mean() == pytest.approx(np.mean(exact), abs=0.006)  # 0.03 / sqrt(200), times three


def test_the_lowest_class_stays_whatever_the_order(tmp_path: Path) -> None:
    first = words(1, 200)
    texts = [" ".join(first), edited(first, 90), edited(first, 5)]
    assert pairs(find(tmp_path / "a", texts)) == [(1, 0), (2, 0)]
    assert pairs(find(tmp_path / "b", texts, priority=[1, 1, 0])) == [(0, 2), (1, 2)]


def test_a_chain_of_small_differences_keeps_what_is_unlike_its_first(tmp_path: Path) -> None:
    first = words(1, 300)
    steps = [edited(first, *range(0, 12 * n, 5)) for n in range(8)]  # each is like the next, the last unlike the first
    alike = find(tmp_path, steps, threshold=0.8)
    assert 0 < len(alike.rows) < 7
    assert (alike.likeness >= 0.8).all()
    assert not set(alike.originals.tolist()) & set(alike.rows.tolist())


def test_scripts_without_spaces_are_compared_by_characters(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    text = "".join(chr(0x4E00 + n) for n in random.integers(0, 3000, 200))
    other = "".join(chr(0x4E00 + n) for n in random.integers(0, 3000, 200))
    assert pairs(find(tmp_path, [text, other, text[:90] + "们" + text[91:], other[::-1]])) == [(2, 0)]


def test_texts_that_cannot_be_near_without_being_equal_take_no_room(tmp_path: Path) -> None:
    minhash = MinHash(NearDuplicatesConfig())
    texts = [" ".join(words(n, count)) for n, count in enumerate((0, 1, 4, 7, 8, 9))]
    assert minhash.sign(Texts.of(texts)).which.tolist() == [4, 5]  # four shingles and more
    assert len(find(tmp_path, texts).rows) == 0


@pytest.mark.parametrize(("threshold", "rows"), [(0.8, 6), (0.5, 3), (0.95, 16)])
def test_bands_find_a_pair_at_the_threshold_with_99_percent(threshold: float, rows: int) -> None:
    minhash = MinHash(NearDuplicatesConfig(threshold=threshold))
    assert minhash.rows == rows
    assert 1 - (1 - threshold**rows) ** minhash.bands >= 0.99
    longer = rows + 1
    assert 1 - (1 - threshold**longer) ** (128 // longer) < 0.99


def test_copies_of_real_paragraphs_with_one_to_ten_percent_of_their_words_changed_are_found(
    shared_data: Callable[[str], Path],
) -> None:
    lines = (shared_data("wikitext-2") / "valid.txt").read_text(encoding="utf-8").split("\n")
    originals = [line for line in lines if len(line.split()) >= 40]
    copies, sources, edits = plant(originals)
    assert set(edits) == set(EDITS) == {0.01, 0.05, 0.1}
    texts = [normal_form(text) for text in (*originals, *copies)]
    sets = [shingles(text, 5) for text in texts]
    exact = np.array([jaccard(sets[len(originals) + n], sets[source]) for n, source in enumerate(sources)])
    for threshold in (0.8, 0.5):
        found, _ = ours(texts, sets, 5, threshold)
        caught = np.array([len(originals) + n in found for n in range(len(copies))])
        near = exact >= threshold
        assert near.sum() > 100
        assert caught[near].mean() > 0.94
        assert all(jaccard(sets[row], sets[original]) >= threshold - 0.1 for row, original in found.items())
