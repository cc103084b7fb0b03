from __future__ import annotations

import numpy as np
import pytest

from zen_pipeline.tasks.masks import mask_tokens, starts_of_words

VOCABULARY = 100
MASK = 100
MASKABLE = np.arange(VOCABULARY) >= 3  # 0, 1, 2 are special
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (64, 200))
# Every fourth token starts a word: words are four tokens long in `WORDS`.
STARTS = np.arange(VOCABULARY) % 4 == 3
WORDS = np.tile(np.arange(3, 99), (16, 2))


def masked(seed: int, tokens: np.ndarray = TOKENS, starts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return mask_tokens(tokens, generator, mask_id=MASK, maskable=MASKABLE, word_starts=starts)


def test_every_row_is_asked_for_fifteen_percent_of_its_text_tokens() -> None:
    inputs, targets = masked(1)
    asked = targets != -100
    assert (asked.sum(axis=1) == np.round(0.15 * MASKABLE[TOKENS].sum(axis=1))).all()
    assert not asked[~MASKABLE[TOKENS]].any()
    assert (targets[asked] == TOKENS[asked]).all()
    assert (inputs[~asked] == TOKENS[~asked]).all()


def test_asked_tokens_are_masked_replaced_or_kept_in_eight_to_one_to_one() -> None:
    inputs, targets = masked(2, np.tile(TOKENS, (8, 1)))
    asked = targets != -100
    given, wanted = inputs[asked], targets[asked]
    assert (given == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert ((given != MASK) & (given != wanted)).mean() == pytest.approx(0.1, abs=0.01)
    assert (given == wanted).mean() == pytest.approx(0.1, abs=0.01)
    assert MASKABLE[given[given != MASK]].all()


def test_masks_follow_from_the_generator_alone() -> None:
    for first, second in zip(masked(3), masked(3), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (masked(3)[1] != masked(4)[1]).any()


def test_whole_words_are_asked_for_or_not_at_all() -> None:
    _, targets = masked(5, WORDS, STARTS)
    asked = (targets != -100).reshape(16, 48, 4)
    assert (asked.all(axis=2) == asked.any(axis=2)).all()
    share = asked.mean(axis=(1, 2))
    assert (share >= 0.15 - 1e-9).all()
    assert (share <= 0.15 + 4 / 192).all()


def test_a_special_token_ends_a_word() -> None:
    tokens = np.array([[3, 0, 4, 5, 6]] * 200)  # 4, 5 and 6 go on with a word, but not with that before the special one
    _, targets = masked(6, tokens, STARTS)
    asked = targets != -100
    assert not asked[:, 1].any()
    assert (asked[:, 2] == asked[:, 4]).all()
    assert (asked[:, 0] != asked[:, 2]).all()


def test_a_row_without_text_is_asked_for_nothing() -> None:
    inputs, targets = masked(7, np.zeros((2, 8), dtype=np.int64))
    assert (targets == -100).all()
    assert (inputs == 0).all()


def test_words_start_after_spaces_and_signs() -> None:
    found = starts_of_words(["Ġthe", "ing", "Ċ", "42", ".", "Ã©", "<|endoftext|>", ""])
    assert found.tolist() == [True, False, True, True, True, False, True, True]
