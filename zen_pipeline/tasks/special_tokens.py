"""Special tokens that a family needs besides those of our own tokenizer.

They are appended to the vocabulary, in this order, when pretraining starts: `<|mask|>` for a masked language model, and
`<|pad|>`, the last one, where padding must not be confused with the end of a text. Span corruption puts its sentinels,
named as T5's, before them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from zen_pipeline.corpus.tokens.tokenizer import END_OF_TEXT, Tokenizer, frame_texts, special_tokens, token_text
from zen_pipeline.errors import ConfigError
from zen_pipeline.settings.models import Family

MASK, PAD = "<|mask|>", "<|pad|>"
EXTRA_TOKENS: Mapping[Family, tuple[str, ...]] = {
    "qwen3": (),
    "gpt2": (),
    "bert": (MASK, PAD),
    "marian": (PAD,),
}
_ROLES = {MASK: "mask_token", PAD: "pad_token"}


SENTINEL = "first_sentinel"


def sentinel_names(count: int) -> list[str]:
    """Names of the sentinels of span corruption, in order."""
    return [f"<extra_id_{number}>" for number in range(count)]


def extend_tokenizer(source: Path, target: Path, family: Family, sentinels: int = 0) -> dict[str, int]:
    """Copy a tokenizer with the family's tokens appended; returns their ids, by role (`mask_token`, `pad_token`).

    With `sentinels`, so many of them come first, and `first_sentinel` is the id of the first.
    An encoder's sequences begin and end with `<|endoftext|>`, so it is named as `cls_token` and `sep_token`.

    Raises:
        ConfigError: the tokenizer cannot be read, or has one of the tokens in another place.
    """
    import tokenizers

    raw = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    settings = special_tokens(source)
    first = max(raw.get_vocab().values()) + 1
    added = [*sentinel_names(sentinels), *EXTRA_TOKENS[family]]
    raw.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in added])
    ids = {SENTINEL: first} if sentinels else {}
    for place, token in enumerate(added, first):
        if (found := raw.token_to_id(token)) != place:
            raise ConfigError(f"{source} has the token {token} at {found} already, where pretraining puts its own")
        if token not in _ROLES:
            continue
        ids[_ROLES[token]] = place
        settings[_ROLES[token]] = token
    if family == "bert":  # its windows run over the ends of documents, which all begin with the token
        frame_texts(raw, before=END_OF_TEXT, after=END_OF_TEXT)
        settings |= {"cls_token": settings.get("bos_token"), "sep_token": settings.get("eos_token")}
    if family == "marian":
        frame_texts(raw, after=END_OF_TEXT)
    target.mkdir(parents=True, exist_ok=True)
    raw.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return ids


def required_ids(folder: Path, family: Family, sentinels: int = 0) -> dict[str, int]:
    """The ids of the family's tokens in a given model's tokenizer, by role, and of the first of so many sentinels.

    Raises:
        ConfigError: the tokenizer has none for a role, or not so many sentinels, one after the other.
    """
    vocabulary, settings = Tokenizer.load(folder).vocabulary, special_tokens(folder)
    ids = {}
    for role in (_ROLES[token] for token in EXTRA_TOKENS[family]):
        found = vocabulary.get(token_text(settings.get(role)) or "")
        if found is None:
            raise ConfigError(f"the tokenizer in {folder} has no {role}, which a {family} model is trained with")
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
