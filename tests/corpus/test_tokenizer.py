"""Byte-level BPE: gives every text back, counts bytes, is the same in every training, opens in transformers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.corpus.tokens.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from zen_pipeline.errors import ConfigError

TEXTS = ["The cat sat on the mat. " * 20, "机器学习是人工智能。" * 20, "x = 12345 + 67890\n" * 20]
TOKENIZER = train_tokenizer(TEXTS, 400)


# Any Unicode text without lone surrogates (UTF-8 has none), and pieces that look like special tokens in it.
ANY_TEXT = st.lists(st.one_of(st.text(), st.sampled_from(SPECIAL_TOKENS), st.sampled_from(TEXTS))).map("".join)


@given(ANY_TEXT)
def test_any_text_comes_back_and_its_bytes_are_counted(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.encode_batch([text, "x"])[0] == ids
    assert not set(ids) & {0, 1, 2}
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


def test_digits_are_single_tokens_in_every_script() -> None:
    assert len(TOKENIZER.encode("12345")) == 5
    for number in ("2026", "٢٠٢٦", "２０２６"):
        assert [TOKENIZER.decode(TOKENIZER.encode(digit)) for digit in number] == list(number)
        joined = [i for digit in number for i in TOKENIZER.encode(digit)]
        assert TOKENIZER.encode(number) == joined


def test_frequent_runs_of_han_characters_become_tokens_without_a_dictionary() -> None:
    text = "机器学习"
    assert len(text.encode()) == 12
    assert len(TOKENIZER.encode(text)) < len(text)


def test_a_vocabulary_too_small_for_the_bytes_is_refused() -> None:
    assert train_tokenizer(TEXTS, 259).vocab_size == 259
    with pytest.raises(ConfigError, match="at least 259, found 258"):
        train_tokenizer(TEXTS, 258)


MULTILINGUAL = (
    "  Spaces,\ttabs\r\nand \u200d emoji 👩\u200d👩\u200d👧 🙂\n\n\n  end ",
    "Größe, façade, cafe\u0301, naïve; ĲSSELMEER ﬁn ½ x² №5",
    "机器学习 learning 很有趣，2026年11月！「引用」",
    "日本語のテキスト、カタカナ。한국어 문장입니다. ภาษาไทย",
    "Привет, мир! Ελλάδα שלום עולם مرحبا بالعالم हिन्दी भाषा",
    "def f(x):\n\treturn x**2  # it's 100%\n",
    "\x00\x1b\ufeff\ufffd\U0010ffff",
)


def test_transformers_opens_the_folder_with_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    TOKENIZER.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    for text in [*TEXTS, *MULTILINGUAL, ""]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == TOKENIZER.encode(text)
    assert theirs.eos_token_id == TOKENIZER.start_id
    assert len(theirs) == TOKENIZER.vocab_size


_TRAIN = """
import sys
from pathlib import Path
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
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
    [(None, "has no tokenizer.json"), ("{", "is not JSON"), ("[]", "a JSON list")],
)
def test_a_folder_without_a_usable_tokenizer_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        Tokenizer.load(tmp_path)


def test_the_slow_form_of_a_tokenizer_is_named_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"tokenizer\.model.*save_pretrained"):
        Tokenizer.load(tmp_path)


def saved(folder: Path, **changes: Any) -> Path:
    """The tokenizer with other parts in its tokenizer.json."""
    TOKENIZER.save(folder)
    data = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(data | changes))
    return folder


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}),
        ("normalizer", {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 8}),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}),
        ("pre_tokenizer", {"type": "Nonsense"}),
        ("decoder", {"type": "Sequence", "decoders": [
            {"type": "ByteLevel"}, {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}]}),
    ],
    ids=["a letter into a thousand", "doubled again and again", "a slow pattern", "unknown step", "in the decoder"],
)  # fmt: skip
def test_a_tokenizer_that_takes_memory_or_time_is_refused(tmp_path: Path, part: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.json") as raised:
        Tokenizer.load(saved(tmp_path, **{part: value}))
    assert "\n" not in str(raised.value)


def test_harmless_steps_are_used_as_they_are(tmp_path: Path) -> None:
    lower = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    replaced = {"type": "Replace", "pattern": {"String": "C"}, "content": "c"}
    for normalizer in (lower, replaced):
        tokenizer = Tokenizer.load(saved(tmp_path, normalizer=normalizer))
        assert tokenizer.decode(tokenizer.encode("The Cat")) == ("the cat" if normalizer == lower else "The cat")


def test_a_text_is_not_cut_or_filled_up_by_what_the_file_asks_for(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    tokenizer = Tokenizer.load(saved(tmp_path, truncation=cut, padding={**fill, "pad_type_id": 0, "pad_token": "x"}))
    assert tokenizer.decode(tokenizer.encode("x = 12345 + 67890")) == "x = 12345 + 67890"


@pytest.mark.parametrize(("size", "named"), [(300, "300"), (None, "16777216")])
def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path, size: int | None, named: str) -> None:
    vocabulary = json.loads((saved(tmp_path) / "tokenizer.json").read_text())["model"]
    if size is None:
        vocabulary["vocab"] = {**vocabulary["vocab"], "Ġzzz": 4_000_000_000}
    else:
        (tmp_path / "config.json").write_text(json.dumps({"vocab_size": size}))
    with pytest.raises(ConfigError, match=named):
        Tokenizer.load(saved(tmp_path, model=vocabulary))


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens.json": {"<|extra|>": 303}},
        {"tokenizer_config.json": {"added_tokens_decoder": {"303": {"content": "<|extra|>", "special": True}}}},
    ],
)
def test_tokens_that_stand_beside_the_tokenizer_only_are_added(tmp_path: Path, files: dict[str, Any]) -> None:
    saved(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode_with_special("a<|extra|>b") == [*tokenizer.encode("a"), 303, *tokenizer.encode("b")]
    assert 303 not in tokenizer.encode("a<|extra|>b")
    (tmp_path / "added_tokens.json").write_text('{"<|far|>": 900}')
    with pytest.raises(ConfigError, match=r"<\|far\|>.*900"):
        Tokenizer.load(tmp_path)


def test_special_tokens_may_be_objects_or_stand_in_their_own_file(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": null}')
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": {"content": "<|im_start|>", "lstrip": false}}')
    assert Tokenizer.load(tmp_path).stop_ids == {0, 1, 2}


def test_other_programs_put_the_start_token_before_a_text_and_ours_do_not(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    TOKENIZER.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("The cat").input_ids == [TOKENIZER.start_id, *TOKENIZER.encode("The cat")]
    assert Tokenizer.load(tmp_path).encode("The cat") == theirs("The cat", add_special_tokens=False).input_ids
