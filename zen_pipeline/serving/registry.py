"""Registered models by name: which there are, what one is made of, which version answers.

A model is named the same way everywhere: `zen-chat@champion`, `zen-base/3`, a path to a folder, and `champion` alone
for the pipeline's most finished model. `zen-chat` alone is its champion.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from zen_pipeline.errors import ConfigError, StoreError
from zen_pipeline.evaluation.scores import Score
from zen_pipeline.files import expanded, read_json_object
from zen_pipeline.optimization import form_of
from zen_pipeline.optimization.forms import FLOAT
from zen_pipeline.serving import aliases
from zen_pipeline.serving.aliases import CHALLENGER, CHAMPION, HELD_BACK, REASON, Registered
from zen_pipeline.serving.bundle import LINEAGE_FILE, RELEASE_FILE, fetch, model_files, read_release
from zen_pipeline.serving.gguf_export import write_gguf
from zen_pipeline.tasks import TASKS, load_task
from zen_pipeline.tracking import local_database, local_tracking_uri, mlflow_client
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from zen_pipeline.tasks.base import Task

FORMATS = ("hf", "gguf")
KIND, METRICS, SCORE = "zen.kind", "zen.metrics", "zen.score"  # short name of the model, figures, the deciding one
FINGERPRINT = "zen.fingerprint."  # and the name of a stage
_DEFAULT_PIPELINE = "zen"
_VERSION = re.compile(r"(?P<name>[^/@\s]+)/(?P<version>\d+)")
_ALIAS = re.compile(r"(?P<name>[^/@\s]+)@(?P<alias>[^/@\s]+)")


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found by name.

    Attributes:
        folder: a Hugging Face folder that `load_model` and `Tokenizer.load` read: the deployed form.
        name: of the registered model; None for a folder given by path.
        version: None for a folder given by path.
        alias: by which it was found, None when by version or path.
        kind: short name of the model: `base` continues texts, `chat` answers messages.
        task: name of what it was taught.
        form: `float` or `int8` weights.
    """

    folder: Path
    name: str | None
    version: str | None
    alias: str | None
    kind: str
    task: str
    form: str = FLOAT


class ModelVersion(BaseModel):
    """One registered version.

    Attributes:
        created: UTC, ISO 8601.
        score: the deciding figure; None of versions that were registered without one.
        reason: why it has its alias.
    """

    name: str
    version: str
    kind: str
    aliases: list[str]
    created: str
    metrics: dict[str, float]
    score: Score | None
    reason: str


def resolve_model(
    text: str, workspace: Workspace | None = None, *, pipeline: str | None = None, kind: str | None = None
) -> ResolvedModel:
    """The model of this name.

    Where `champion` alone is asked for and the pipeline has none, it is the challenger.

    Args:
        text: `zen-chat@champion`, `zen-base/3`, `zen-chat`, `champion`, or a path.
        workspace: whose registry is asked; default: the nearest one, which a path does not need.
        pipeline: whose `champion` is meant; default: the pipeline that ran last in the workspace.
        kind: of the `champion` that is meant; default: the pipeline's most finished one.

    Raises:
        ConfigError: nothing has this name; the message lists what there is.
        StoreError: it is registered, but its files are gone.
    """
    path = expanded(text)
    if text.startswith((".", "/", "~")) or (path.is_dir() and not _VERSION.fullmatch(text)):
        return _resolve_folder(path)
    workspace = workspace or Workspace.find()
    client = _client(workspace)
    name, version, alias = _find(client, text, workspace, pipeline, kind)
    bundle = fetch(client, name, version, workspace.models_folder)
    release = read_release(bundle)
    return ResolvedModel(bundle / release.default, name, version, alias, release.model, release.task, release.default)


def _resolve_folder(path: Path) -> ResolvedModel:
    path = path.resolve()
    if (path / RELEASE_FILE).is_file():
        release = read_release(path)
        return ResolvedModel(path / release.default, None, None, None, release.model, release.task, release.default)
    if not (path / "config.json").is_file():
        raise ConfigError(f"{path} is not a model folder: there is no config.json in it")
    task = task_of(path)
    return ResolvedModel(path, None, None, None, task.model, task.name, form_of(path))


def task_of(folder: Path) -> Task:
    """The task that the model in a folder was taught, by its family and its tokenizer.

    Raises:
        ConfigError: none that is known.
    """
    family = read_json_object(folder / "config.json").get("model_type")
    for task in map(load_task, reversed(TASKS)):
        if family in task.families and task.taught(folder):
            return task
    known = sorted({name for task in map(load_task, TASKS) for name in task.families})
    raise ConfigError(f"{folder} holds a model of the family {str(family)[:80]!r}: known ones are {', '.join(known)}")


