"""Parquet and Arrow files: only the columns that can matter, a few rows at a time, and each row on its own.

A value that Python cannot hold costs its row, a damaged page what is left of its row group; every row is counted. A few
bytes can stand for gigabytes in these formats, so sizes are looked at before anything is unfolded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zen_pipeline.corpus.kinds.fields import our_name
from zen_pipeline.corpus.kinds.kinds import language_code
from zen_pipeline.corpus.reading.opening import Meter, TextFile, Unreadable, seekable
from zen_pipeline.corpus.reading.tables import Shape, Table
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.errors import first_line

_ROWS = 256  # that are held as Python objects at a time
_BYTES = 32 << 20  # of them; of more than that one row at a time
_ROW_BYTES = 16  # of a row without its values, for the limits of what a file may become

# Fields by which a row is recognised, or which change what it means; `test_columnar.py` compares with JSON.
_FIELDS = frozenset(
    """
    text content contents paragraphs lines sentences sentence tweet comment review utterance question query title
    label labels class category gold_label is_duplicate premise hypothesis sentence1 sentence2 sentence_a sentence_b
    text_a text_b text1 text2 question1 question2 passage messages conversations conversation dialogue dialog turns
    utterances chat data id mapping current_node segments system system_prompt system_message system_instruction
    systeminstruction meta_instruction history tools instruction prompt input inputs ask output response completion
    answer answers std_answer target targets instances source src tgt source_language target_language source_lang
    target_lang src_language src_lang tgt_language tgt_lang translation language context paragraph article story
    background evidence context_text qas query_text input_text is_impossible impossible chosen rejected
    preferred_output non_preferred_output chosen_response rejected_response response_chosen response_rejected
    response_j response_k replies role rank group row row_idx truncated_cells weight train loss training train_on_turn
    trainable learn mask masked desirable kto_tag choices options endings documents image images audio audios video
    videos commands name type
    """.split()  # noqa: SIM905 - reads better than a hundred quoted words
) | {"tool responses", "turn"}

_DAMAGED = (pa.ArrowException, OSError, ValueError, OverflowError)
_NO_VALUE = (pa.ArrowException, ValueError, OverflowError, LookupError, TypeError, AttributeError)


class _NotRead:
    """Stands for the value of a column that was not read."""

    def __repr__(self) -> str:
        return "(not read)"


_NOT_READ = _NotRead()


def read_parquet(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The rows of a parquet file.

    Raises:
        DataError: the columns are of no known kind.
    """
    reader = _Reader(file, shape)
    try:
        with seekable(file) as stored, pq.ParquetFile(stored) as opened:
            yield from reader.parquet(stored, opened)
    except _DAMAGED as error:
        yield reader.damaged(error, "parquet")
    reader.table.check_found()


