"""The library's log lines in the flow run, and no tracebacks for a user's mistake."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from zen_pipeline.errors import ZenError
from zen_pipeline.masking import MaskedLines
from zen_pipeline.terminal import VisibleLines

_LIBRARY = "zen_pipeline"
_PREFECT_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class _RunIds(logging.Filter):
    """Says to which flow run and task run a line belongs.

    Prefect finds this out from context variables, which a thread that reads a training process's output does not have.
    """

    def __init__(self, ids: Mapping[str, str]) -> None:
        super().__init__()
        self._ids = ids

    def filter(self, record: logging.LogRecord) -> bool:
        for key, value in dict(self._ids).items():
            if not hasattr(record, key):
                setattr(record, key, value)
        return True


class _OneMessage(logging.Filter):
    """A `ZenError` says all that there is to say in its message: the traceback is left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, ZenError):
            record.exc_info = record.exc_text = None
        return True


# One of each, since a logger takes the same filter once only; they stay, as Prefect logs a flow's end after it.
_ONE_MESSAGE, _MASKED, _VISIBLE = _OneMessage(), MaskedLines(), VisibleLines()


@contextmanager
def library_logs(ids: Mapping[str, str]) -> Iterator[None]:
    """Send what is logged below `zen_pipeline` to the flow run, from every thread.

    Args:
        ids: the `flow_run_id` and, while a task runs, its `task_run_id`; looked at for every line.
    """
    from prefect.logging.handlers import APILogHandler

    library = logging.getLogger(_LIBRARY)
    level = library.level
    if level == logging.NOTSET:
        library.setLevel(logging.INFO)
    # PREFECT_LOGGING_EXTRA_LOGGERS may have put one there: a second one would send every line twice.
    present = next((h for h in library.handlers if isinstance(h, APILogHandler)), None)
    handler = present or APILogHandler()
    belongs = _RunIds(ids)
    handler.addFilter(belongs)
    handler.addFilter(_MASKED)
    if present is None:
        library.addHandler(handler)
    for shown in library.handlers:
        shown.addFilter(_VISIBLE)
    for name in _PREFECT_LOGGERS:
        for each in (_ONE_MESSAGE, _MASKED, _VISIBLE):
            logging.getLogger(name).addFilter(each)
    try:
        yield
    finally:
        handler.removeFilter(belongs)
        handler.removeFilter(_MASKED)
        if present is None:
            library.removeHandler(handler)
        library.setLevel(level)
