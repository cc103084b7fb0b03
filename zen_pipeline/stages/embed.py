"""Word vectors with their probes, neighbours and maps, and next-token vectors that the language model starts from.

A corpus with too few words for vectors to mean anything is no failure of the pipeline: the summary says so and what
would help, and when there is nothing else to make, the stage is skipped. A training writes its state once a minute and
when it is stopped, and goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.embeddings.evaluation import evaluate, figures, headline
from zen_pipeline.embeddings.glove import GloveResult
from zen_pipeline.embeddings.token_vectors import token_vectors
from zen_pipeline.embeddings.training import speed, train_vectors
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.word2vec import Word2VecResult
from zen_pipeline.embeddings.words import WordCorpus, encode_corpus
from zen_pipeline.errors import DataError
from zen_pipeline.files import file_digest, files_named
from zen_pipeline.judging.judge_tensors import judge_vectors
from zen_pipeline.logs import get_logger
from zen_pipeline.models.starts.choice import NEXT_TOKEN_FILE, TOKEN_VECTORS_FILE
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STAGE_VERSION = 9
KIND = "embeddings"

# Below this nearest neighbours are chance; tinyshakespeare, which gives sensible ones, has 200,000 words.
FEWEST_WORDS = 5_000
FEWEST_DISTINCT = 50

_MAP_WORDS = 300
_NEIGHBOUR_WORDS = 100
_NEIGHBOURS = 10
_SHOWN_WORDS = 5
_SHOWN_NEIGHBOURS = 5

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Fill `output` with word vectors, token vectors, neighbours and the map, and with next-token vectors."""
    words = _word_vectors(config, inputs, output, context)
    start = _next_token_vectors(config, inputs, output)
    if isinstance(words, str) and isinstance(start, str):
        return Built(KIND, skipped=f"{words}; {start}")
    summary: dict[str, Any] = {"no_word_vectors": words} if isinstance(words, str) else words
    summary["next_token"] = {"none": start} if isinstance(start, str) else start
    return Built(KIND, summary=summary)


def _word_vectors(config: Config, inputs: Inputs, output: Path, context: StageContext) -> dict[str, Any] | str:
    """Write everything about words; returns the summary, or why there is nothing to write."""
    settings = config.embed
    if not settings.enabled:
        return "word vectors are turned off (embed.enabled: false)"
    try:
        corpus = _corpus(config, inputs)
    except DataError as error:
        return str(error)
    if corpus.total < FEWEST_WORDS or len(corpus.words) < FEWEST_DISTINCT:
        return (
            f"the training documents hold {corpus.total} {settings.units}, {len(corpus.words)} different ones at least "
            f"{settings.min_count} times; word vectors need {FEWEST_WORDS} and {FEWEST_DISTINCT}: add text"
        )
    given = {**settings.model_dump(), "seed": config.seed, "memory": settings.memory_megabytes << 20}
    result = train_vectors(corpus, settings.method, given, checkpoint=Checkpoint(context.work))
    vectors = result.vectors
    log.info("word vectors: %d words, %s", len(corpus.words), speed(result))
    vectors.save(output)
    covered = _save_token_vectors(config, inputs["tokenize"].path, vectors, output)
    shown = _save_neighbours(vectors, output)
    _save_map(config, vectors, output, context)
    probed = evaluate(vectors, files_named(settings.probes, "embed.probes"), seed=config.seed)
    _write_json(output / "probes.json", probed)
    context.tracked.log_metrics({f"loss.epoch_{n}": loss for n, loss in enumerate(result.losses, 1)})
    context.tracked.log_metrics(figures(probed))
    return {**_summary(corpus, result, covered, shown), "probes": headline(probed)}


def _next_token_vectors(config: Config, inputs: Inputs, output: Path) -> dict[str, Any] | str:
    """Write `next_token.safetensors` (`input`, `output`); returns the summary, or why there is none."""
    if not config.embed.next_token:
        return "next-token vectors are turned off (embed.next_token: false)"
    if config.pretrain.init_from or config.finetune.init_from:
        return "the model starts from a folder that brings its own token vectors"
    from safetensors.torch import save_file

    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.models.starts.next_token import MAX_VOCABULARY, next_token_vectors

    vocab_size = int(json.loads((inputs["tokenize"].path / "shards.json").read_text())["vocab_size"])
    if vocab_size > MAX_VOCABULARY:
        return f"next-token vectors are made for vocabularies up to {MAX_VOCABULARY}, this one has {vocab_size}"
    model = json.loads((inputs["resolve"].path / "resolved.json").read_text())["model"]
    began = time.monotonic()
    stream = TokenSplit.open(inputs["tokenize"].path, "train").tokens
    made = next_token_vectors(
        stream, vocab_size, int(model["hidden_size"]), steps=config.embed.next_token_steps, seed=config.seed
    )
    log.info("next-token vectors: %.3f nats per token, the bigram's own %.3f", made.loss, made.bigram_loss)
    save_file({"input": made.input.contiguous(), "output": made.output.contiguous()}, output / NEXT_TOKEN_FILE)
    return {
        "loss": round(made.loss, 4),
        "bigram_loss": round(made.bigram_loss, 4),
        "seconds": round(time.monotonic() - began, 2),
    }