def _find(
    client: MlflowClient, text: str, workspace: Workspace, pipeline: str | None, kind: str | None
) -> tuple[str, str, str | None]:
    """Name, version and alias that a model's name stands for."""
    models = aliases.registered_models(client)
    if match := _VERSION.fullmatch(text):
        return match["name"], _existing_version(client, models, match["name"], match["version"], text), None
    if match := _ALIAS.fullmatch(text):
        name, alias = match["name"], match["alias"]
    elif text in (CHAMPION, CHALLENGER):
        name, alias = _most_finished(models, text, workspace, pipeline, kind)
    else:
        name, alias = text, CHAMPION
    model = models.get(name)
    if model is None or alias not in model.aliases:
        raise ConfigError(_unknown(text, models) if model is None else _without(client, name, alias))
    return name, model.aliases[alias], alias


def _without(client: MlflowClient, name: str, alias: str) -> str:
    """Why a registered model is not found by an alias, and how its versions are."""
    versions = sorted((str(v.version) for v in client.search_model_versions(f"name='{name}'")), key=int)
    if not versions:
        return f"{name} has no version: `zen run` makes one"
    last = f"{name}/{versions[-1]}"
    return (
        f"{name} has no {alias}: it has the versions {', '.join(versions)}; {last!r} names one, and "
        f"`zen models promote {last}` makes it the champion"
    )


def _existing_version(
    client: MlflowClient, models: Mapping[str, Registered], name: str, version: str, text: str
) -> str:
    versions = [str(v.version) for v in client.search_model_versions(f"name='{name}'")] if name in models else []
    if version in versions:
        return version
    if versions:
        raise ConfigError(f"there is no model {text!r}: {name} has the versions {', '.join(sorted(versions, key=int))}")
    raise ConfigError(_unknown(text, models))


def _most_finished(
    models: Mapping[str, Registered], alias: str, workspace: Workspace, pipeline: str | None, kind: str | None
) -> tuple[str, str]:
    """The pipeline's most finished model that has the alias; without any champion, the challenger."""
    runs = workspace.runs() if pipeline is None else []
    chosen = pipeline or (runs[-1].pipeline if runs else _DEFAULT_PIPELINE)
    names = [f"{chosen}-{kind or task.model}" for task in map(load_task, reversed(TASKS))]
    for accepted in (alias, CHALLENGER):
        found = [name for name in names if name in models and accepted in models[name].aliases]
        if found:
            return found[0], accepted
    hint = "; any of them can be named, and `zen models promote NAME/VERSION` makes it the champion"
    raise ConfigError(f"the pipeline {chosen!r} has no {alias}: {_what_exists(models)}{hint if models else ''}")


