"""Dialogues as lines: one dialogue a line, a mark between its turns, and perhaps columns of labels behind tabs."""

from __future__ import annotations

from collections.abc import Iterator

from zen_pipeline.corpus.kinds.chat_formats import SEPARATORS, conversation, split_turns
from zen_pipeline.corpus.kinds.chat_turns import in_turn
from zen_pipeline.corpus.kinds.fields import Fields
from zen_pipeline.corpus.kinds.kinds import chat
from zen_pipeline.corpus.reading.lines import Lines, TooLong, head_lines, text_of
from zen_pipeline.corpus.reading.opening import TextFile
from zen_pipeline.corpus.reading.tables import Shape, Table
from zen_pipeline.corpus.records import Aside, Record

_HEAD_LINES = 50  # looked at
_ENOUGH = 0.8  # share of them that must be dialogues; a mark can be missing where a dialogue has one turn


def dialogue_separator(head: bytes, given: str | None) -> str | None:
    """The mark between turns, when the first line and most of the next ones have one between texts.

    Args:
        head: the first bytes of a file.
        given: the mark that the user names; None: one of the known ones.
    """
    lines = [line for line in head_lines(head) if line.strip()][:_HEAD_LINES]
    for separator in SEPARATORS if given is None else (given,):
        dialogues = [len(split_turns(line, separator)) > 1 for line in lines]
        if dialogues and dialogues[0] and sum(dialogues) >= _ENOUGH * len(lines):
            return separator
    return None


def read_dialogues(file: TextFile, shape: Shape, separator: str) -> Iterator[Record | Aside]:
    """The dialogues of a file; who speaks first is the user. Columns of labels are counted and not read."""
    table = Table(file, shape)
    with file.open() as stream:
        lines = Lines[str](text_of(stream), file.limits.record)
        for line in lines:
            place = f"line {lines.number}"
            if isinstance(line, TooLong):
                yield table.aside(place, line.reason, "")
            elif line.strip():
                yield _dialogue(table, place, line.rstrip("\n"), separator)


def _dialogue(table: Table, place: str, line: str, separator: str) -> Record | Aside:
    cells = line.split("\t") if separator != "\t" else [line]
    spoken = max(range(len(cells)), key=lambda number: cells[number].count(separator))
    extra = Fields({}, {})
    for number, cell in enumerate(cells, 1):
        if number != spoken + 1 and cell.strip():
            extra.note(f"column {number}")
    messages = conversation(in_turn(split_turns(cells[spoken], separator)), extra)
    if isinstance(messages, str):
        return table.aside(place, f"not a usable conversation: {messages}", line[:1000])
    table.count("chat", [f"the mark {separator} between turns"], extra.unused())
    return table.record(chat(messages), place)
