"""Train vectors by any of the methods, each with its own defaults where nothing is set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from zen_pipeline.embeddings.glove import GloveResult, GloveSettings, train_glove
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.word2vec import Word2VecResult, Word2VecSettings, train_word2vec
from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.logs import get_logger

Method = Literal["skipgram", "cbow", "glove"]
_LOG_EVERY = 5.0  # seconds

log = get_logger(__name__)


def train_vectors(
    corpus: WordCorpus, method: Method, settings: Mapping[str, Any], *, checkpoint: Checkpoint | None = None
) -> Word2VecResult | GloveResult:
    """Vectors of a corpus, with a line in the log every few seconds.

    Args:
        corpus: from `encode_corpus` or `token_corpus`.
        method: what to train.
        settings: fields of `Word2VecSettings` or `GloveSettings`; what is None, or a field of the other method alone,
            is left to the method's defaults.
        checkpoint: where to go on from, and to write to.

    Raises:
        DataError: the corpus has nothing to learn from, or the training diverged.
    """
    if method == "glove":
        own = GloveSettings(**_chosen(settings, GloveSettings))
        return train_glove(corpus, own, checkpoint=checkpoint, progress=_Progress("pairs"))
    word2vec = Word2VecSettings(method=method, **_chosen(settings, Word2VecSettings))
    return train_word2vec(corpus, word2vec, checkpoint=checkpoint, progress=_Progress("words"))


def will_compile(method: Method) -> bool:
    """True where the first training by this method on this machine has to compile its kernel first."""
    from zen_pipeline.embeddings.compiled import on_disk

    if method == "glove":
        from zen_pipeline.embeddings.glove_kernel import train_pairs as kernel
    else:
        from zen_pipeline.embeddings.word2vec_kernel import train as kernel
    return not on_disk(kernel)


def speed(result: Word2VecResult | GloveResult) -> dict[str, int]:
    """Words or pairs per second, with the name that says which."""
    if isinstance(result, GloveResult):
        return {"pairs_per_second": round(result.pairs_per_second)}
    return {"words_per_second": round(result.words_per_second)}


def _chosen(settings: Mapping[str, Any], kind: type[Word2VecSettings | GloveSettings]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)} - {"method"}
    return {name: value for name, value in settings.items() if name in names and value is not None}


class _Progress:
    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _LOG_EVERY:
            self._last = now
            log.info("word vectors: %.1f of %.1f M %s", done / 1e6, total / 1e6, self._unit)
