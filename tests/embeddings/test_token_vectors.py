from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from zen_pipeline.embeddings.token_vectors import token_vectors
from zen_pipeline.embeddings.vectors import WordVectors

WORDS = ["file", "files", "profile", "path", "北京"]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )  # fmt: skip
    made.train_from_iterator(["file files profile path File Path"] * 10, trainer)
    return made


def test_a_token_has_the_weighted_mean_of_the_words_that_it_is_part_of() -> None:
    made = tokenizer()
    random = np.random.default_rng(0)
    counts = np.array([50, 20, 7, 5, 2])
    vectors = WordVectors(WORDS, counts, random.normal(size=(5, 6)).astype(np.float32))
    found, covered = token_vectors(made, vectors)
    assert found.shape == (made.get_vocab_size(), 6)
    assert found.dtype == np.float32

    expected, with_vector = np.zeros((made.get_vocab_size(), 6)), 0
    for token in range(made.get_vocab_size()):
        members = []
        for row, word in enumerate(WORDS):
            forms = (word, word.capitalize(), " " + word, " " + word.capitalize())
            if any(token in made.encode(form).ids for form in forms):
                members.append(row)
        if members:
            with_vector += 1
            expected[token] = np.average(vectors.matrix[members], axis=0, weights=counts[members])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert covered == with_vector > 10


def test_special_tokens_and_bytes_of_no_word_have_zeros() -> None:
    made = tokenizer()
    vectors = WordVectors(WORDS, np.ones(5, np.int64), np.ones((5, 4), np.float32))
    found, _ = token_vectors(made, vectors)
    assert not found[:3].any()
    assert not found[made.token_to_id("!")].any()
    assert found[made.encode(" file").ids[0]].all()
