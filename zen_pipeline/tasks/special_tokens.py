"""Special tokens that a task needs besides those of our own tokenizer.

They are appended to the vocabulary, in the order given, when pretraining starts: `<|mask|>` where tokens are hidden,
and `<|pad|>`, the last one, where padding must not be confused with the end of a text. Sentinels, named as T5's, come
before them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zen_pipeline.corpus.tokens.tokenizer import END_OF_TEXT, Tokenizer, frame_texts, special_tokens, token_text
from zen_pipeline.errors import ConfigError

MASK, PAD = "<|mask|>", "<|pad|>"
_ROLES = {MASK: "mask_token", PAD: "pad_token"}
SENTINEL = "first_sentinel"


def sentinel_names(count: int) -> list[str]:
    """Names of the sentinels of span corruption, in order."""
    return [f"<extra_id_{number}>" for number in range(count)]


def tokenizer_with(
    names: Sequence[str], *, tokens: Path, given: Path | None, work: Path, sentinels: int = 0, framed: bool = False
) -> tuple[Path, dict[str, int]]:
    """The folder of a tokenizer that has these tokens, and their ids by role; a given model brings its own.

    Args:
        names: `MASK`, `PAD`.
        tokens: artifact with our tokenizer.
        given: folder of a given model.
        work: where an extended tokenizer is written.
        sentinels: how many sentinels there must be, one after the other.
        framed: texts begin as well as end with `<|endoftext|>`, as an encoder's do.

    Raises:
        ConfigError: a given tokenizer lacks one of them.
    """
    if given is not None:
        return tokens / "tokenizer", required_ids(given, names, sentinels)
    ids = extend_tokenizer(tokens / "tokenizer", work / "tokenizer", names, sentinels=sentinels, framed=framed)
    return work / "tokenizer", ids


def extend_tokenizer(
    source: Path, target: Path, names: Sequence[str], *, sentinels: int = 0, framed: bool = False
) -> dict[str, int]:
    """Copy a tokenizer with tokens appended; returns their ids, by role (`mask_token`, `pad_token`).

    With `sentinels`, so many of them come first, and `first_sentinel` is the id of the first. With `framed`, texts
    begin and end with `<|endoftext|>`, which is named as `cls_token` and `sep_token`; otherwise they end with it.

    Raises:
        ConfigError: the tokenizer cannot be read, or has one of the tokens in another place.
    """
    import tokenizers

    raw = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    settings = special_tokens(source)
    first = max(raw.get_vocab().values()) + 1
    added = [*sentinel_names(sentinels), *names]
    raw.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in added])
    ids = {SENTINEL: first} if sentinels else {}
    for place, token in enumerate(added, first):
        if (found := raw.token_to_id(token)) != place:
            raise ConfigError(f"{source} has the token {token} at {found} already, where pretraining puts its own")
        if token not in _ROLES:
            continue
        ids[_ROLES[token]] = place
        settings[_ROLES[token]] = token
    if framed:  # training windows run over the ends of documents, which all begin with the token
        frame_texts(raw, before=END_OF_TEXT, after=END_OF_TEXT)
        settings |= {"cls_token": settings.get("bos_token"), "sep_token": settings.get("eos_token")}
    else:
        frame_texts(raw, after=END_OF_TEXT)
    target.mkdir(parents=True, exist_ok=True)
    raw.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return ids


def required_ids(folder: Path, names: Sequence[str], sentinels: int = 0) -> dict[str, int]:
    """The ids of tokens in a given model's tokenizer, by role, and of the first of so many sentinels.

    Raises:
        ConfigError: the tokenizer has none for a role, or not so many sentinels, one after the other.
    """
    vocabulary, settings = Tokenizer.load(folder).vocabulary, special_tokens(folder)
    ids = {}
    for role in (_ROLES[token] for token in names):
        found = vocabulary.get(token_text(settings.get(role)) or "")
        if found is None:
            raise ConfigError(f"the tokenizer in {folder} has no {role}, which the model's task needs")
        ids[role] = found
    if sentinels:
        places = [vocabulary.get(name) for name in sentinel_names(sentinels)]
        if places[0] is None or places != list(range(places[0], places[0] + sentinels)):
            raise ConfigError(
                f"the tokenizer in {folder} has no {sentinels} sentinels <extra_id_0>, <extra_id_1> … with ids one "
                "after the other, which span corruption needs: give translation pairs, or start at random"
            )
        ids[SENTINEL] = places[0]
    return ids
