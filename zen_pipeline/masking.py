"""Credentials in addresses: they open what they open, and are never written down."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

_USER_INFO = re.compile(r"(?<=://)[^\s/\"'<>]*@")
# What signed and authorized addresses call it: `token`, `X-Amz-Signature`, `AWSAccessKeyId`, Azure's `sig`, `apikey`.
_SECRET = re.compile(
    r"(?P<name>[?&;][\w.\-%]*(?:token|key|secret|passw|pwd|sig|credential|auth|session|code)[\w.\-%]*=)[^&;#\s'\"<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(?P<scheme>Bearer|Basic)\s+[\w.~+/=\-]{8,}")

ModelT = TypeVar("ModelT", bound=BaseModel)


def masked(text: str) -> str:
    """The text without users, passwords, tokens and keys in its addresses, and without authorization headers."""
    text = _USER_INFO.sub("", text)
    return _HEADER.sub(r"\g<scheme> ***", _SECRET.sub(r"\g<name>***", text))


def masked_model(model: ModelT) -> ModelT:
    """The settings with the addresses in them masked."""
    text = model.model_dump_json(by_alias=True)
    hidden = masked(text)
    return model if hidden == text else type(model).model_validate_json(hidden)


def rewrite_record(record: logging.LogRecord, change: Callable[[str], str]) -> None:
    """Change the text of a log record in place: its message with the arguments in it, and its traceback."""
    record.msg, record.args = change(record.getMessage()), ()
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    if record.exc_text:
        record.exc_text = change(record.exc_text)


class MaskedLines(logging.Filter):
    """Takes credentials out of log records, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; True."""
        rewrite_record(record, masked)
        return True