def _unknown(text: str, models: Mapping[str, Registered]) -> str:
    known = [f"{m.name}@{alias}" for m in models.values() for alias in m.aliases]
    near = difflib.get_close_matches(text, [*known, *models], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no model or folder {text!r}: {hint}{_what_exists(models)}"


def _what_exists(models: Mapping[str, Registered]) -> str:
    known = [f"{m.name}@{alias} (version {version})" for m in models.values() for alias, version in m.aliases.items()]
    return f"registered are {', '.join(known)}" if known else "nothing is registered yet; `zen run` makes a model"


def list_models(workspace: Workspace) -> list[ModelVersion]:
    """Every version that a pipeline has registered, by name, newest first.

    Raises:
        ConfigError: nothing has ever been registered here.
    """
    client = _client(workspace)
    found = []
    for name, model in sorted(aliases.registered_models(client).items()):
        versions = client.search_model_versions(f"name='{name}'")
        ours = [v for v in versions if KIND in v.tags]  # a shared server holds other models too
        found += [_model_version(v, model) for v in sorted(ours, key=lambda v: -int(v.version))]
    return found


def _model_version(version: Any, model: Registered) -> ModelVersion:
    number = str(version.version)
    return ModelVersion(
        name=version.name,
        version=number,
        kind=version.tags[KIND],
        aliases=sorted(a for a, v in model.aliases.items() if v == number),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        metrics=json.loads(version.tags.get(METRICS, "{}")),
        score=Score(**json.loads(found)) if (found := version.tags.get(SCORE)) else None,
        reason=version.tags.get(REASON, ""),
    )


def show_model(text: str, workspace: Workspace, *, pipeline: str | None = None) -> dict[str, Any]:
    """One version: its figures, why it has its alias, its files, and what it was made from, back to the sources.

    Raises:
        ConfigError: nothing registered has this name.
    """
    client = _client(workspace)
    name, number, _ = _find(client, text, workspace, pipeline, None)
    version = client.get_model_version(name, number)
    model = aliases.registered_models(client)[name]
    shown = _model_version(version, model).model_dump()
    if held := version.tags.get(HELD_BACK):
        shown["held_back"] = held
    release = read_release(fetch(client, name, number, workspace.models_folder, RELEASE_FILE).parent)
    lineage = fetch(client, name, number, workspace.models_folder, LINEAGE_FILE)
    return {
        **shown,
        "form": release.default,
        "float_bytes": release.float_bytes,
        "champions": model.champions,
        "mlflow_run": version.run_id,
        "files": client.get_model_version_download_uri(name, number),
        "tags": {k: v for k, v in sorted(version.tags.items()) if k not in (METRICS, REASON)},
        "lineage": json.loads(lineage.read_text(encoding="utf-8")),
    }


def registered_fingerprints(workspace: Workspace) -> set[str]:
    """The fingerprints of all artifacts that a registered version was made from; cleaning up must keep them."""
    if _no_registry(workspace):
        return set()
    client = _client(workspace)
    versions = [v for name in aliases.registered_models(client) for v in client.search_model_versions(f"name='{name}'")]
    return {value for v in versions for key, value in v.tags.items() if key.startswith(FINGERPRINT)}


def promote(text: str, workspace: Workspace, *, pipeline: str | None = None) -> ModelVersion:
    """Make a version the champion, whatever its figures.

    Raises:
        ConfigError: nothing registered has this name.
    """
    client = _client(workspace)
    name, version, _ = _find(client, text, workspace, pipeline, None)
    with aliases.hold_name(workspace, name, run_id="promote"):
        aliases.promote_by_hand(client, aliases.registered_models(client)[name], version)
    return _one(client, name, version)


def rollback(name: str, workspace: Workspace) -> ModelVersion:
    """Make the version champion again that was champion before the present one.

    Raises:
        ConfigError: there is no such model, or no champion before.
    """
    client = _client(workspace)
    models = aliases.registered_models(client)
    if name not in models:
        raise ConfigError(_unknown(name, models))
    with aliases.hold_name(workspace, name, run_id="rollback"):
        version = aliases.roll_back(client, aliases.registered_models(client)[name])
    return _one(client, name, version)


def _one(client: MlflowClient, name: str, version: str) -> ModelVersion:
    return _model_version(client.get_model_version(name, version), aliases.registered_models(client)[name])


def export(text: str, target: Path, *, format: str = "hf", workspace: Workspace, pipeline: str | None = None) -> Path:
    """Write the float weights of a model for other tools; return the folder.

    Args:
        text: the model's name.
        target: a folder that does not exist yet, or is empty.
        format: `hf` for a Hugging Face folder, `gguf` for one file that llama.cpp opens.
        workspace: whose registry is asked.
        pipeline: whose `champion` is meant.

    Raises:
        ConfigError: the name or the format is unknown, the target holds files, or the format cannot hold the model.
    """
    if format not in FORMATS:
        raise ConfigError(f"there is no export format {format!r}: formats are {', '.join(FORMATS)}")
    model = resolve_model(text, workspace, pipeline=pipeline)
    folder = model.folder if model.name is None and model.form == "float" else model.folder.parent / "float"
    if not folder.is_dir():
        raise ConfigError(f"{text} has no float weights beside it; name a registered version")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already: name a folder that does not")
    try:
        target.mkdir(parents=True, exist_ok=True)
        if format == "gguf":
            write_gguf(folder, target, name=model.name or folder.name)
            return target
        for name, source in model_files(folder).items():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target / name)  # never a link: what is exported may be edited
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
    return target


def _client(workspace: Workspace) -> MlflowClient:
    if _no_registry(workspace):
        raise ConfigError(f"nothing is registered in {workspace.home} yet; `zen run` makes a model")
    return mlflow_client(workspace.mlflow_folder)


def _no_registry(workspace: Workspace) -> bool:
    """True if the local database does not exist: it is not made only to be found empty."""
    database = local_database(local_tracking_uri(workspace.mlflow_folder))
    return database is not None and not database.is_file()
