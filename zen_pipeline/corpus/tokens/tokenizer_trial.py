"""Tries a tokenizer in a child with bounded memory and time: `python -m zen_pipeline.corpus.tokens.tokenizer_trial`.

A normalizer may replace one letter by a thousand, a pattern may take for ever on some text, and both would take this
process with them, since the library that runs them cannot be interrupted. Tokenizers all of whose steps are known to be
harmless need no trial, and so do our own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zen_pipeline.errors import ConfigError
from zen_pipeline.limited import LimitedProcess, LimitExceeded, Refused, serve

# Steps whose work is proportional to the text and whose result is hardly longer.
_HARMLESS = {
    "normalizer": {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "BertNormalizer"},
    "pre_tokenizer": {"ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "BertPreTokenizer"},
    "post_processor": {"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"},
    "decoder": {"ByteLevel", "WordPiece", "BPEDecoder", "Fuse", "ByteFallback"},
}
_STEPS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
# Patterns of Qwen2, GPT-2 and Llama 3.
_PATTERNS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+",
}
_MOST_GROWTH = 64  # tokens of a text for each of its bytes
_LENGTH = 4096
_CPU_SECONDS, _MEMORY_BYTES = 5, 1 << 30  # reading the largest published tokenizer.json takes a third of both
_UNITS = ("a", "A", " ", "\n", "1", ".", "-", "'", "é", "的", "😀", "ab ", "a1", "x.y", "\u0301", "ﷺ")


def try_tokenizer(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse a tokenizer.json that needs too much memory or time for ordinary text.

    Args:
        path: of the file.
        data: its content.

    Raises:
        ConfigError: what it did.
    """
    if all(_is_harmless(part, step) for part in _STEPS for step in _steps(part, data.get(part))):
        return
    trial = LimitedProcess(__name__, str(path))
    try:
        trial.ask(None)
    except LimitExceeded as error:
        raise ConfigError(
            f"{path}: the tokenizer cannot be used: {error}, for {_LENGTH} characters; look at its normalizer, pattern "
            "and decoder"
        ) from None
    except Refused as error:
        raise ConfigError(f"{path}: the tokenizer cannot be used: {error}") from None
    finally:
        trial.close()


def _steps(part: str, step: object) -> Iterator[Mapping[str, Any]]:
    """The steps of a part, those inside sequences one by one; what is no step at all is left to the trial."""
    waiting = [step]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict) and step.get("type") == "Sequence" and isinstance(step.get(_STEPS[part]), list):
            waiting += step[_STEPS[part]]
        elif step is not None:
            yield step if isinstance(step, dict) else {}


def _is_harmless(part: str, step: Mapping[str, Any]) -> bool:
    if part == "pre_tokenizer" and step.get("type") == "Split":
        pattern = step.get("pattern")
        return isinstance(pattern, dict) and pattern.get("Regex") in _PATTERNS
    return step.get("type") in _HARMLESS[part]


def _try(path: str) -> None:
    """Encode and decode long runs of single characters and of their mixtures."""
    from tokenizers import Tokenizer

    raw = Tokenizer.from_file(path)
    raw.no_truncation()
    raw.no_padding()
    for text in (*(unit * (_LENGTH // len(unit)) + "!" for unit in _UNITS), "".join(_UNITS) * 100):
        ids = raw.encode(text, add_special_tokens=True).ids
        decoded = raw.decode(ids[:_LENGTH])
        if len(ids) > (most := _MOST_GROWTH * len(text.encode())) or len(decoded) > most:
            raise ValueError(f"{len(text)} characters became {len(ids)} tokens and {len(decoded)} characters again")


if __name__ == "__main__":
    serve(lambda _: _try(sys.argv[1]), cpu_seconds=_CPU_SECONDS, memory_bytes=_MEMORY_BYTES)
