"""Exceptions that a user can meet, each with the exit code that `zen` ends with."""

from __future__ import annotations

from pathlib import Path

from zen_pipeline.masking import masked


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of what an error says, without credentials and cut to `most` characters; else its class's name.

    Many errors of libraries say nothing at all, such as the time-outs of httpx.
    """
    lines = str(error).strip().splitlines()
    return masked(lines[0])[:most] if lines else type(error).__name__


class ZenError(Exception):
    """A failure with one clear message: what went wrong, where, and what to do next."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


class ConfigError(ZenError):
    """The command or the configuration is wrong: unknown key, impossible value, missing path."""

    exit_code = 2


class DataError(ZenError):
    """The data cannot be used as asked: empty corpus, missing column, nothing readable."""

    exit_code = 2


class ValidationFailed(ZenError):
    """An expectation with the action `stop` failed; the data must not be trained on.

    Attributes:
        report: the page that says what was wrong.
    """

    exit_code = 3

    def __init__(self, message: str, report: Path | None = None) -> None:
        super().__init__(message)
        self.report = report


class NotReleased(ZenError):
    """The run ended without a new champion although `--require-release` asked for one."""

    exit_code = 4


class DownloadError(ZenError):
    """A public data set could not be downloaded, or what came is not what it was."""


class StoreError(ZenError):
    """The artifact store cannot be read or written, or an artifact in it is damaged."""


class TrackingError(ZenError):
    """MLflow, or the database behind it, cannot be used.

    Attributes:
        code: MLflow's own error code, such as `RESOURCE_DOES_NOT_EXIST`; None where it has none.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class StageBusy(StoreError):
    """Another run is building the same artifact and `--no-wait` was given."""


class TrainingError(ZenError):
    """The training process failed; the message carries its own error."""


class TrainingDiverged(TrainingError):
    """Loss or gradients are no numbers any more; trying again would end in the same way."""
