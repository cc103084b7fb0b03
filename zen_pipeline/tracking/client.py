"""The client of MLflow in use, and the border at which its exceptions become ours."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.errors import ConfigError, TrackingError, first_line
from zen_pipeline.logs import get_logger
from zen_pipeline.loopback import except_loopback_from_proxies
from zen_pipeline.machine.checks import server_is_silent, tracking_uri_is_refused
from zen_pipeline.masking import masked
from zen_pipeline.tracking.address import local_database, local_tracking_uri
from zen_pipeline.tracking.database import FILES, announced, explain_database, prepare_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = get_logger(__name__)

# MLflow asks each environment variable when it is imported; none of these overrides what the user has set.
MLFLOW_QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
# By default a server that has gone is asked for more than four minutes, without a word.
_MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
_set_here: dict[str, str] = {}  # of these, what this process has put into its environment
_ANSWER_SECONDS = 10.0  # for a server to show that it lives
_SHOWN_AS = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on traces of language model calls
_PAUSES = (0.05, 0.1, 0.2, 0.4)  # seconds before each further try of a call
_DELETED = re.compile(r"[Tt]he (?P<what>run|experiment) (?P<id>\w+) must be in the 'active' state")
_UNIQUE = "UNIQUE constraint failed"


def mlflow_client(mlflow_folder: Path) -> MlflowClient:
    """A client of the tracking server and registry in use; makes the local database when it is missing.

    What goes wrong in a call of it comes as `TrackingError`.

    Raises:
        ConfigError: `MLFLOW_TRACKING_URI` is an address that MLflow refuses.
        TrackingError: the server does not answer, or another program keeps the database locked.
        StoreError: the database is damaged.
    """
    for name, value in {**MLFLOW_QUIET, **_MLFLOW_PATIENCE}.items():
        if name not in os.environ:
            os.environ[name] = _set_here[name] = value
    except_loopback_from_proxies()
    if (problem := tracking_uri_is_refused(os.environ)) is not None:
        raise ConfigError(problem.sentence())
    address = local_tracking_uri(mlflow_folder)
    database = local_database(address)
    if database is None:
        check_server(address)
    else:
        database.parent.mkdir(parents=True, exist_ok=True)
        # It logs a traceback of what it raises, such as a locked database after an interrupt in a transaction.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        prepare_database(database)
    from mlflow import MlflowClient

    try:
        return _Client(MlflowClient(tracking_uri=address), address)
    except Exception as error:
        raise foreign(error, address) from error


def without_our_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what `mlflow_client` has set in this process: for a child with defaults of its own."""
    return {name: value for name, value in environment.items() if _set_here.get(name) != value}


def check_server(address: str) -> None:
    """See that the server at this address answers, with patience of seconds.

    Raises:
        TrackingError: it does not.
    """
    with announced(f"MLflow at {masked(address)} has not answered yet"):
        problem = server_is_silent(
            "MLFLOW_TRACKING_URI", "/health", {"MLFLOW_TRACKING_URI": address}, seconds=_ANSWER_SECONDS
        )
    if problem is not None:
        raise TrackingError(problem.sentence())


class _Client:
    """`MlflowClient` whose methods raise our exceptions."""

    def __init__(self, client: MlflowClient, address: str) -> None:
        self._client, self._address = client, address

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return _guarded(value, self._address) if callable(value) else value


def _guarded(call: Callable[..., Any], address: str) -> Callable[..., Any]:
    """The call, tried again where another process's write has crossed it: two wrote the same row, and it is there."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        pauses = iter(_PAUSES)
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                crossed = _UNIQUE in str(error) and "already exists" not in str(error)
                if not crossed or (pause := next(pauses, None)) is None:
                    if (ours := foreign(error, address)) is error:
                        raise
                    raise ours from error
                time.sleep(pause)

    return guarded


def foreign(error: Exception, address: str) -> Exception:
    """What MLflow or the libraries below it raised, as one message by its cause; our own and the system's unchanged."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError
    from urllib3.exceptions import HTTPError

    if not isinstance(error, MlflowException | RequestException | SQLAlchemyError | HTTPError):
        return error
    code = getattr(error, "error_code", None)
    if deleted := _DELETED.search(str(error)):
        what, identity = deleted["what"], deleted["id"]
        restore = f"`mlflow {what}s restore --{what}-id {identity}`"
        return TrackingError(f"the {what} {identity} was deleted in MLflow ({restore} brings it back)", code)
    database = local_database(address)
    if database is not None:
        return TrackingError(explain_database(database, error) or f"MLflow ({database}): {first_line(error)}", code)
    where = masked(address)
    status = getattr(error, "get_http_status_code", lambda: None)()
    if status in (401, 403):
        return TrackingError(
            f"MLflow at {where} refuses the request ({first_line(error)}): check MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
            code,
        )
    if isinstance(error.__cause__ or error.__context__ or error, OSError | HTTPError):
        return TrackingError(
            f"MLflow at {where} does not answer ({first_line(error)}): start that server, correct MLFLOW_TRACKING_URI, "
            "or unset it to work without a server",
            code,
        )
    return TrackingError(f"MLflow at {where}: {first_line(error)}", code)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of this name, made when it is missing, and restored when it was deleted.

    With a local database its files go next to it: MLflow's own default is a folder in the working directory.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        database = local_database(client.tracking_uri)
        location = (database.parent / FILES / name).as_uri() if database else None
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_SHOWN_AS))
        except TrackingError as error:
            experiment = client.get_experiment_by_name(name)  # another process may have made it meanwhile
            if experiment is None:
                raise error
    restore_experiment(client, experiment)
    return str(experiment.experiment_id)


def restore_experiment(client: MlflowClient, experiment: Any) -> None:
    """Undo the deletion of an experiment that is needed again; nothing happens to one that was not deleted."""
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        log.warning(
            "the MLflow experiment %r had been deleted and is restored: set another `name` to leave it deleted",
            experiment.name,
        )
