from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.errors import ConfigError
from zen_pipeline.tasks.spans import corrupt_spans, span_counts
from zen_pipeline.tasks.special_tokens import PAD, extend_tokenizer, required_ids, sentinel_names

FIRST = 1000


def rebuilt(source: np.ndarray, target: np.ndarray) -> list[int]:
    """The text that a source and its target come from: each sentinel of the source gives way to its span."""
    spans: dict[int, list[int]] = {}
    for token in target.tolist():
        if token >= FIRST:
            spans[token] = []
            last = token
        else:
            spans[last].append(token)
    assert list(spans) == list(range(FIRST, FIRST + len(spans)))
    assert spans.pop(last) == []  # the last sentinel only ends the target
    assert all(spans.values())
    assert [token for token in source.tolist() if token >= FIRST] == list(spans)
    return [token for given in source.tolist() for token in spans.get(given, [given])]


@pytest.mark.parametrize("length", [2, 3, 5, 7, 20, 64, 512])
def test_source_and_target_give_back_the_text(length: int) -> None:
    tokens = np.random.default_rng(length).integers(0, FIRST, (16, length))
    sources, targets = corrupt_spans(tokens, np.random.default_rng(1), first_sentinel=FIRST)
    cut, spans = span_counts(length)
    assert sources.shape == (16, length - cut + spans)
    assert targets.shape == (16, cut + spans + 1)
    for row in range(16):
        assert rebuilt(sources[row], targets[row]) == tokens[row].tolist()


def test_fifteen_percent_in_spans_of_three_that_lie_anywhere() -> None:
    assert span_counts(512) == (77, 26)
    tokens = np.tile(np.arange(512), (400, 1))
    _, targets = corrupt_spans(tokens, np.random.default_rng(2), first_sentinel=FIRST)
    asked = np.bincount(targets[targets < FIRST], minlength=512) / 400
    assert asked.sum() == pytest.approx(77)
    assert asked[50:450].min() > 0.05  # of 0.15; 400 windows leave a deviation of 0.02
    assert asked[50:450].max() < 0.25
    runs = np.diff(np.flatnonzero(targets.ravel() >= FIRST)) - 1
    assert runs[runs > 0].mean() == pytest.approx(77 / 26)
    assert set(runs[runs > 0]) >= {1, 2, 3, 4, 5, 6}


def test_the_same_state_gives_the_same_spans() -> None:
    tokens = np.random.default_rng(0).integers(0, FIRST, (4, 64))
    both = [corrupt_spans(tokens, np.random.default_rng([7, 3]), first_sentinel=FIRST)[0] for _ in range(2)]
    other = corrupt_spans(tokens, np.random.default_rng([7, 4]), first_sentinel=FIRST)[0]
    assert (both[0] == both[1]).all()
    assert (both[0] != other).any()


def test_sentinels_are_single_ids_before_the_padding_and_found_again(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    train_tokenizer(["a few words to learn from"], 280).save(tmp_path / "plain")
    size = Tokenizer.from_file(str(tmp_path / "plain" / "tokenizer.json")).get_vocab_size()
    ids = extend_tokenizer(tmp_path / "plain", tmp_path / "spans", [PAD], sentinels=5)
    assert ids == {"first_sentinel": size, "pad_token": size + 5}
    raw = Tokenizer.from_file(str(tmp_path / "spans" / "tokenizer.json"))
    assert raw.encode("".join(sentinel_names(5)), add_special_tokens=False).ids == list(range(size, size + 5))
    assert required_ids(tmp_path / "spans", [PAD], sentinels=5) == ids
    with pytest.raises(ConfigError, match="has no 6 sentinels"):
        required_ids(tmp_path / "spans", [PAD], sentinels=6)
    assert extend_tokenizer(tmp_path / "plain", tmp_path / "pairs", [PAD]) == {"pad_token": size}
