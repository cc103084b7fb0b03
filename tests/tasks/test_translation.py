from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from zen_pipeline.corpus.records import Record
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer, train_tokenizer
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.tasks.special_tokens import MASK, PAD, extend_tokenizer, required_ids
from zen_pipeline.tasks.translation import Pair, encode_pairs, pairs_of
from zen_pipeline.training.pairs import load_pairs, save_pairs

PAIRS = [Pair("Hi.", "嗨。", "zh"), Pair("Run!", "Cours !", "fr"), Pair("I see.", "Je vois, je vois, je vois.", "fr")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for pair in PAIRS for text in pair[:2]], 270)


def record(meta: dict[str, str]) -> Record:
    return Record("1", "1", "Hi. 嗨。", "pairs.tsv", "und", kind="translation", meta=json.dumps(meta))


def test_pairs_come_from_the_parts_of_records() -> None:
    meta = {"source": "Hi.", "target": "嗨。", "source_language": "en", "target_language": "zh"}
    assert list(pairs_of([record(meta)])) == [PAIRS[0]]
    assert list(pairs_of([record({"source": "a", "target": "b"})])) == [Pair("a", "b", "und")]
    with pytest.raises(DataError, match=r"record 1 of pairs\.tsv"):
        list(pairs_of([record({"source": "Hi."})]))


def test_encoded_pairs_end_where_the_text_does(tokenizer: Tokenizer) -> None:
    for pair, (source, target) in zip(PAIRS, encode_pairs(PAIRS, tokenizer, name_language=False), strict=True):
        assert (source[-1], target[-1]) == (tokenizer.start_id, tokenizer.start_id)
        assert tokenizer.decode(source) == pair.source
        assert tokenizer.decode(target) == pair.target
    named = encode_pairs(PAIRS, tokenizer, name_language=True)
    assert tokenizer.decode(named[1][0]) == ">>fr<< Run!"


def test_pairs_are_read_as_they_were_written(tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoded = encode_pairs(PAIRS, tokenizer, name_language=False)
    longest = max(map(len, encoded[2]))
    counts = save_pairs(tmp_path / "pairs.safetensors", encoded, longest=longest - 1)
    assert (counts["kept"], counts["too_long"]) == (2, 1)
    assert counts["target_tokens"] == sum(len(target) for _, target in encoded[:2])
    assert [(s.tolist(), t.tolist()) for s, t in load_pairs(tmp_path / "pairs.safetensors")] == encoded[:2]
    with pytest.raises(DataError, match=r"no pair for .* fits into 1 tokens"):
        save_pairs(tmp_path / "none.safetensors", encoded, longest=1)
    with pytest.raises(DataError, match="not a file of translation pairs"):
        load_pairs(tmp_path / "absent.safetensors")


def test_a_task_gets_its_own_tokens_behind_all_others(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "plain")
    size = tokenizer.vocab_size
    ids = extend_tokenizer(tmp_path / "plain", tmp_path / "bert", [MASK, PAD], framed=True)
    assert ids == {"mask_token": size, "pad_token": size + 1} == required_ids(tmp_path / "bert", [MASK, PAD])
    assert extend_tokenizer(tmp_path / "plain", tmp_path / "marian", [PAD]) == {"pad_token": size}
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path / "bert")
    assert (theirs.mask_token, theirs.pad_token, theirs.cls_token) == (MASK, PAD, "<|endoftext|>")
    assert theirs(f"I {MASK}.").input_ids.count(size) == 1
    assert Tokenizer.load(tmp_path / "bert").encode("I see.") == tokenizer.encode("I see.")
    with pytest.raises(ConfigError, match="has no mask_token"):
        required_ids(tmp_path / "plain", [MASK])
    with pytest.raises(ConfigError, match="already"):
        extend_tokenizer(tmp_path / "bert", tmp_path / "again", [MASK, PAD])
