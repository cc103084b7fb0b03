"""Byte-level BPE: training, and one small interface to any byte-level tokenizer in Hugging Face's format.

Byte-level BPE (Radford et al. 2019) covers every Unicode text with 256 bytes and their merges: nothing is unknown and
decoding gives the text back. The pre-tokenizer is Qwen2's, which llama.cpp knows by name. Merges never cross what it
splits, which decides two things on purpose (figures in docs/experiments.md):

- Every digit is a token of its own, in every script: a number is always written in the same way, whatever stands next
  to it, where groups of digits would depend on where they begin.
- Chinese and Japanese write no spaces, so a run of characters up to the next mark is one piece, and merges find the
  frequent words in it without a dictionary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.tokens.tokenizer_trial import try_tokenizer
from zen_pipeline.errors import ConfigError, first_line
from zen_pipeline.files import own_file, read_json_object, write_atomically

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, MESSAGE_START, MESSAGE_END)
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
# What a Hugging Face folder says about its tokenizer; the first is needed, the others are kept where they are.
TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
ADDED_TOKENS, TEMPLATE_FILE, OLD_TEMPLATE_FILE = "added_tokens.json", "chat_template.jinja", "chat_template.json"
MORE_TEMPLATES = "additional_chat_templates"  # a folder of `NAME.jinja`
SPECIAL_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SLOW = ("tokenizer.model", "spiece.model", "source.spm", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_MOST_IDS = 1 << 24  # ids are places in tables; the largest published vocabularies have 2^18

# The pattern of Qwen2's tokenizer.json.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that belong to its tokenizer, by their names in it.

    Raises:
        ConfigError: one of them is a link that leads out of the folder.
    """
    names = [TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS, TEMPLATE_FILE, OLD_TEMPLATE_FILE]
    names += sorted(f"{MORE_TEMPLATES}/{path.name}" for path in (folder / MORE_TEMPLATES).glob("*.jinja"))
    found = ((name, own_file(folder, name)) for name in names)
    return {name: path for name, path in found if path is not None}


def copy_tokenizer_files(source: Path, target: Path) -> None:
    """Copy the files of a tokenizer into a folder, each whole or not at all.

    Raises:
        ConfigError: there is no tokenizer.json, or a file is a link that leads out of the folder.
    """
    files = tokenizer_files(source)
    if TOKENIZER not in files:
        raise _without_tokenizer(source)
    for name, path in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target / name, path.read_bytes())


