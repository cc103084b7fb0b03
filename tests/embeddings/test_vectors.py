from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import DataError


def small() -> WordVectors:
    matrix = np.array([[1, 0], [2, 0.2], [0, 1], [-1, 0]], np.float32)
    return WordVectors(["file", "path", "don't", "北京"], np.array([9, 5, 3, 3]), matrix)


def test_neighbours_are_ordered_by_cosine_without_the_word_itself() -> None:
    found = small().similar("file", 3)
    assert [w for w, _ in found] == ["path", "don't", "北京"]
    assert found[0][1] == pytest.approx(2 / np.hypot(2, 0.2))
    assert found[2][1] == pytest.approx(-1)
    assert small().similar("File ", 1) == found[:1]
    assert small().similar("DON\u2019T", 1)[0][0] == "path"


def test_an_unknown_word_names_words_that_are_written_alike() -> None:
    with pytest.raises(DataError, match=r"'paths' is not among the 4 words of the corpus; written alike: path"):
        small().similar("paths")


def test_what_is_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    small().save(tmp_path)
    loaded = WordVectors.load(tmp_path)
    assert loaded.words == small().words
    np.testing.assert_array_equal(loaded.matrix, small().matrix)
    np.testing.assert_array_equal(loaded.counts, small().counts)


def test_values_that_are_not_finite_are_refused_with_the_word() -> None:
    matrix = np.ones((2, 3), np.float32)
    matrix[1, 2] = np.nan
    with pytest.raises(DataError, match="vector of 'b' holds NaN"):
        WordVectors(["a", "b"], np.array([2, 1]), matrix)


def test_no_words_and_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="without any word"):
        WordVectors([], np.array([], np.int64), np.zeros((0, 3), np.float32))
    with pytest.raises(DataError, match="do not belong together"):
        WordVectors(["a"], np.array([1]), np.zeros((2, 3), np.float32))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vectors\.safetensors cannot be read"):
        WordVectors.load(tmp_path)
    small().save(tmp_path)
    whole = (tmp_path / "vectors.safetensors").read_bytes()
    (tmp_path / "vectors.safetensors").write_bytes(whole[:-4])
    with pytest.raises(DataError, match=r"vectors\.safetensors cannot be read"):
        WordVectors.load(tmp_path)
    save_file({"vectors": np.ones((2, 2), np.float32)}, tmp_path / "vectors.safetensors")
    with pytest.raises(DataError, match=r"vectors\.safetensors: expected the tensors of word vectors"):
        WordVectors.load(tmp_path)


def test_more_neighbours_than_words_are_all_words() -> None:
    assert len(small().similar("file", 100)) == 3
    alone = WordVectors(["a"], np.array([1]), np.ones((1, 2), np.float32))
    assert alone.similar("a") == []


def test_the_nearest_are_those_of_a_full_sort() -> None:
    matrix = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    vectors = WordVectors([f"w{i}" for i in range(500)], np.ones(500, np.int64), matrix)
    cosines = vectors.unit @ vectors.unit[7]
    expected = [f"w{i}" for i in np.argsort(-cosines) if i != 7][:20]
    assert [w for w, _ in vectors.similar("w7", 20)] == expected
