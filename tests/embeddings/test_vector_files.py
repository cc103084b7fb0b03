"""Published files are read with their broken lines; what is written reads back to the float, here and in gensim."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from zen_pipeline.embeddings.vector_files import read_vectors
from zen_pipeline.embeddings.vector_writing import write_vectors
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import ConfigError, DataError


def any_floats(words: int = 500, width: int = 7) -> WordVectors:
    """Float32 values of every exponent, drawn as bit patterns."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, words * width, dtype=np.uint32)
    values = np.where(np.isfinite(bits.view(np.float32)), bits.view(np.float32), np.float32(0.1))
    names = [f"w{i}" if i % 3 else f"词{i}é" for i in range(words)]
    return WordVectors(names, np.ones(words, np.int64), values.reshape(words, width))


@pytest.mark.parametrize("name", ["v.txt", "v.vec.gz", "v.bin", "v.bin.gz", "v.safetensors"])
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, name: str) -> None:
    vectors = any_floats()
    write_vectors(vectors, tmp_path / name)
    loaded, report = read_vectors(tmp_path / name)
    assert loaded.words == vectors.words
    assert loaded.matrix.tobytes() == vectors.matrix.tobytes()
    assert (report.read, report.dimensions, report.skipped.total()) == (500, 7, 0)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path, binary: bool) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = any_floats()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_vectors(vectors, ours, "word2vec-binary" if binary else "word2vec-text")
    read = models.KeyedVectors.load_word2vec_format(str(ours), binary=binary)
    assert read.index_to_key == vectors.words
    assert read.vectors.tobytes() == vectors.matrix.tobytes()

    read.save_word2vec_format(str(theirs), binary=binary)
    back, report = read_vectors(theirs)
    assert report.format == ("word2vec-binary" if binary else "word2vec-text")
    assert back.words == vectors.words
    assert back.matrix.tobytes() == vectors.matrix.tobytes()


def test_gensim_reads_glove_text_without_a_header(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = any_floats(20, 3)
    write_vectors(vectors, tmp_path / "v.txt", "glove")
    read = models.KeyedVectors.load_word2vec_format(str(tmp_path / "v.txt"), binary=False, no_header=True)
    assert read.vectors.tobytes() == vectors.matrix.tobytes()
    assert read_vectors(tmp_path / "v.txt")[1].format == "glove"


BROKEN = (
    b"the 0.1 0.2 0.3\n"
    b"caf\xe9 0.1 0.2 0.3\n"  # cp1252
    b" 0.1 0.2 0.3\n"
    b". . . 0.1 0.2 0.3\n"  # as in glove.840B
    b"short 0.1 0.2\n"
    b"1 2 0.1 0.2 0.3\n"
    b"\xc2\xa0 0.4 0.5 0.6\n"  # a no-break space is a token, and no space
    b"wide  0.7 0.8\t0.9 \r\n"
    b"the 9 9 9\n"
    b"odd 0.1 x 0.3\n"
    b"\n"
    b"cut 0.1 0."
)
REASONS = {
    "not UTF-8": 1,
    "with an empty token": 1,
    "with a space in the token": 1,
    "of another width": 2,
    "with a word that came before": 1,
    "with a value that is no number": 1,
    "empty": 1,
    "cut at the end of the file": 1,
}


def test_broken_lines_are_skipped_and_counted_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.txt"
    path.write_bytes(BROKEN)
    vectors, report = read_vectors(path)
    assert vectors.words == ["the", "\u00a0", "wide"]
    np.testing.assert_array_equal(
        vectors.matrix, np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]], np.float32)
    )
    assert report.skipped == REASONS
    assert report.read + report.skipped.total() == BROKEN.count(b"\n") + 1
    assert "9 lines skipped: 1 cut at the end of the file, 1 empty, 1 not UTF-8, 2 of another width" in str(report)


