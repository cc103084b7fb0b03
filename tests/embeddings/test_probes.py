from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from zen_pipeline.embeddings import probes, weat
from zen_pipeline.embeddings.vector_files import read_vectors
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import DataError


def royal() -> WordVectors:
    """Words on a grid of kind and gender, with words about nothing between them."""
    random = np.random.default_rng(0)
    kinds = {"king": 0, "man": 1, "uncle": 2}
    words, rows = [], []
    for pair in (("king", "queen"), ("man", "woman"), ("uncle", "aunt")):
        for gender, word in enumerate(pair):
            row = np.zeros(8)
            row[kinds[pair[0]]] = 2.0
            row[3] = gender * 2 - 1
            words.append(word)
            rows.append(row + random.normal(size=8) * 0.05)
    for i in range(30):
        words.append(f"noise{i}")
        rows.append(random.normal(size=8))
    return WordVectors(words, np.arange(36, 0, -1), np.array(rows, np.float32))


def test_similarity_is_spearmans_on_the_covered_pairs(tmp_path: Path) -> None:
    vectors = royal()
    path = tmp_path / "pairs.txt"
    path.write_text("king\tQueen\t8.5\nman\twoman\t9\nking\tnoise3\t1.0\nking\tunknown\t5\nno number here\n")
    found = probes.similarity(vectors, path)
    cosines = [float(vectors.unit[vectors.row(a)] @ vectors.unit[vectors.row(b)])
               for a, b in (("king", "queen"), ("man", "woman"), ("king", "noise3"))]  # fmt: skip
    assert (found.pairs, found.covered, found.skipped) == (4, 3, 1)
    assert found.spearman == pytest.approx(spearmanr(cosines, [8.5, 9, 1]).statistic)


