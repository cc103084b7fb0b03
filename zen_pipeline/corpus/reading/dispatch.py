"""Reads the files of the source `files`, each by its format.

Whatever a file holds, reading it yields records and set-aside entries; only a request that cannot be meant (a column
that is nowhere, a file that cannot be opened) raises.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from zen_pipeline.corpus.reading import archives, huggingface
from zen_pipeline.corpus.reading.charset import codec_of, decode_page
from zen_pipeline.corpus.reading.columnar import read_arrow, read_parquet
from zen_pipeline.corpus.reading.csv_files import is_table, read_csv
from zen_pipeline.corpus.reading.dialogue_lines import dialogue_separator, read_dialogues
from zen_pipeline.corpus.reading.find import member
from zen_pipeline.corpus.reading.html import read_page
from zen_pipeline.corpus.reading.json_files import read_json
from zen_pipeline.corpus.reading.opening import HEAD, TextFile, Unreadable, not_text
from zen_pipeline.corpus.reading.pairs import Alignment, read_parallel
from zen_pipeline.corpus.reading.plain_text import Mode, Piece, heading_kind, pieces, read_plain_text, to_records
from zen_pipeline.corpus.reading.remote import is_address
from zen_pipeline.corpus.reading.tables import Shape, UnknownColumns
from zen_pipeline.corpus.reading.tally import Tally
from zen_pipeline.corpus.records import Aside, Record, excerpt
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.logs import get_logger
from zen_pipeline.settings.data import FilesSource

log = get_logger(__name__)

_TABLES: dict[str, Callable[[TextFile, Shape], Iterator[Record | Aside]]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    huggingface.FORMAT: huggingface.read,
}


def _state(file: TextFile) -> list[tuple[int, int]]:
    """What tells whether a file of this machine was written to: its size and its time of change."""
    found = []
    for part in (file, *file.partners):
        if not is_address(part.address):
            with contextlib.suppress(OSError):  # of a hub; or gone, which reading says
                stat = os.stat(part.address)
                found.append((stat.st_size, stat.st_mtime_ns))
    return found


class FilesReader:
    """Reads files and the members of archives.

    Args:
        shape: what the user says about rows.
        split_text: how plain text becomes records.
        tally: counts what becomes of files; added to.
        charset: of text that names none itself; empty for UTF-8.
        alignment: `as_is` takes parallel files for aligned without a check.

    Raises:
        ConfigError: nobody knows such a charset.
    """

    def __init__(
        self,
        shape: Shape,
        split_text: Mode,
        tally: Tally | None = None,
        *,
        charset: str | None = None,
        alignment: Alignment = "checked",
    ) -> None:
        self._tally = Tally() if tally is None else tally
        self._shape, self._split_text = replace(shape, tally=self._tally), split_text
        self._charset, self._alignment = charset or "", alignment
        if self._charset and not codec_of(self._charset):
            known = "utf-8, windows-1251, gb18030, shift_jis, …"
            raise ConfigError(f"collect.sources.charset: nobody knows {self._charset!r}; write {known}")

    @classmethod
    def of(cls, source: FilesSource, tally: Tally | None = None) -> FilesReader:
        """The reader that a source of the configuration asks for."""
        return cls(Shape.of(source), source.split_text, tally, charset=source.charset, alignment=source.alignment)

    def read(self, files: Sequence[TextFile]) -> Iterator[Record | Aside]:
        """The records of all files, file by file.

        Raises:
            DataError: a table has no such column; a file cannot be opened, or changes meanwhile.
        """
        self._unknown: UnknownColumns | None = None
        records = 0
        for file in files:
            log.debug("reading %s", file.address)
            before = _state(file)
            try:
                for entry in self._archive(file) if file.format in archives.FORMATS else self._counted(file):
                    records += isinstance(entry, Record)
                    yield entry
            except OSError as error:
                raise DataError(f"cannot read {file.address}: {error.strerror or error}") from error
            if _state(file) != before:
                raise DataError(f"{file.address} changed while it was read: run again when nothing writes to it")
        if self._unknown is not None and not records:
            raise self._unknown

    def _archive(self, archive: TextFile) -> Iterator[Record | Aside]:
        """The records of its members, which are counted as files in place of the archive."""
        try:
            for entry in archives.members(archive, member):
                if isinstance(entry, str):
                    self._tally.left_out[entry] += 1
                elif isinstance(entry, Aside):
                    self._tally.read += 1
                    yield entry
                else:
                    yield from self._counted(entry)
        except Unreadable as error:
            yield Aside(archive.name, "from here on", str(error), "")

    def _counted(self, file: TextFile) -> Iterator[Record | Aside]:
        """The records of one file; one from which nothing comes is left out."""
        count = 1 + len(file.partners)
        self._tally.add_role(file)
        nothing = True
        try:
            for entry in self._file(file):
                if nothing:
                    nothing, self._tally.read = False, self._tally.read + count
                yield entry
        except Unreadable as error:
            self._tally.read += count if nothing else 0
            nothing = False
            yield Aside(file.name, "from here on", str(error), "")
        except UnknownColumns as error:
            log.warning("%s", error)
            self._unknown = self._unknown or error
            self._tally.read += count if nothing else 0
            if nothing:
                yield Aside(file.name, "file", str(error).removeprefix(f"{file.address} "), "")
            nothing = False
        if nothing:
            self._tally.left_out["empty files"] += count

    def _file(self, file: TextFile) -> Iterator[Record | Aside]:
        if file.format in (".html", ".htm"):
            return self._page(file)
        if file.format in (".parquet", ".arrow", ".feather", huggingface.FORMAT):
            return _TABLES[file.format](file, self._shape)
        file, *partners = (f.decoded(self._charset, self._tally.add_charset) for f in (file, *file.partners))
        if partners:
            return read_parallel([file, *partners], self._shape, as_is=self._alignment == "as_is")
        if file.format in (".txt", ".tsv"):
            return self._text_or_table(file)
        if file.format == ".md":
            return self._prose(file, read_plain_text(file, self._split_text))
        return _TABLES[file.format](file, self._shape)

    def _text_or_table(self, file: TextFile) -> Iterator[Record | Aside]:
        """A .txt or .tsv file: a dialogue a line, a table between tabs, such as translation pairs, or plain text."""
        with file.open() as stream:
            opened, head = file.at(stream), stream.head()
            is_text = not not_text(head) and not self._shape.is_table
            separator = dialogue_separator(head, self._shape.turn_separator) if is_text else None
            if separator is not None:
                yield from read_dialogues(opened, self._shape, separator)
            elif self._shape.is_table or file.format == ".tsv":
                yield from read_csv(replace(opened, format=".tsv"), self._shape)
            elif is_text and is_table(stream, file, self._shape):
                yield from read_csv(opened, self._shape)
            else:
                yield from self._prose(file, read_plain_text(opened, self._split_text))

    def _prose(self, file: TextFile, entries: Iterator[Record | Aside]) -> Iterator[Record | Aside]:
        for entry in entries:
            if isinstance(entry, Record):
                self._tally.add_row(file.name, "document", ["its format, cut into records"])
            yield entry

    def _page(self, file: TextFile) -> Iterator[Record | Aside]:
        """An HTML page: its text, cut like Markdown."""
        with file.open() as stream:
            content = stream.read(file.limits.record + 1)
        shown = excerpt(content[:1000].decode("utf-8", "replace"))
        if len(content) > file.limits.record:
            yield Aside(file.name, "file", f"a page longer than {file.limits.record:,} bytes", shown)
            return
        if not content.strip():
            return
        try:
            page, charset = decode_page(content, self._charset, file.header)
            if reason := not_text(page[:HEAD].encode()):
                raise ValueError(reason)
            text, left_out = read_page(page)
        except ValueError as error:
            yield Aside(file.name, "file", str(error), shown)
            return
        self._tally.add_charset(charset)
        self._tally.elements.update(left_out)
        if not text.strip():
            yield Aside(file.name, "file", "a page without text", excerpt(page))
        elif self._split_text == "file":
            yield from self._prose(file, to_records(file, [Piece(1, text)]))
        else:
            lines = text.split("\n")
            yield from self._prose(file, to_records(file, pieces(lines, heading_kind(lines, self._split_text))))
