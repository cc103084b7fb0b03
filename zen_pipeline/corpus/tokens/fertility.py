"""How many tokens a tokenizer needs for a language: per word, and per byte.

Fertility (tokens per word; Rust et al. 2021, "How Good is Your Tokenizer?") compares languages that write words;
tokens per byte compares all, but a Chinese character has three bytes where a Latin letter has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zen_pipeline.corpus.texts import read_texts
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

_SAMPLE = 200_000  # characters of each language: bounds the time


def held_out_sample(records: Path, *, kind: str | None = None) -> dict[str, list[str]]:
    """The first texts of the validation and test splits, by language: what the tokenizer was not trained on.

    Args:
        records: the file of the kept records.
        kind: only records of this kind; None for every kind.
    """
    chosen: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for rows in read_texts(records, kind=kind):
        for split, language, text in zip(rows.splits, rows.languages, rows.texts, strict=True):
            if split != "train" and sizes.get(language, 0) < _SAMPLE:
                part = text[: _SAMPLE - sizes.get(language, 0)]
                chosen.setdefault(language, []).append(part)
                sizes[language] = sizes.get(language, 0) + len(part)
    return dict(sorted(chosen.items()))


def measure_fertility(
    tokenizer: Tokenizer, samples: Mapping[str, Sequence[str]], words: Callable[[str], Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Counts and ratios by language.

    Args:
        tokenizer: what is measured.
        samples: texts by language.
        words: the words of a text; tokens of what is no word (spaces, marks, numbers) count as well.

    Returns:
        By language `documents`, `bytes`, `characters`, `words`, `tokens`, `tokens_per_word` (None without words),
        `tokens_per_byte`, `characters_per_token`.
    """
    measured = {}
    for language, texts in samples.items():
        counts = {
            "documents": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
            "characters": sum(map(len, texts)),
            "words": sum(len(words(text)) for text in texts),
            "tokens": sum(map(len, tokenizer.encode_batch(texts))),
        }
        measured[language] = {
            **counts,
            "tokens_per_word": round(counts["tokens"] / counts["words"], 3) if counts["words"] else None,
            "tokens_per_byte": round(counts["tokens"] / max(counts["bytes"], 1), 4),
            "characters_per_token": round(counts["characters"] / max(counts["tokens"], 1), 3),
        }
    return measured
