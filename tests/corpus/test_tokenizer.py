"""Byte-level BPE: gives every text back, counts bytes, is the same in every training, opens in transformers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.corpus.shards import TokenSplit, write_index, write_split
from zen_pipeline.corpus.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from zen_pipeline.errors import ConfigError, StoreError

TEXTS = ["The cat sat on the mat. " * 20, "机器学习是人工智能。" * 20, "x = 12345 + 67890\n" * 20]
TOKENIZER = train_tokenizer(TEXTS, 400)


@given(st.text())
def test_any_text_comes_back_and_its_bytes_are_counted(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert int(TOKENIZER.token_bytes[ids].sum()) == len(text.encode())


def test_special_tokens_have_the_first_ids_and_cannot_be_written_in_text() -> None:
    assert [TOKENIZER.token_id(t) for t in SPECIAL_TOKENS] == [0, 1, 2]
    assert TOKENIZER.start_id == 0
    text = "".join(SPECIAL_TOKENS)
    assert min(TOKENIZER.encode(text)) > 2
    assert min(TOKENIZER.encode_batch([text])[0]) > 2
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.token_bytes[:3].tolist() == [0, 0, 0]


def test_digits_are_single_tokens() -> None:
    assert len(TOKENIZER.encode("12345")) == 5


def test_a_vocabulary_too_small_for_the_bytes_is_refused() -> None:
    assert train_tokenizer(TEXTS, 259).vocab_size == 259
    with pytest.raises(ConfigError, match="at least 259, found 258"):
        train_tokenizer(TEXTS, 258)


def test_transformers_opens_the_folder_with_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    TOKENIZER.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    for text in [*TEXTS, "  Spaces,\ttabs\r\nand \u200d emoji 🙂", ""]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == TOKENIZER.encode(text)
    assert theirs.eos_token_id == TOKENIZER.start_id
    assert len(theirs) == TOKENIZER.vocab_size


_TRAIN = """
import sys
from pathlib import Path
from zen_pipeline.corpus.tokenizer import train_tokenizer
text = Path(sys.argv[1]).read_text()
train_tokenizer([text[i:i + 3000] for i in range(0, len(text), 3000)], 1000).save(Path(sys.argv[2]))
"""


def test_training_gives_the_same_file_whatever_the_number_of_threads(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    source = shared_data("tinyshakespeare") / "input.txt"
    digests = set()
    for number, threads in enumerate(("1", "2", "4", "4")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        folder = tmp_path / str(number)
        subprocess.run([sys.executable, "-c", _TRAIN, str(source), str(folder)], check=True, env=environment)
        digests.add(hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no tokenizer.json"), ("{", "cannot be read"), ("[]", "cannot be read")],
)
def test_a_folder_without_a_usable_tokenizer_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        Tokenizer.load(tmp_path)


def test_shards_hold_every_document_behind_its_start_token(tmp_path: Path) -> None:
    counts = {name: write_split(tmp_path, name, texts, TOKENIZER) for name, texts in (("train", TEXTS), ("test", []))}
    write_index(tmp_path, TOKENIZER, counts)
    train, test = TokenSplit.open(tmp_path, "train"), TokenSplit.open(tmp_path, "test")
    assert train.tokens.dtype == np.uint16
    assert train.bytes.tolist() == [len(t.encode()) for t in TEXTS]
    for index, text in enumerate(TEXTS):
        start, *ids = train.document(index).tolist()
        assert (start, TOKENIZER.decode(ids)) == (0, text)
    assert (len(test.tokens), test.offsets.tolist(), len(test.bytes)) == (0, [0], 0)
    assert np.load(tmp_path / "token_bytes.npy").dtype == np.int32
    assert counts["train"]["tokens"] == len(train.tokens)


def test_a_cut_stream_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, TOKENIZER, {"train": write_split(tmp_path, "train", TEXTS, TOKENIZER)})
    path = tmp_path / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StoreError, match="does not fit"):
        TokenSplit.open(tmp_path, "train")
    with pytest.raises(StoreError, match="no readable valid tokens"):
        TokenSplit.open(tmp_path, "valid")