def _without_tokenizer(folder: Path) -> ConfigError:
    slow = [name for name in _SLOW if (folder / name).exists()]
    if slow:
        return ConfigError(
            f"{folder} has no {TOKENIZER}, only the slow form of a tokenizer ({', '.join(slow)}): convert it once with "
            f"transformers: AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    return ConfigError(f"{folder} has no {TOKENIZER}: name a folder that a fast tokenizer was saved in")


class Tokenizer:
    """A byte-level tokenizer with the ids of its special tokens.

    Attributes:
        start_id: the id that stands before every document and every prompt.
        stop_ids: the ids at which generation ends.
    """

    def __init__(self, raw: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
        # Text that happens to contain "<|im_end|>" stays text: nobody can write control tokens into a prompt.
        raw.encode_special_tokens = True
        raw.no_truncation()  # a file may ask for either
        raw.no_padding()
        self._raw = raw
        self.start_id = self._start_id(config)
        names = (MESSAGE_END, token_text(config.get("eos_token")))
        ends = (raw.token_to_id(name) for name in names if name is not None)
        self.stop_ids = frozenset({self.start_id, *(i for i in ends if i is not None)})

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a folder in Hugging Face's format.

        Raises:
            ConfigError: there is no readable tokenizer.json, it is not byte-level, it needs too much memory or time,
                or has ids that no model has a vector for.
        """
        import tokenizers

        path = own_file(folder, TOKENIZER)
        if path is None:
            raise _without_tokenizer(folder)
        data, config = read_json_object(path), special_tokens(folder)
        if not _is_byte_level(data):
            raise ConfigError(f"{path} is not a byte-level tokenizer; only those give every text back")
        try_tokenizer(path, data)
        try:
            raw = tokenizers.Tokenizer.from_file(str(path))
        except BaseException as error:  # `tokenizers` raises the bare Exception, or no Exception at all
            if isinstance(error, KeyboardInterrupt):
                raise
            raise ConfigError(f"{path} cannot be read: {first_line(error)}") from None
        _add_tokens(raw, folder, config)
        highest = max(raw.get_vocab().values(), default=-1)
        if highest >= (most := _embeddings(folder)):
            raise ConfigError(f"{path} has the id {highest}, but the model's vocabulary ends before {most}")
        return cls(raw, config)

    def _start_id(self, config: dict[str, Any]) -> int:
        """The one place that decides what stands before a document: our own token, else the model's bos or eos."""
        for name in (END_OF_TEXT, token_text(config.get("bos_token")), token_text(config.get("eos_token"))):
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

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token, special ones included, with its id."""
        return dict(self._raw.get_vocab())

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

    def encode_with_special(self, text: str) -> list[int]:
        """Ids of a text in which the names of special and added tokens stand for them."""
        ids: list[int] = []
        strip = False
        for part in self._added_pattern.split(text) if self._added else [text]:
            if (found := self._added.get(part)) is not None:
                ids.append(found[0])
                strip = found[1].rstrip
            elif part:
                ids += self.encode(part.lstrip() if strip else part)
                strip = False
        return ids

    def mark_special(self, text: str, mark: str) -> str:
        """The text with a mark behind the first character of each name of a special or added token."""
        if not self._added:
            return text
        return self._added_pattern.sub(lambda found: found[0][0] + mark + found[0][1:], text)

    @cached_property
    def _added(self) -> dict[str, tuple[int, Any]]:
        return {added.content: (place, added) for place, added in self._raw.get_added_tokens_decoder().items()}

    @cached_property
    def _added_pattern(self) -> re.Pattern[str]:
        names = sorted(self._added, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")")

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
    frame_texts(raw, before=END_OF_TEXT)
    return Tokenizer(raw, {})


def frame_texts(raw: tokenizers.Tokenizer, *, before: str | None = None, after: str | None = None) -> None:
    """Let other programs put a token before each text, behind it, or both, as training did.

    `Tokenizer` itself never asks for it: `encode` gives the ids of the text alone.
    """
    from tokenizers import processors

    framed = " ".join([*([before] if before else []), "$A", *([after] if after else [])])
    tokens = sorted({token for token in (before, after) if token is not None})
    raw.post_processor = processors.TemplateProcessing(
        single=framed,
        pair=f"{framed} {framed.replace('$A', '$B')}",
        special_tokens=[(t, raw.token_to_id(t)) for t in tokens],
    )


def special_tokens(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says, and special_tokens_map.json about special tokens that it does not name.

    Raises:
        ConfigError: one of the files holds no JSON object.
    """
    named, config = (
        {} if own_file(folder, name) is None else read_json_object(folder / name)
        for name in (SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG)
    )
    return {**named, **{key: value for key, value in config.items() if value is not None or key not in named}}


def _is_byte_level(data: Mapping[str, Any]) -> bool:
    """True if the decoder, alone or among others, turns the vocabulary's characters back into bytes."""
    decoder = data.get("decoder")
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    return isinstance(steps, list) and any(isinstance(s, dict) and s.get("type") == "ByteLevel" for s in steps)


def _embeddings(folder: Path) -> int:
    """One more than the highest id that the folder's model has a vector for, or that any model could have."""
    if own_file(folder, "config.json") is None:
        return _MOST_IDS
    found = read_json_object(folder / "config.json").get("vocab_size")
    return min(found, _MOST_IDS) if isinstance(found, int) and not isinstance(found, bool) else _MOST_IDS


def _add_tokens(raw: tokenizers.Tokenizer, folder: Path, config: Mapping[str, Any]) -> None:
    """Add the tokens that are not in tokenizer.json: in added_tokens.json, or in `added_tokens_decoder`.

    Raises:
        ConfigError: an entry cannot be read, or its id is not the next one.
    """
    from tokenizers import AddedToken

    plain = {} if own_file(folder, ADDED_TOKENS) is None else read_json_object(folder / ADDED_TOKENS)
    objects = config.get("added_tokens_decoder") or {}
    if not isinstance(objects, dict):
        raise ConfigError(f"{folder / TOKENIZER_CONFIG}: added_tokens_decoder is no JSON object")
    entries: dict[str | None, tuple[Any, Any]] = {content: (place, {}) for content, place in plain.items()}
    entries |= {token_text(entry): (place, entry) for place, entry in objects.items()}
    present = raw.get_vocab()
    try:
        wanted = sorted((int(place), content, dict(entry)) for content, (place, entry) in entries.items())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{folder}: the added tokens of the tokenizer cannot be read: {error}") from None
    for place, content, entry in wanted:
        if content is None or present.get(content, place) != place:
            raise ConfigError(f"{folder}: the added token {content!r} has the id {place}, in {TOKENIZER} another")
        if content in present:
            continue
        flags = {name: bool(entry.get(name)) for name in ("lstrip", "rstrip", "single_word", "normalized")}
        raw.add_tokens([AddedToken(content, special=bool(entry.get("special", True)), **flags)])
        if raw.token_to_id(content) != place:
            raise ConfigError(
                f"{folder}: the added token {content!r} should have the id {place}, but the next one is "
                f"{raw.token_to_id(content)}: save the tokenizer again with transformers, as one {TOKENIZER}"
            )


def token_text(entry: object) -> str | None:
    """Special tokens stand in tokenizer_config.json as a string, or as an object with `content`."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
