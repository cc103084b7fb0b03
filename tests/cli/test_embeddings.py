"""`zen embeddings` on files, without a workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.embeddings.test_word2vec import planted_documents
from tests.zen_command import Zen


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Zen:
    zen = Zen(tmp_path_factory.mktemp("vectors"))
    (zen.folder / "text.txt").write_text("\n".join(planted_documents()[:800]))
    told = zen.json("embeddings", "train", "text.txt", "-o", "v.safetensors", "--dimensions", "12", "--epochs", "12",
                    "--learning-rate", "0.1")  # fmt: skip
    assert told["vocabulary"] == 58
    assert told["words_per_second"] > 0
    return zen


def test_what_is_trained_is_looked_at(trained: Zen) -> None:
    found = trained.json("embeddings", "similar", "topicaa", "-n", "3", "-v", "v.safetensors")
    assert all(entry["word"].startswith("topica") for entry in found["neighbours"])
    found = trained.json("embeddings", "analogy", "topicaa", "topicab", "topicba", "-v", "v.safetensors", "--multiply")
    assert len(found["answers"]) == 10
    made = trained("embeddings", "map", "-v", "v.safetensors", "-o", "map.html", "--words", "40")
    assert made.returncode == 0, made.stderr
    assert "topicaa" in (trained.folder / "map.html").read_text(encoding="utf-8")


def test_probes_are_shown_with_their_coverage(trained: Zen) -> None:
    (trained.folder / "pairs.tsv").write_text(
        "topicaa\ttopicab\t9\ntopicaa\ttopicba\t1\ntopicca\ttopiccb\t8\nx\ty\t1\n"
    )
    (trained.folder / "questions.txt").write_text(": section\ntopicaa topicab topicba topicbb\na b c d\n")
    arguments = ("embeddings", "probe", "pairs.tsv", "questions.txt", "-v", "v.safetensors")
    found = trained.json(*arguments)
    assert (found["similarity"]["pairs"]["covered"], found["similarity"]["pairs"]["pairs"]) == (3, 4)
    assert found["similarity"]["pairs"]["spearman"] > 0
    assert found["analogies"]["questions"]["sections"]["section"]["covered"] == 1
    shown = trained(*arguments).stdout
    assert all(text in shown for text in ("similarity", "analogies: questions", "section", "effects of word frequency"))


def test_convert_says_what_was_read_and_what_was_skipped(trained: Zen, shared_data) -> None:
    source = shared_data("glove-samples") / "glove.6B.50d.first2446.txt"
    done = trained("embeddings", "convert", str(source), "glove.bin")
    assert done.returncode == 0, done.stderr
    assert "2441 vectors of 50 dimensions read" in done.stdout
    assert "5 lines skipped: 5 not UTF-8" in done.stdout
    back = trained.json("embeddings", "convert", "glove.bin", "glove.txt", "--format", "glove")
    assert back == {"read": 2441, "dimensions": 50, "format": "word2vec-binary", "skipped": {}, "written": "glove"}
    kept = [line for line in source.read_bytes().splitlines() if line.decode(errors="replace").isprintable()]
    assert len((trained.folder / "glove.txt").read_bytes().splitlines()) == 2441 <= len(kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "none.txt", "-o", "v.bin"), "none.txt does not exist"),
        (("train", "text.txt", "-o", "v.bin", "--method", "lsa"), "--method: Input should be 'skipgram', 'cbow' or"),
        (("train", "text.txt", "-o", "v.pkl"), "v.pkl: the name tells no format"),
        (("train", "text.txt", "-o", "v.bin", "--min-count", "999999"), "no word occurs 999999 times or more"),
        (("convert", "none.txt", "v.bin"), "none.txt does not exist"),
        (("similar", "unheard", "-v", "v.safetensors"), "'unheard' is not among the 58 words"),
        (("similar", "topicaa"), "zen"),
    ],
)
def test_mistakes_end_in_one_line(trained: Zen, arguments: tuple[str, ...], message: str) -> None:
    done = trained("embeddings", *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_chinese_vectors_have_neighbours_that_make_sense_and_ca8_runs(
    trained: Zen, shared_data, tmp_path: Path
) -> None:
    import gzip

    lines = []
    for path in sorted(shared_data("kdconv").glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines += ["".join(m["message"] for m in d["messages"]) for d in json.load(file)]
    (tmp_path / "zh.txt").write_text("\n".join(lines), encoding="utf-8")
    zen = Zen(tmp_path)
    zen.json("embeddings", "train", "zh.txt", "-o", "zh.bin", "--epochs", "10")
    near = [e["word"] for e in zen.json("embeddings", "similar", "导演", "-v", "zh.bin")["neighbours"]]
    assert {"电影", "影片", "执导", "主演", "拍摄", "演员", "编剧", "这部", "作品", "片子"} & set(near), near
    sets = [str(shared_data("word-analogies") / "zh" / f"{name}.txt") for name in ("semantic", "morphological")]
    found = zen.json("embeddings", "probe", "-v", "zh.bin", *sets)
    semantic, morphological = found["analogies"]["semantic"], found["analogies"]["morphological"]
    assert (semantic["questions"], morphological["questions"]) == (7636, 10177)
    assert semantic["skipped"] == morphological["skipped"] == 0
    assert semantic["covered"] > 0


@pytest.mark.parametrize(("method", "epochs"), [("skipgram", "150"), ("glove", "1000")])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, method: str, epochs: str) -> None:
    (tmp_path / "text.txt").write_text("\n".join(planted_documents()[:800]))
    zen = Zen(tmp_path)
    options = ("embeddings", "train", "text.txt", "--method", method, "--dimensions", "16", "--epochs", epochs)
    stopped = zen.interrupt_at("is kept in .cut.bin.training", *options, "-o", "cut.bin")  # said beforehand
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "cut.bin").exists()
    assert [p.name for p in (tmp_path / ".cut.bin.training").iterdir()] == ["training.safetensors"]

    resumed, whole = (zen(*options, "-o", name) for name in ("cut.bin", "whole.bin"))
    assert (resumed.returncode, whole.returncode) == (0, 0), resumed.stderr
    assert "going on from .cut.bin.training" in resumed.stderr
    assert "going on" not in whole.stderr
    assert (tmp_path / "cut.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.bin", "text.txt", "whole.bin"]
