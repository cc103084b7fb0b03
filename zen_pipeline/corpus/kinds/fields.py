"""The fields of a row: which have a value, what the user or the data calls them, and which a record was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

# What Chinese tables call the fields that have one meaning only.
_CHINESE = {
    "文本": "text",
    "正文": "text",
    "内容": "content",
    "标签": "label",
    "类别": "category",
    "问题": "question",
    "提问": "question",
    "答案": "answer",
    "回答": "answer",
    "回复": "response",
    "指令": "instruction",
    "输入": "input",
    "输出": "output",
    "上下文": "context",
    "原文": "source",
    "译文": "target",
    "历史": "history",
    "对话": "conversation",
}


class NotLearnt(str):
    """Why a row that was read well becomes no record: it must not be learnt, or no model here can learn it."""


def has_value(value: Any) -> bool:
    """True if there is anything in a field: null, NaN, blank text and empty lists are nothing."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    if isinstance(value, list | dict):
        return bool(value)
    return value is not None and value == value  # NaN is not equal to itself


def is_false(value: Any) -> bool:
    """True if a mark such as `train` or `weight` says no: false, a number of at most 0, or a word for it."""
    if isinstance(value, str):
        return value.strip().lower() in ("false", "no", "0", "0.0", "-1")
    return isinstance(value, bool | int | float) and value <= 0


def is_true(value: Any) -> bool:
    """True if a mark says yes: true, 1, or a word for it."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes", "1", "1.0")
    return isinstance(value, bool | int | float) and value == 1


@lru_cache(maxsize=4096)
def our_name(name: str) -> str:
    """A name of a field as it is looked up: without differences of case, and in English where we know it."""
    lower = name.strip().lower()
    return _CHINESE.get(lower, lower)


class Fields:
    """A row with lower-case names, and the user's own names of fields exchanged for ours.

    A field without a value is no field, until `count_blanks`.

    Args:
        row: names and values.
        renamed: our name of a field and its name in the data.

    Attributes:
        named: our names of the fields that the user has named.
    """

    __slots__ = ("_all", "_noted", "_read", "_theirs", "_values", "named")

    def __init__(self, row: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
        every: dict[str, Any] = {}
        theirs: dict[str, str] = {}
        for name, value in row.items():
            ours = our_name(str(name))
            if ours not in every or name == ours:
                every[ours], theirs[ours] = value, name
        self.named = [ours for ours, name in renamed.items() if name in row]
        for ours in self.named:
            every[ours], theirs[ours] = row[renamed[ours]], renamed[ours]
        self._all, self._theirs = every, theirs
        self._values = {name: value for name, value in every.items() if has_value(value)}
        self._read: set[str] = set()
        self._noted: list[str] = []

    def count_blanks(self) -> None:
        """Let blank texts and empty lists be values from now on: the row has nothing better."""
        self._values = {name: value for name, value in self._all.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        """True if the field has a value."""
        return name in self._values

    def get(self, name: str) -> Any:
        """The value of a field, None where it has none; only looked at."""
        return self._values.get(name)

    def take(self, name: str) -> Any:
        """The value of a field, which is now part of the record."""
        self._read.add(name)
        return self._values.get(name)

    def first(self, names: Iterable[str]) -> str | None:
        """The first of these names that has a value."""
        values = self._values
        for name in names:
            if name in values:
                return name
        return None

    def text(self, name: str) -> str | None:
        """The value of a field if it is text; only looked at."""
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def is_blank(self, name: str) -> bool:
        """True if there is an empty list or a blank text in the field."""
        value = self._all.get(name)
        return value is not None and not has_value(value)

    def take_blank(self, name: str) -> Any:
        """The value of a field, which may be blank, and which is now part of the record."""
        self._read.add(name)
        return self._all.get(name)

    def names(self) -> tuple[str, ...]:
        """Our names of the fields with a value."""
        return tuple(self._values)

    def all_names(self) -> set[str]:
        """Our names of all fields, with a value or without."""
        return set(self._all)

    def called(self, name: str) -> str:
        """The data's name of a field."""
        return self._theirs[name]

    def note(self, what: str) -> None:
        """Remember something that is in the row and not in the record."""
        self._noted.append(what)

    def unused(self) -> list[str]:
        """The data's names of the fields with a value that no record was made from, and what was noted."""
        theirs = {self._theirs[name] for name in self._read if name in self._theirs}
        left = [self._theirs[name] for name, value in self._values.items() if name not in self._read]
        left = [name for name in left if name not in theirs]
        return [*left, *dict.fromkeys(self._noted)] if self._noted else left
