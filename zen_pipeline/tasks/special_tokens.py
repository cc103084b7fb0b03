"""Special tokens that a family needs besides those of our own tokenizer.

They are appended to the vocabulary, in this order, when pretraining starts: `<|mask|>` for a masked language model, and
`<|pad|>`, the last one, where padding must not be confused with the end of a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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


def extend_tokenizer(source: Path, target: Path, family: Family) -> dict[str, int]:
    """Copy a tokenizer with the family's tokens appended; returns their ids, by role (`mask_token`, `pad_token`).

    An encoder's sequences begin and end with `<|endoftext|>`, so it is named as `cls_token` and `sep_token`.

    Raises:
        ConfigError: the tokenizer cannot be read, or has one of the tokens in another place.
    """
    from tokenizers import AddedToken, Tokenizer

    raw = Tokenizer.from_file(str(source / "tokenizer.json"))
    settings_file = source / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
    first = max(raw.get_vocab().values()) + 1
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in EXTRA_TOKENS[family]])
    ids = {}
    for place, token in enumerate(EXTRA_TOKENS[family], first):
        if (found := raw.token_to_id(token)) != place:
            raise ConfigError(f"{source} has the token {token} at {found} already, where pretraining puts its own")
        ids[_ROLES[token]] = place
        settings[_ROLES[token]] = token
    if family == "bert":
        settings |= {"cls_token": settings.get("bos_token"), "sep_token": settings.get("eos_token")}
    target.mkdir(parents=True, exist_ok=True)
    raw.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return ids


def required_ids(folder: Path, family: Family) -> dict[str, int]:
    """The ids of the family's tokens in a given model's tokenizer, by role.

    Raises:
        ConfigError: the tokenizer has none for a role.
    """
    from tokenizers import Tokenizer

    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings_file = folder / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
    ids = {}
    for role in (_ROLES[token] for token in EXTRA_TOKENS[family]):
        named = settings.get(role)
        text = named.get("content") if isinstance(named, dict) else named
        found = raw.token_to_id(text) if isinstance(text, str) else None
        if found is None:
            raise ConfigError(f"the tokenizer in {folder} has no {role}, which a {family} model is trained with")
        ids[role] = int(found)
    return ids
