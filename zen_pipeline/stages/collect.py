"""Collect: read every source into records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.corpus.python_docs import source as python_docs
from zen_pipeline.corpus.reading import find as files
from zen_pipeline.corpus.reading.digests import digest_files
from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.tally import Tally
from zen_pipeline.corpus.records import Aside, Record, aside_writer, record_writer
from zen_pipeline.errors import DataError
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.settings.data import FilesSource, PythonDocsSource
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 6

log = get_logger(__name__)


def build(config: Config, _inputs: Inputs, output: Path, _context: StageContext) -> Built:
    """Write records.parquet and aside.parquet.

    Raises:
        ConfigError: a path does not exist.
        DataError: nothing was read.
    """
    summary: dict[str, Any] = {"records": 0, "aside": 0, "bytes": 0, "sources": {}}
    tally = Tally()
    with record_writer(output / "records.parquet") as records, aside_writer(output / "aside.parquet") as aside:
        for index, (name, entries) in enumerate(_sources(config, tally)):
            counts = {"records": 0, "aside": 0, "bytes": 0}
            for entry in entries:
                if isinstance(entry, Aside):
                    aside.write(entry)
                    counts["aside"] += entry.rows
                else:
                    records.write(entry)
                    counts["records"] += 1
                    counts["bytes"] += len(entry.text.encode("utf-8", "surrogatepass"))
            summary["sources"][f"{index}_{name}"] = counts
            for key, value in counts.items():
                summary[key] += value
    summary |= {"left_out": {}} | tally.summary()
    _tell(summary)
    if not summary["records"]:
        raise DataError(_nothing(output))
    return Built("records", summary)


def _sources(config: Config, tally: Tally) -> Iterator[tuple[str, Iterator[Record | Aside]]]:
    taken: set[str] = set()
    for source in config.collect.sources:
        if isinstance(source, PythonDocsSource):
            yield source.type, python_docs.read_python_docs(source.packages)
            continue
        found = files.find_files(source.paths, taken=taken, languages=source.languages)
        tally.left_out.update(found.left_out)
        log.info("files: reading %d files in %s", len(found.files), ", ".join(source.paths))
        yield source.type, FilesReader.of(source, tally).read(found.files)


def _tell(summary: dict[str, Any]) -> None:
    for reason, count in summary["left_out"].items():
        log.info("left out: %d × %s", count, reason)
    for name, role in summary.get("roles", {}).items():
        log.info("%s: %s", name, role)
    for name, count in summary.get("charsets", {}).items():
        log.info("not in UTF-8: %d × %s", count, name)
    log.info(
        "collected %d records, %.2f MB of text; %d set aside",
        summary["records"],
        summary["bytes"] / 1e6,
        summary["aside"],
    )


def _nothing(output: Path) -> str:
    from zen_pipeline.corpus.records import read_columns

    examples = [
        f"{source}, {where}: {reason}"
        for columns in read_columns(output / "aside.parquet", "source", "where", "reason")
        for source, where, reason in list(zip(*columns, strict=True))[:3]
    ]
    why = f" What was set aside: {'; '.join(examples[:3])}." if examples else " The files are empty."
    return f"no record could be made from the sources.{why} Add text in UTF-8."


def _settings(config: Config) -> dict[str, Any]:
    return {"sources": [source.identity() for source in config.collect.sources]}


def _digests(config: Config, _workspace: Workspace) -> dict[str, Any]:
    digests: dict[str, Any] = {}
    taken: set[str] = set()
    for index, source in enumerate(config.collect.sources):
        if isinstance(source, FilesSource):
            found = files.find_files(source.paths, taken=taken, languages=source.languages)
            parts = [part for file in found.files for part in (file, *file.partners)]
            digests[str(index)] = digest_files([(part.name, part.address) for part in parts])
        else:
            digests[str(index)] = python_docs.digest(source.packages)
    return digests


STAGE = Stage(
    name="collect",
    version=STAGE_VERSION,
    needs=always(),
    build=build,
    settings=_settings,
    sources=_digests,
    libraries=("py3langid",),  # its model names the languages
)
