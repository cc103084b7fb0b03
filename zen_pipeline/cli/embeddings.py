"""`zen embeddings`: train word vectors, read and write their files, and look at what they know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import Json, Pipeline
from zen_pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from zen_pipeline.artifacts import ArtifactRef
    from zen_pipeline.embeddings.vectors import WordVectors

app = typer.Typer(help="Word vectors.", no_args_is_help=True)

Vectors = Annotated[
    Path | None,
    typer.Option("--vectors", "-v", help="A file of vectors; default: those of the last run.", metavar="FILE"),
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="How many words.")]


@app.command()
def train(
    texts: Annotated[list[Path], typer.Argument(help="Text files (or .gz); every line is a document.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.safetensors, .bin, .txt or .vec (or .gz).")],
    method: Annotated[str, typer.Option(help="skipgram, cbow or glove.")] = "skipgram",
    dimensions: Annotated[int, typer.Option(min=2, max=2048)] = 100,
    window: Annotated[int | None, typer.Option(min=1, max=50, help="Default: 5, GloVe 10.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: 3, GloVe 25.")] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer words have no vector.")] = 5,
    phrases: Annotated[int, typer.Option(min=0, max=5, help="Passes that join words to phrases.")] = 0,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 0.035, CBOW 0.065, GloVe 0.05.")] = None,
    lock_free: Annotated[bool, typer.Option(help="Threads without locks: not the same bits every time.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all cores.")] = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train vectors of the words of text files; after an interruption the same command goes on where it was."""
    from zen_pipeline.embeddings.training import speed, train_vectors
    from zen_pipeline.embeddings.vector_checkpoint import kept_beside
    from zen_pipeline.embeddings.vector_writing import checked_format, write_vectors
    from zen_pipeline.embeddings.words import encode_corpus
    from zen_pipeline.settings.models import EmbedConfig

    common.show_logs()
    checked_format(output)
    given = {"method": method, "dimensions": dimensions, "window": window, "epochs": epochs, "threads": threads,
             "min_count": min_count, "phrases": phrases, "learning_rate": learning_rate,
             "deterministic": not lock_free}  # fmt: skip
    settings = _validated(EmbedConfig, given)
    corpus = encode_corpus(_documents(texts), min_count=min_count, phrases=phrases)
    given = {**settings.model_dump(), "seed": seed}
    with kept_beside(output, corpus, given) as checkpoint:
        result = train_vectors(corpus, settings.method, given, checkpoint=checkpoint)
        write_vectors(result.vectors, output)
    shown = {"output": str(output), "words": corpus.total, "vocabulary": len(corpus.words), **speed(result),
             "seconds": round(result.seconds, 2), "loss": round(result.losses[-1], 4)}  # fmt: skip
    if json:
        common.print_json(shown)
    else:
        common.print_table(f"vectors of {method}", ["", ""], shown.items(), right=[1])


