"""Byte-level BPE: training, and one small interface to any byte-level tokenizer in Hugging Face's format.

Byte-level BPE (Radford et al. 2019) covers every Unicode text with 256 bytes and their merges: nothing is unknown and
decoding gives the text back. The pre-tokenizer is Qwen2's, which llama.cpp knows by name. Merges never cross what it
splits, which decides two things on purpose (figures in docs/experiments.md):

- Every digit is a token of its own, in every script: a number is always written in the same way, whatever stands beside
  it, where groups of digits would depend on where they begin.
- Chinese and Japanese write no spaces, so a run of characters up to the next mark is one piece, and merges find the
  frequent words in it without a dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, MESSAGE_START, MESSAGE_END)
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
# What a Hugging Face folder says about its tokenizer; the first is needed, the others are kept where they are.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)

# The pattern of Qwen2's tokenizer.json.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A byte-level tokenizer with the ids of its special tokens.

    Attributes:
        start_id: the id that stands before every document and every prompt.
        stop_ids: the ids at which generation ends.
    """

    def __init__(self, raw: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
        # Text that happens to contain "<|im_end|>" stays text: nobody can write control tokens into a prompt.
        raw.encode_special_tokens = True
        self._raw = raw
        self.start_id = self._start_id(config)
        names = (MESSAGE_END, _token_text(config.get("eos_token")))
        ends = (raw.token_to_id(name) for name in names if name is not None)
        self.stop_ids = frozenset({self.start_id, *(i for i in ends if i is not None)})

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a folder in Hugging Face's format.

        Raises:
            ConfigError: there is no readable tokenizer.json, or it is not byte-level.
        """
        import tokenizers

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"{folder} has no tokenizer.json: name a folder that a fast tokenizer was saved in")
        try:
            text = path.read_text(encoding="utf-8")
            raw = tokenizers.Tokenizer.from_str(text)
            config = _read_config(folder / "tokenizer_config.json")
        except Exception as error:  # `tokenizers` raises the bare Exception for a file that it cannot read
            raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        if '"ByteLevel"' not in text:
            raise ConfigError(f"{path} is not a byte-level tokenizer; only those give every text back")
        return cls(raw, config)

    def _start_id(self, config: dict[str, Any]) -> int:
        """The one place that decides what stands before a document: our own token, else the model's bos or eos."""
        for name in (END_OF_TEXT, _token_text(config.get("bos_token")), _token_text(config.get("eos_token"))):
            if name is not None and (found := self._raw.token_to_id(name)) is not None:
                return int(found)
        raise ConfigError(f"the tokenizer has none of {END_OF_TEXT}, bos_token, eos_token to start a document with")

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id, special tokens included; a given vocabulary may have gaps."""
        return max(self._raw.get_vocab().values()) + 1

    @cached_property
    def token_bytes(self) -> npt.NDArray[np.int32]:
        """(vocab_size,) bytes of UTF-8 text that each id stands for; 0 for special tokens."""
        lengths = np.zeros(self.vocab_size, dtype=np.int32)
        for token, index in self._raw.get_vocab(with_added_tokens=False).items():
            lengths[index] = len(token)  # byte-level: one character of the vocabulary is one byte
        for index, added in self._raw.get_added_tokens_decoder().items():
            lengths[index] = 0 if added.special else len(added.content.encode())
        return lengths

    def token_id(self, token: str) -> int:
        """The id of a token that must exist.

        Raises:
            ConfigError: the vocabulary lacks it.
        """
        found = self._raw.token_to_id(token)
        if found is None:
            raise ConfigError(f"the tokenizer has no token {token!r}")
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, without any special token."""
        ids: list[int] = self._raw.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts, in parallel."""
        return [e.ids for e in self._raw.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens give nothing, bytes that are not UTF-8 give U+FFFD."""
        return str(self._raw.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which `transformers` opens with the same ids."""
        folder.mkdir(parents=True, exist_ok=True)
        self._raw.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with `vocab_size` ids (fewer when the text has no more pairs to merge).

    The same texts in the same order give the same tokenizer, whatever the number of threads.

    Raises:
        ConfigError: the vocabulary cannot hold the special tokens and 256 bytes.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(f"tokenize.vocab_size must be at least {SMALLEST_VOCABULARY}, found {vocab_size}")
    raw = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN2_PATTERN), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return Tokenizer(raw, {})


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def _token_text(entry: object) -> str | None:
    """Special tokens stand in tokenizer_config.json as a string, or as an object with `content`."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
