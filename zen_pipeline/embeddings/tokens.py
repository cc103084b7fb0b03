"""The tokens of a tokenizer as the words to learn vectors of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.words import WordCorpus, ranked_corpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPACE = "\u2581"  # shown for a space, as in SentencePiece


def token_names(tokenizer: Tokenizer) -> list[str]:
    """A name for every token id, all different and without white space.

    It is the token's text with `\u2581` for a space; where the token is a part of a character, or two tokens have the
    same text, it is the tokenizer's own name for the token.
    """
    own = [tokenizer.id_to_token(i) or f"<{i}>" for i in range(tokenizer.get_vocab_size())]
    texts = [tokenizer.decode([i], skip_special_tokens=False).replace(" ", _SPACE) for i in range(len(own))]
    seen = Counter([*texts, *own])
    return [
        text if text and "\ufffd" not in text and not any(map(str.isspace, text)) and seen[text] == 1 + (text == name)
        else name
        for text, name in zip(texts, own, strict=True)
    ]  # fmt: skip


def token_corpus(
    tokenizer: Tokenizer, tokens: NDArray[np.integer], offsets: NDArray[np.int64], *, min_count: int
) -> WordCorpus:
    """Documents as tokens instead of words.

    Args:
        tokenizer: of the `tokenizers` library.
        tokens: the stream of all documents; the tokenizer's special tokens are left out.
        offsets: start of each document, plus the end.
        min_count: rarer tokens have no vector.

    Raises:
        DataError: all tokens are rare.
    """
    special = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    kept = ~np.isin(tokens, special)
    before = np.concatenate(([0], np.cumsum(kept)))
    return ranked_corpus(token_names(tokenizer), tokens[kept].astype(np.int32), before[offsets], min_count)


def rows_by_token(tokenizer: Tokenizer, vectors: WordVectors) -> tuple[NDArray[np.float32], int]:
    """The vectors of `token_corpus` in the order of the token ids.

    Returns:
        (vocabulary of the tokenizer, dimensions) float32, zeros for tokens without a vector; and how many have one.
    """
    names = token_names(tokenizer)
    rows = np.zeros((len(names), vectors.dimensions), np.float32)
    found = [(token, vectors.index[name]) for token, name in enumerate(names) if name in vectors.index]
    tokens, mine = (np.array(column, np.int64) for column in zip(*found, strict=True))
    rows[tokens] = vectors.matrix[mine]
    return rows, len(found)