def test_pairs_that_are_not_covered_give_no_figure(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("x,y,1\nking,queen,2\n")
    found = probes.probe(royal(), tmp_path / "pairs.csv")
    assert isinstance(found, probes.Similarity)
    assert (found.spearman, found.pairs, found.covered) == (None, 2, 1)


def test_analogies_are_answered_by_both_rules_and_counted_by_section(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(
        ": royals\nman woman king queen\nMan Woman Uncle Aunt\n: wrong\nman woman king noise1\nman woman king missing\n"
        "three words only\n"
    )
    found = probes.probe(royal(), path)
    assert isinstance(found, probes.Analogies)
    assert found.sections == {
        "royals": {"questions": 2, "covered": 2, "add": 2, "mul": 2},
        "wrong": {"questions": 2, "covered": 1, "add": 0, "mul": 0},
    }
    assert found.skipped == 1
    assert found.accuracy("add") == pytest.approx(2 / 3)


def test_the_rules_are_those_of_the_paper() -> None:
    vectors = royal()
    unit = vectors.unit.astype(np.float64)
    a, b, c = (unit[vectors.row(w)] for w in ("man", "woman", "king"))
    add = {w: u @ b - u @ a + u @ c for w, u in zip(vectors.words, unit, strict=True)}
    mul = {w: (u @ b + 1) / 2 * (u @ c + 1) / 2 / ((u @ a + 1) / 2 + 1e-3)
           for w, u in zip(vectors.words, unit, strict=True)}  # fmt: skip
    for rule, scores in (("add", add), ("mul", mul)):
        expected = sorted((w for w in scores if w not in ("man", "woman", "king")), key=lambda w: -scores[w])
        found = probes.answer(vectors, "man", "woman", "king", 100, rule)
        assert [w for w, _ in found] == expected
        assert found[0] == ("queen", pytest.approx(scores["queen"], rel=1e-5))


def test_our_analogies_are_those_of_gensim(shared_data, tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    source = shared_data("glove-samples") / "glove.6B.50d.first2446.txt"
    vectors, _ = read_vectors(source)
    theirs = models.KeyedVectors(vectors.dimensions)
    theirs.add_vectors(vectors.words, vectors.matrix)
    questions = shared_data("word-analogies") / "questions-words.txt"
    _, sections = theirs.evaluate_word_analogies(str(questions), case_insensitive=True)
    expected = {s["section"]: (len(s["correct"]), len(s["correct"]) + len(s["incorrect"])) for s in sections[:-1]}
    found = probes.analogies(vectors, questions)
    assert found.total("questions") == 19544
    for name, section in found.sections.items():
        assert (section["add"], section["covered"]) == expected.get(name, (0, 0)), name
    assert found.total("covered") > 500


def test_the_similarity_sets_are_read_whole(shared_data) -> None:
    vectors, _ = read_vectors(shared_data("glove-samples") / "glove.6B.50d.first2446.txt")
    found = [probes.probe(vectors, path) for path in sorted(shared_data("word-similarity").glob("EN-*.txt"))]
    assert len(found) == 13
    assert all(isinstance(f, probes.Similarity) and f.skipped == 0 for f in found)
    [men] = [f for f in found if f.name == "EN-MEN-TR-3k"]
    assert (men.pairs, men.spearman > 0.5) == (3000, True)


@pytest.mark.parametrize("content", ["", "just prose\n", "one two three\nfour five six\n"])
def test_files_that_are_no_probe_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.txt").write_text(content)
    with pytest.raises(DataError, match=r"x\.txt"):
        probes.probe(royal(), tmp_path / "x.txt")
    with pytest.raises(DataError, match=r"none\.txt is no file"):
        probes.probe(royal(), tmp_path / "none.txt")


def test_weat_finds_the_published_effects_in_the_published_vectors(shared_data) -> None:
    # Caliskan et al. 2017, supplement: word2vec trained on Google News
    vectors, _ = read_vectors(shared_data("glove-samples") / "weat_w2v_300d.txt")
    found = [weat.weat(vectors, test) for test in weat.ENGLISH]
    assert [round(f.effect_size, 2) for f in found] == [1.54, 1.89, 0.97, 1.24]
    assert [f.covered == f.words for f in found] == [True] * 4
    assert found[0].p_value < 1e-4
    assert found[1].p_value < 1e-3
    assert found[2].p_value < 0.03
    assert found[3].p_value < 0.01


def test_the_p_value_of_few_words_is_exact_and_of_many_close_to_it(monkeypatch) -> None:
    association = np.array([3.0, 2.0, 1.0, 0.5, 0.1, -1.0, -2.0, 0.0])
    assert weat._p_value(association, 4, 0) == pytest.approx(1 / 70)
    association = np.random.default_rng(1).normal(size=16) + np.repeat([0.5, 0], 8)
    exact = weat._p_value(association, 8, 0)
    monkeypatch.setattr(weat, "_EXACT", 10_000)
    assert weat._p_value(association, 8, 0) == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000))


def test_weat_says_nothing_without_enough_words() -> None:
    outcome = weat.weat(royal(), weat.ENGLISH[2])
    assert outcome.effect_size is outcome.p_value is None
    assert weat.english(royal()) == []


def test_frequency_effects_are_seen_where_they_are_and_not_where_they_are_not() -> None:
    random = np.random.default_rng(0)
    counts = np.sort(random.integers(5, 5000, 600))[::-1]
    words = [f"w{i}" for i in range(600)]
    matrix = random.normal(size=(600, 10)).astype(np.float32)
    fair = probes.frequency_effects(WordVectors(words, counts, matrix))
    assert max(map(abs, fair.values())) < 0.2
    skewed = matrix.copy()
    skewed[:, 0] = np.log(counts) * 3
    found = probes.frequency_effects(WordVectors(words, counts, skewed))
    assert min(found["length"], found["common_direction"]) > 0.8
    assert probes.frequency_effects(WordVectors(words, np.ones(600, np.int64), matrix)) == {}
