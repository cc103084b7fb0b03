"""What a family is pretrained on: the same token shards read in different ways, or translation pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zen_pipeline.config import Config
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs
from zen_pipeline.stages.resolve import family_of
from zen_pipeline.tasks.special_tokens import SENTINEL
from zen_pipeline.training.dial import Resolved
from zen_pipeline.training.job import MaskedData, PairData, SpanData, TokenData
from zen_pipeline.training.rules import pair_sizes

_MAX_VALIDATION_PAIRS = 512  # their loss then varies by a few hundredths of a nat

log = get_logger(__name__)


@dataclass(frozen=True)
class Material:
    """What the training process is given.

    Attributes:
        data: where it reads sequences.
        tokenizer: folder of the tokenizer that goes with the model.
        vocab_size: embeddings of a model that starts at random.
        batch: sequences per optimizer step.
        micro_batch: sequences per forward pass.
    """

    data: TokenData | MaskedData | SpanData | PairData
    tokenizer: Path
    vocab_size: int
    batch: int
    micro_batch: int


def make_material(config: Config, resolved: Resolved, inputs: Inputs, work: Path) -> Material:
    """Write what the family needs besides the token shards into `work`.

    Raises:
        ConfigError: a given model's tokenizer lacks a token that its family needs.
        DataError: no translation pair fits into the positions of the model.
    """
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

    family = family_of(config)
    if family == "bert":
        return _masked(config, resolved, inputs, work)
    if family == "marian":
        return _pairs(config, resolved, inputs, work)
    tokens = inputs["tokenize"].path
    start = Tokenizer.load(tokens / "tokenizer").start_id if config.pretrain.document_mask else None
    data = TokenData(folder=str(tokens), document_start=start)
    return Material(data, tokens / "tokenizer", vocab_size(tokens), resolved.batch, resolved.micro_batch)


def vocab_size(tokens: Path) -> int:
    """How many ids the tokenizer of a tokens artifact has."""
    import numpy as np

    return len(np.load(tokens / "token_bytes.npy", mmap_mode="r"))


def _masked(config: Config, resolved: Resolved, inputs: Inputs, work: Path) -> Material:
    tokens = inputs["tokenize"].path
    tokenizer, special = _special_tokens(config, tokens, work)
    mask_id = special["mask_token"]
    data = MaskedData(folder=str(tokens), mask_id=mask_id, whole_words=config.pretrain.whole_words)
    size = max(vocab_size(tokens), max(special.values()) + 1)
    return Material(data, tokenizer, size, resolved.batch, resolved.micro_batch)


def _pairs(config: Config, resolved: Resolved, inputs: Inputs, work: Path) -> Material:
    """Encoded pairs; a step and a forward pass hold as many of them as make up the resolved tokens."""
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.tasks.translation import encode_pairs, pairs_of, save_pairs

    tokens = inputs["tokenize"].path
    records = inputs["validate"].path / "records.parquet"
    train = list(pairs_of(read_records(records, kind="translation", split="train")))
    valid = list(pairs_of(read_records(records, kind="translation", split="valid")))[:_MAX_VALIDATION_PAIRS]
    if not train:
        log.info("there are no translation pairs: the model learns to fill in spans that are cut out of the texts")
        return _spans(config, resolved, tokens, work)
    tokenizer_folder, special = _special_tokens(config, tokens, work)
    tokenizer = Tokenizer.load(tokens / "tokenizer")
    several = len({pair.target_language for pair in train}) > 1
    positions = resolved.model.context_length
    paths = {"train": work / "train.safetensors", "valid": work / "valid.safetensors"}
    encoded = encode_pairs(train, tokenizer, name_language=several)
    counts = save_pairs(paths["train"], encoded, longest=positions)
    if counts["too_long"]:
        log.warning("%d of %d pairs are longer than %d tokens and left out", counts["too_long"], len(train), positions)
    if valid:
        save_pairs(paths["valid"], encode_pairs(valid, tokenizer, name_language=several), longest=positions)
    data = PairData(
        train=str(paths["train"]),
        valid=str(paths["valid"]) if valid else None,
        start_id=special["pad_token"],
        pad_id=special["pad_token"],
        token_bytes=str(tokens / "token_bytes.npy"),
    )
    length = counts["target_tokens"] / counts["kept"]
    batch, micro = pair_sizes(resolved.batch_tokens, resolved.micro_batch * positions, length)
    size = max(vocab_size(tokens), max(special.values()) + 1)
    return Material(data, tokenizer_folder, size, batch, micro)


def _spans(config: Config, resolved: Resolved, tokens: Path, work: Path) -> Material:
    """Windows of text with spans cut out; a step holds as many as make up its tokens in the mean of both sides."""
    from zen_pipeline.tasks.span_corruption import span_counts

    length = resolved.model.context_length
    cut, spans = span_counts(length)
    tokenizer, special = _special_tokens(config, tokens, work, sentinels=spans + 1)
    data = SpanData(folder=str(tokens), first_sentinel=special[SENTINEL], start_id=special["pad_token"])
    mean = (length - cut + spans + cut + spans + 1) / 2
    batch = max(1, round(resolved.batch_tokens / mean))
    micro = max(1, round(resolved.micro_batch * length / mean))
    size = max(vocab_size(tokens), max(special.values()) + 1)
    return Material(data, tokenizer, size, batch, min(batch, micro))


def _special_tokens(config: Config, tokens: Path, work: Path, sentinels: int = 0) -> tuple[Path, dict[str, int]]:
    """The tokenizer with the family's own tokens, and their ids; a given model brings its own."""
    from zen_pipeline.tasks.special_tokens import extend_tokenizer, required_ids

    family, given = family_of(config), config.pretrain.init_from
    if given is None:
        return work / "tokenizer", extend_tokenizer(tokens / "tokenizer", work / "tokenizer", family, sentinels)
    return tokens / "tokenizer", required_ids(Path(given), family, sentinels)
