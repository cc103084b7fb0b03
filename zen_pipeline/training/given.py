"""Model folders that the user names to start from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.corpus.tokens.tokenizer import tokenizer_files
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import file_digest, own_file, read_json_object

_MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


def model_digest(folder: Path) -> str:
    """SHA-256 over the files of a Hugging Face folder that decide what is loaded from it.

    Raises:
        ConfigError: there is no such folder, or no model in it.
    """
    names = {path.name for pattern in _MODEL_FILES for path in folder.glob(pattern)}
    files = {name: path for name in names if (path := own_file(folder, name)) is not None} | tokenizer_files(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"init_from names {folder}, where no config.json is: give a Hugging Face model folder")
    digests = {name: file_digest(path) for name, path in files.items()}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def check_vocabulary(folder: Path, vocabulary: int) -> None:
    """Refuse a given model that has no embedding for some of the tokens.

    Raises:
        ConfigError: too few embeddings, or no readable config.json.
    """
    found = read_json_object(folder / "config.json").get("vocab_size")
    if not isinstance(found, int):
        raise ConfigError(f"{folder / 'config.json'} states no vocab_size")
    if vocabulary > found:
        raise ConfigError(
            f"the tokens have {vocabulary} ids, but the model in {folder} has {found} embeddings: the tokenizer must "
            "be the model's own"
        )
