from __future__ import annotations

import numpy as np

from tests.embeddings.test_token_vectors import tokenizer
from zen_pipeline.embeddings.tokens import rows_by_token, token_corpus, token_names
from zen_pipeline.embeddings.vectors import WordVectors


def test_every_token_has_a_name_of_its_own_without_spaces() -> None:
    made = tokenizer()
    names = token_names(made)
    assert len(names) == len(set(names)) == made.get_vocab_size()
    assert not [name for name in names if not name or any(map(str.isspace, name))]
    assert names[made.encode(" file").ids[0]].startswith("\u2581")
    assert names[made.token_to_id("<|endoftext|>")] == "<|endoftext|>"


def test_documents_of_tokens_without_the_special_ones() -> None:
    made = tokenizer()
    start = made.token_to_id("<|endoftext|>")
    documents = [made.encode(text).ids for text in ("file path", "path path!", "files")]
    stream = np.array([t for d in documents for t in (start, *d)], np.uint16)
    offsets = np.cumsum([0, *(len(d) + 1 for d in documents)])
    corpus = token_corpus(made, stream, offsets, min_count=1)
    names = token_names(made)
    assert np.diff(corpus.offsets).tolist() == [len(d) for d in documents]
    assert [corpus.words[i] for i in corpus.ids] == [names[t] for d in documents for t in d]

    vectors = WordVectors(corpus.words, corpus.counts, np.arange(1, len(corpus.words) + 1, dtype=np.float32)[:, None])
    rows, covered = rows_by_token(made, vectors)
    assert covered == len(corpus.words) == (rows != 0).sum()
    assert [rows[t, 0] for t in documents[0]] == [vectors.index[names[t]] + 1 for t in documents[0]]