@app.command()
def similar(
    word: Annotated[str, typer.Argument(help="A word of the corpus.")],
    count: Count = 10,
    vectors: Vectors = None,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Show the words whose vectors are nearest by cosine."""
    neighbours = _load(vectors, pipeline).similar(word, count)
    if json:
        common.print_json({"word": word, "neighbours": [{"word": w, "cosine": round(c, 4)} for w, c in neighbours]})
        return
    common.print_table(f"nearest to {word!r}", ["word", "cosine"], [(w, f"{c:.3f}") for w, c in neighbours], right=[1])


@app.command()
def analogy(
    first: str,
    second: str,
    third: str,
    count: Count = 10,
    multiply: Annotated[bool, typer.Option(help="3CosMul instead of 3CosAdd.")] = False,
    vectors: Vectors = None,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Show what is to THIRD as SECOND is to FIRST."""
    from zen_pipeline.embeddings.probes import answer

    answers = answer(_load(vectors, pipeline), first, second, third, count, "mul" if multiply else "add")
    if json:
        common.print_json({"answers": [{"word": w, "score": round(s, 4)} for w, s in answers]})
        return
    title = f"{first} is to {second} as {third} is to"
    common.print_table(title, ["word", "score"], [(w, f"{s:.3f}") for w, s in answers], right=[1])


@app.command()
def probe(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of word pairs with scores, or of analogies.")
    ] = None,
    vectors: Vectors = None,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Show what the vectors know: similarity, analogies, bias, and effects of word frequency."""
    from zen_pipeline.embeddings.evaluation import evaluate

    found = evaluate(_load(vectors, pipeline), files or [])
    if json:
        common.print_json(found)
        return
    rows: list[tuple[Any, ...]]
    if rows := [(n, e["spearman"], e["covered"], e["pairs"]) for n, e in found["similarity"].items()]:
        common.print_table("similarity", ["set", "Spearman", "covered", "pairs"], rows, right=[1, 2, 3])
    for name, entry in found["analogies"].items():
        rows = [(section, *_rates(e)) for section, e in entry["sections"].items()]
        whole = {
            what: sum(e[what] for e in entry["sections"].values()) for what in ("questions", "covered", "add", "mul")
        }
        columns = ["section", "3CosAdd", "3CosMul", "covered", "questions"]
        common.print_table(f"analogies: {name}", columns, [*rows, ("all", *_rates(whole))], right=[1, 2, 3, 4])
    if rows := [(n, e["effect_size"], e["p_value"]) for n, e in found["bias"].items()]:
        common.print_table("bias (WEAT)", ["test", "effect size", "p"], rows, right=[1, 2])
    if found["frequency"]:
        common.print_table("effects of word frequency", ["", ""], found["frequency"].items(), right=[1])


@app.command(name="map")
def map_(
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("map.html"),
    words: Annotated[int, typer.Option(min=2, max=5000, help="The so many most frequent content words.")] = 1000,
    vectors: Vectors = None,
    pipeline: Pipeline = None,
) -> None:
    """Write a map of the words as one HTML page that can be searched."""
    from zen_pipeline.embeddings.projection import content_words, project
    from zen_pipeline.files import write_atomically
    from zen_pipeline.reporting.map_page import map_page
    from zen_pipeline.reporting.wording import page_language

    loaded = _load(vectors, pipeline)
    word_map = project(loaded, content_words(loaded, words))
    title = str(vectors or pipeline or "the last run")
    write_atomically(output, map_page(loaded, word_map, title=title, language=page_language({})))
    common.say(f"{len(word_map.words)} words in {output}")


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="word2vec (.bin .txt), GloVe (.txt), also .gz and .zip; .safetensors.")
    ],
    target: Annotated[Path, typer.Argument(help="FILE.safetensors, .bin, .txt or .vec (or .gz).")],
    format: Annotated[
        str | None, typer.Option(help="word2vec-text, word2vec-binary, glove or safetensors; default: by the ending.")
    ] = None,
    json: Json = False,
) -> None:
    """Write vectors in another format, and say what of the file was read and what was skipped."""
    from zen_pipeline.embeddings.vector_files import read_vectors
    from zen_pipeline.embeddings.vector_writing import checked_format, write_vectors

    written = checked_format(target, format)
    loaded, report = read_vectors(source)
    write_vectors(loaded, target, format)
    if json:
        common.print_json({"read": report.read, "dimensions": report.dimensions, "format": report.format,
                           "skipped": report.skipped, "written": written})  # fmt: skip
        return
    common.show(f"{report}\nwritten to {target} ({written})")


def _load(path: Path | None, pipeline: str | None) -> WordVectors:
    """The vectors of a file, with a line about what was skipped; or of the last run."""
    from zen_pipeline.embeddings.vector_files import read_vectors
    from zen_pipeline.embeddings.vectors import WordVectors

    if path is not None:
        loaded, report = read_vectors(path)
        if report.skipped:
            common.say(str(report))
        return loaded
    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find()
    pipeline = common.pipeline_or_last(workspace, pipeline)
    fingerprint = workspace.last_fingerprint(pipeline, "embed")
    ref = workspace.store.find("embed", fingerprint) if fingerprint else None
    reason = _why_none(ref)
    if ref is None or reason is not None:
        raise DataError(f"the pipeline {pipeline!r} has no word vectors ({reason}): run `zen embed`")
    return WordVectors.load(ref.path)


def _why_none(ref: ArtifactRef | None) -> str | None:
    """Why there are no word vectors; None when there are."""
    if ref is None:
        return "the embedding stage has not run here"
    return ref.skipped or ref.summary.get("no_word_vectors")


def _documents(paths: list[Path]) -> Any:
    """The lines of text files."""
    import gzip

    for path in paths:
        try:
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8-sig") as file:
                yield from file
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: name a text file") from None
        except (UnicodeDecodeError, gzip.BadGzipFile, IsADirectoryError) as error:
            raise DataError(f"{path} is no text file in UTF-8 ({error}): name one") from None


def _validated(kind: Any, given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"{option}: {first['msg']}, found {first['input']!r}") from None


def _rates(entry: dict[str, int]) -> tuple[str, str, int, int]:
    rates = [f"{entry[rule] / entry['covered']:.1%}" if entry["covered"] else "" for rule in ("add", "mul")]
    return rates[0], rates[1], entry["covered"], entry["questions"]