@pytest.mark.parametrize("head", [b"", b"3 2\n"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "v.txt").write_bytes(b"\xef\xbb\xbf" + head + b"river 0.1 0.2\nmill 0.3 0.4\nroad 0.5 0.6\n")
    assert read_vectors(tmp_path / "v.txt")[0].words == ["river", "mill", "road"]


def binary(words: list[str], ending: bytes = b"", width: int = 4) -> bytes:
    rows = np.random.default_rng(1).normal(size=(len(words), width)).astype("<f4")
    entries = (word.encode() + b" " + row.tobytes() + ending for word, row in zip(words, rows, strict=True))
    return f"{len(words)} {width}\n".encode() + b"".join(entries)


@pytest.mark.parametrize("ending", [b"", b"\n"])
@pytest.mark.parametrize("words", [["river", "New York", "mill"], ["a b c", "Rio de Janeiro", "LOS ALTOS", "纽约 市"]])
def test_words_of_a_binary_file_may_hold_spaces(tmp_path: Path, words: list[str], ending: bytes) -> None:
    (tmp_path / "v.bin").write_bytes(binary(words, ending))
    vectors, report = read_vectors(tmp_path / "v.bin")
    assert (vectors.words, report.skipped.total()) == (words, 0)
    assert np.abs(vectors.matrix).max() < 10


def test_a_vector_out_of_all_proportion_is_refused(tmp_path: Path) -> None:
    content = bytearray(binary(["river", "mill", "road"]))
    place = content.index(b"mill ") + 5
    content[place : place + 4] = np.float32(2.9e26).tobytes()
    (tmp_path / "v.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"'mill' holds 2\.9e"):
        read_vectors(tmp_path / "v.bin")


def test_compressed_files_are_read_as_they_are(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write(BROKEN)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("v.txt", BROKEN)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("v.2d.txt", "a 1 2\n")
        archive.writestr("v.3d.txt", BROKEN)
    for path in ("a.txt.gz", "one.zip", "two.zip/v.3d.txt"):
        _, report = read_vectors(tmp_path / path)
        assert report.skipped == REASONS
    with pytest.raises(
        DataError, match=r"name one file of the archive, as .*two\.zip/v\.2d\.txt; it has v\.2d\.txt, v\.3d"
    ):
        read_vectors(tmp_path / "two.zip")


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(BROKEN * 10)
    (tmp_path / "a.txt.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="compressed data is damaged or cut"):
        read_vectors(tmp_path / "a.txt.gz")


def test_broken_entries_of_a_binary_file_are_skipped_and_counted(tmp_path: Path) -> None:
    row = np.array([1.5, -2.5], "<f4").tobytes()
    entries = [b"a " + row, b"\nb\xff " + row, b"\n " + row, b"a " + row, b"c " + row, b"cut " + row[:5]]
    path = tmp_path / "v.bin"
    path.write_bytes(b"7 2\n" + b"".join(entries))
    vectors, report = read_vectors(path)
    assert vectors.words == ["a", "c"]
    assert report.skipped == {
        "not UTF-8": 1,
        "with an empty token": 1,
        "with a word that came before": 1,
        "cut at the end of the file": 2,
    }


def test_entries_across_the_borders_of_the_read_chunks_are_whole(tmp_path: Path, monkeypatch) -> None:
    from zen_pipeline.embeddings import vector_binary

    vectors = any_floats(300, 5)
    write_vectors(vectors, tmp_path / "v.bin")
    for size in (7, 64, 1000):
        monkeypatch.setattr(vector_binary, "_CHUNK", size)
        assert read_vectors(tmp_path / "v.bin")[0].matrix.tobytes() == vectors.matrix.tobytes()


def test_large_files_lie_in_a_mapped_file(tmp_path: Path, monkeypatch) -> None:
    from zen_pipeline.embeddings import vector_files

    vectors = any_floats()
    write_vectors(vectors, tmp_path / "v.txt")
    monkeypatch.setattr(vector_files, "_is_large", lambda path: True)
    loaded, _ = read_vectors(tmp_path / "v.txt")
    assert isinstance(loaded.matrix.base, np.memmap)
    assert loaded.matrix.tobytes() == vectors.matrix.tobytes()


def test_safetensors_are_mapped_and_keep_counts_and_any_word(tmp_path: Path) -> None:
    vectors = WordVectors(["a b", "\n", "北京"], np.array([9, 5, 3]), np.eye(3, dtype=np.float32))
    write_vectors(vectors, tmp_path / "v.safetensors")
    loaded = read_vectors(tmp_path / "v.safetensors")[0]
    assert isinstance(loaded.matrix.base, np.memmap)
    assert loaded.words == vectors.words
    assert loaded.counts.tolist() == [9, 5, 3]
    with pytest.raises(DataError, match="'a b' is empty or holds a space"):
        write_vectors(vectors, tmp_path / "v.txt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nan.txt", b"a 1 2\nb nan 2\n", "vector of 'b' .number 2 .* NaN or infinity"),
        ("nan.bin", b"1 1\nb " + np.array([np.inf], "<f4").tobytes(), "vector of 'b' .* NaN or infinity"),
        ("width.txt", b"2 3\na 1 2\nb 1 2\n", "header announces 3 dimensions, the lines have 2"),
        ("width.bin", b"1 1\na " + np.ones(2, "<f4").tobytes(), "more follows after the 1 vectors of 1 dimensions"),
        ("empty.txt", b"", "is empty"),
        ("header.txt", b"0 3\n", "no vector can be read"),
        ("prose.txt", b"one two three\nfour five six\n", "no vector can be read"),
        ("words.txt", b"one\ntwo\n", "a word and no values"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_whole_file_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_vectors(tmp_path / name)
    assert name in str(error.value)


def test_a_header_is_told_from_a_vector_of_one_dimension(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_bytes(b"5 3\na 0.1\nb 0.2\n")
    (tmp_path / "word2vec.txt").write_bytes(b"2 1\na 0.1\nb 0.2\n")
    assert read_vectors(tmp_path / "glove.txt")[0].words == ["5", "a", "b"]
    assert read_vectors(tmp_path / "word2vec.txt")[0].words == ["a", "b"]


def test_missing_files_and_unknown_endings_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt does not exist"):
        read_vectors(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match=r"v\.pkl: the name tells no format"):
        write_vectors(any_floats(2), tmp_path / "v.pkl")


@pytest.mark.parametrize(
    ("name", "read", "dimensions", "format", "skipped"),
    [
        ("glove.6B.50d.first2446.txt", 2441, 50, "glove", {"not UTF-8": 5}),
        ("glove.6B.100d.sample.txt.gz", 100, 100, "glove", {}),
        ("glove.6B.300d.sample.txt.gz", 100, 300, "glove", {}),
        ("weat_w2v_300d.txt", 347, 300, "word2vec-text", {}),
    ],
)
def test_pieces_of_published_files(
    shared_data, name: str, read: int, dimensions: int, format: str, skipped: dict[str, int]
) -> None:
    _, report = read_vectors(shared_data("glove-samples") / name)
    assert (report.read, report.dimensions, report.format) == (read, dimensions, format)
    assert report.skipped == skipped