def _corpus(config: Config, inputs: Inputs) -> WordCorpus:
    settings = config.embed
    if settings.units == "tokens":
        return _token_corpus(inputs["tokenize"].path, settings.min_count)
    texts: Iterator[str] = train_documents(inputs["validate"].path / "records.parquet")
    if settings.max_words is not None:  # the first words of a fixed shuffle, not of the alphabet
        everything = list(texts)
        order = np.random.Generator(np.random.PCG64([config.seed, 4])).permutation(len(everything))
        texts = (everything[index] for index in order)
    return encode_corpus(
        texts,
        min_count=settings.min_count,
        max_words=settings.max_words,
        phrases=settings.phrases,
        phrase_threshold=settings.phrase_threshold,
    )


def _token_corpus(folder: Path, min_count: int) -> WordCorpus:
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.embeddings.tokens import token_corpus

    split = TokenSplit.open(folder, "train")
    return token_corpus(_tokenizer(folder), split.tokens, split.offsets, min_count=min_count)


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))


def train_documents(records: Path) -> Iterator[str]:
    """The texts of the documents of the training split, row group by row group."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=["text", "split", "kind"]):
            mine = pc.and_(pc.equal(batch["split"], "train"), pc.equal(batch["kind"], "document"))
            yield from (text for text in batch.filter(mine)["text"].to_pylist() if text)


def _save_token_vectors(config: Config, tokens: Path, vectors: WordVectors, output: Path) -> float:
    """Write `token_vectors.safetensors`; returns the share of the tokens that have a vector."""
    from safetensors.numpy import save_file

    from zen_pipeline.embeddings.tokens import rows_by_token

    make = rows_by_token if config.embed.units == "tokens" else token_vectors
    matrix, covered = make(_tokenizer(tokens), vectors)
    save_file({"vectors": matrix}, output / TOKEN_VECTORS_FILE)
    return covered / len(matrix)


def _save_neighbours(vectors: WordVectors, output: Path) -> dict[str, str]:
    """Write `neighbours.json` for frequent content words; returns a few of them as text."""
    from zen_pipeline.embeddings.projection import content_words

    found = {word: vectors.similar(word, _NEIGHBOURS) for word in content_words(vectors, _NEIGHBOUR_WORDS)}
    _write_json(
        output / "neighbours.json", {w: [[n, round(c, 4)] for n, c in near] for w, near in found.items()}
    )  # fmt: skip
    shown = list(found)[:_SHOWN_WORDS]
    return {word: ", ".join(near for near, _ in found[word][:_SHOWN_NEIGHBOURS]) for word in shown}


def _save_map(config: Config, vectors: WordVectors, output: Path, context: StageContext) -> None:
    from zen_pipeline.embeddings.projection import content_words, project
    from zen_pipeline.reporting.map_page import map_page, map_picture

    word_map = project(vectors, content_words(vectors, _MAP_WORDS), seed=config.seed)
    _write_json(output / "map.json", word_map.entries())
    picture = output / "embeddings.svg"
    picture.write_text(map_picture(word_map, title=f"{config.name}, word vectors"), encoding="utf-8")
    context.tracked.log_file(picture)
    page = output / "map.html"
    page.write_text(map_page(vectors, word_map, title=f"{config.name}: {config.embed.units}"), encoding="utf-8")
    context.tracked.log_file(page)


def _summary(
    corpus: WordCorpus, result: Word2VecResult | GloveResult, covered: float, shown: dict[str, str]
) -> dict[str, Any]:
    return {
        "words": corpus.total,
        "vocabulary": len(corpus.words),
        "coverage": round(len(corpus.ids) / corpus.total, 4),
        "dimensions": result.vectors.dimensions,
        "loss": round(result.losses[-1], 4),
        **speed(result),
        "seconds": round(result.seconds, 2),
        "compile_seconds": round(result.compile_seconds, 2),
        "tokens_with_vector": round(covered, 4),
        "neighbours": shown,
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0), encoding="utf-8")


def _settings(config: Config) -> dict[str, Any]:
    brings_vectors = bool(config.pretrain.init_from or config.finetune.init_from)
    return {**config.embed.identity(), "seed": config.seed, "model_brings_vectors": brings_vectors}


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    return {f"probes.{path.name}": file_digest(path) for path in files_named(config.embed.probes, "embed.probes")}


STAGE = Stage(
    name="embed",
    version=STAGE_VERSION,
    needs=always("validate", "resolve", "tokenize"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("numba", "numpy", "scipy", "jieba", "scikit-learn", "torch"),
    judge=judge_vectors,
)
