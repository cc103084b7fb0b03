from __future__ import annotations

import numpy as np
import pytest

from zen_pipeline.embeddings.projection import WordMap, content_words, project
from zen_pipeline.embeddings.vectors import WordVectors


def clusters(per_cluster: int = 15) -> WordVectors:
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 20)) * 3
    matrix = np.concatenate([centre + random.normal(size=(per_cluster, 20)) for centre in centres])
    words = [f"{name}{chr(97 + i)}" for name in ("red", "green", "blue") for i in range(per_cluster)]
    return WordVectors(words, np.full(len(words), 5), matrix.astype(np.float32))


def test_neighbours_by_cosine_are_neighbours_on_the_map() -> None:
    vectors = clusters()
    word_map = project(vectors, vectors.words)
    assert word_map.points.min() >= 0
    assert word_map.points.max() <= 1
    distances = np.linalg.norm(word_map.points[:, None] - word_map.points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert [vectors.words[i][:-1] for i in nearest] == [w[:-1] for w in vectors.words]


def test_the_map_is_the_same_every_time() -> None:
    vectors = clusters()
    np.testing.assert_array_equal(project(vectors, vectors.words).points, project(vectors, vectors.words).points)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_words_have_a_map_too(n: int) -> None:
    vectors = clusters()
    points = project(vectors, vectors.words[:n]).points
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_content_words_are_neither_function_words_nor_letters() -> None:
    words = ["the", "of", "function", "x", "don't", "while", "的", "城市", "人", "module"]
    words += [f"rare{i}" for i in range(20)]
    counts = np.array([10_000, 5_000, 35, 35, 35, 35, 35, 30, 30, 20, *[10] * 20])
    vectors = WordVectors(words, counts, np.eye(30, dtype=np.float32))
    assert content_words(vectors, 3) == ["function", "城市", "module"]


def test_entries_name_word_and_place() -> None:
    assert WordMap(["a"], np.array([[0.123456, 1.0]])).entries() == [{"word": "a", "x": 0.1235, "y": 1.0}]