def read_arrow(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The rows of an Arrow IPC file or stream (`.arrow`, Feather version 2).

    Raises:
        DataError: the columns are of no known kind.
    """
    reader = _Reader(file, shape)
    try:
        with seekable(file) as stored:
            yield from reader.arrow(stored)
    except _DAMAGED as error:
        yield reader.damaged(error, "Arrow")
    reader.table.check_found()


class _Reader:
    """Reads one file and counts its rows."""

    def __init__(self, file: TextFile, shape: Shape) -> None:
        self._file, self._shape = file, shape
        self.table = Table(file, shape)
        self._number = 0
        self._meter = Meter(file.limits, consumed=lambda: self._size)
        self._size = 1
        self._unread: dict[str, Any] = {}

    def damaged(self, error: Exception, what: str, rows: int = 1) -> Aside:
        """What is said of an error; trouble with the machine is raised again."""
        if isinstance(error, OSError) and error.errno is not None:
            raise error
        where = f"after row {self._number}" if self._number else "file"
        reason = f"not a readable {what} file: {first_line(error)}"
        return self.table.aside(where, reason, "", rows=rows)

    def parquet(self, stored: Any, opened: pq.ParquetFile) -> Iterator[Record | Aside]:
        """All row groups; one that is damaged costs what is left of it."""
        self._size = stored.seek(0, 2)
        metadata = opened.metadata
        wanted = self._wanted(opened.schema_arrow.names)
        leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
        wanted_leaves = [n for n, leaf in enumerate(leaves) if leaf.path.split(".")[0] in wanted]
        texts = [leaves[n].path for n in wanted_leaves if leaves[n].physical_type == "BYTE_ARRAY"]
        # Values that come again stay one value until their row is read.
        with pq.ParquetFile(stored, metadata=metadata, read_dictionary=texts) as reader:
            for index in range(metadata.num_row_groups):
                group = metadata.row_group(index)
                end = self._number + group.num_rows
                if reason := self._too_large(group, wanted_leaves):
                    self._number = end
                    yield self.table.aside(f"row group {index + 1}", reason, "", rows=group.num_rows)
                    continue
                try:
                    for batch in reader.iter_batches(_ROWS, row_groups=[index], columns=wanted):
                        yield from self._batch(batch)
                except Unreadable as error:
                    lost = metadata.num_rows - self._number
                    yield self.table.aside(f"after row {self._number}", str(error), "", rows=lost)
                    return
                except _DAMAGED as error:
                    yield self.damaged(error, "parquet", end - self._number)
                    self._number = end

    def arrow(self, stored: Any) -> Iterator[Record | Aside]:
        """All record batches."""
        self._size = stored.seek(0, 2)
        stored.seek(0)
        is_file = stored.read(6) == b"ARROW1"
        stored.seek(0)
        names = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(stored).schema.names
        wanted = self._wanted(names)
        options = pa.ipc.IpcReadOptions(included_fields=[place for place, name in enumerate(names) if name in wanted])
        stored.seek(0)
        if not is_file:
            for batch in pa.ipc.open_stream(stored, options=options):
                yield from self._batch(batch)
            return
        opened = pa.ipc.open_file(stored, options=options)
        for index in range(opened.num_record_batches):
            try:
                batch = opened.get_batch(index)
            except _DAMAGED as error:
                yield self.damaged(error, "Arrow")
            else:
                yield from self._batch(batch)

    def _wanted(self, names: Sequence[str]) -> list[str]:
        """The columns that can matter; the others are only known to be there."""
        named = {self._shape.text_column, *self._shape.fields.values()}
        wanted = [n for n in names if n in named or our_name(n) in _FIELDS | {our_name(self._shape.text_column)}]
        wanted += [name for name in names if name not in wanted and language_code(name)]
        self._unread = {name: _NOT_READ for name in names if name not in wanted}
        return wanted

    def _too_large(self, group: Any, leaves: Sequence[int]) -> str:
        """Why a row group is not unfolded, by what it says of itself."""
        limits = self._file.limits
        for leaf in leaves:
            column = group.column(leaf)
            if column.total_uncompressed_size > max(limits.free, limits.ratio * column.total_compressed_size):
                return f"column {column.path_in_schema!r} becomes more than {limits.ratio} times its compressed size"
        return ""

    def _batch(self, batch: pa.RecordBatch) -> Iterator[Record | Aside]:
        for start in range(0, batch.num_rows, _ROWS):
            rows = batch.slice(start, _ROWS)
            size = sum(map(_unfolded, rows.columns))
            if size > _BYTES:
                for place in range(rows.num_rows):
                    yield from self._rows(rows.slice(place, 1), sum(map(_unfolded, rows.slice(place, 1).columns)))
            else:
                yield from self._rows(rows, size)

    def _rows(self, rows: pa.RecordBatch, size: int) -> Iterator[Record | Aside]:
        self._meter.add(size + _ROW_BYTES * rows.num_rows)
        if rows.num_rows == 1 and size > self._file.limits.record:
            self._number += 1
            reason = f"a row of {size:,} bytes, longer than {self._file.limits.record:,}"
            yield self.table.aside(f"row {self._number}", reason, "")
            return
        names = rows.schema.names
        columns = [_without_times(column) for column in rows.columns]
        try:
            values = list(zip(*(column.to_pylist() for column in columns), strict=True))
        except _NO_VALUE:
            values = [tuple(_value(column[place]) for column in columns) for place in range(rows.num_rows)]
        for row in values or [()] * rows.num_rows:
            self._number += 1
            place = f"row {self._number}"
            if odd := next(((n, v) for n, v in zip(names, row, strict=False) if isinstance(v, Exception)), None):
                reason = f"{odd[0]!r} holds a value that cannot be read: {first_line(odd[1], 120)}"
                yield self.table.aside(place, reason, "")
            else:
                named = {n: _text(v) if isinstance(v, bytes) else v for n, v in zip(names, row, strict=False)}
                yield from self.table.row({**named, **self._unread}, place)


def _value(scalar: Any) -> Any:
    """The Python value, or why there is none."""
    try:
        return scalar.as_py()
    except _NO_VALUE as error:
        return error


def _text(value: bytes) -> str:
    """Bytes as the text that old writers of these files mean by them; what is no UTF-8 is found later."""
    return value.decode("utf-8", "surrogateescape")


def _unfolded(array: Any) -> int:
    """Bytes of the values of an array, each counted as often as it comes."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        values = array.dictionary
        if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
            return int(array.nbytes)
        return pc.sum(pc.binary_length(values).take(array.indices)).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(map(_unfolded, array.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _unfolded(array.flatten()) + 8 * len(array)
    return int(array.nbytes)


def _without_times(array: Any) -> Any:
    """The array with the dates and times inside its values as numbers, which Python can always hold."""
    kind = array.type
    plain = _plain(kind) if pa.types.is_nested(kind) else kind
    return array if plain == kind else array.cast(plain)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    return kind
