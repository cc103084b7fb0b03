"""What several commands share: options, and the config and workspace they name."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import completion
from zen_pipeline.family_specs import FAMILIES
from zen_pipeline.logs import show_on_stderr
from zen_pipeline.terminal import print_json as print_json
from zen_pipeline.terminal import print_table as print_table
from zen_pipeline.terminal import print_yaml as print_yaml
from zen_pipeline.terminal import say as say
from zen_pipeline.terminal import show as show

if TYPE_CHECKING:
    from zen_pipeline.artifacts import ArtifactRef
    from zen_pipeline.config import Config
    from zen_pipeline.corpus.catalogue.entries import Entry
    from zen_pipeline.workspace import Workspace

PROJECT_FILE = "zen.yaml"

Preset = Annotated[
    str | None,
    typer.Option("--preset", "-p", help="A shipped preset.", show_default="laptop", autocompletion=completion.presets),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML file laid over the preset; default: ./zen.yaml."),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", "-d", help="Files, folders, globs or a downloaded public set to use as the corpus."),
]
MoreData = Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More data, after --data.")]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget", "-b", help="What a run may take until it has trained: 90s, 5m, 2h, 3e9tokens or 30Mparams."
    ),
]
_FAMILIES = f"What kind of model (pretrain.family): {', '.join(FAMILIES)}."
FamilyOption = Annotated[
    str | None,
    typer.Option(
        "--family",
        help=_FAMILIES,
        autocompletion=completion.families,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, as a.b=c.", metavar="KEY=VALUE", autocompletion=completion.settings),
]
Pipeline = Annotated[
    str | None, typer.Option(help="The pipeline's name.", show_default="the one that ran last in this workspace")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


def settings(
    preset: str | None,
    file: Path | None,
    data: Sequence[str] | None,
    budget: str | None,
    family: str | None,
    overrides: Sequence[str] | None,
    rows: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration that the options name.

    When no file is named, the project's `zen.yaml` is used: the one in the working folder, or the one beside the
    workspace that the working folder lies in.
    """
    from zen_pipeline.config import load_config

    if file is None:
        file = _project_file()
    chosen = [] if family is None else [f"pretrain.family={family}"]
    return load_config(
        preset=preset,
        file=file,
        data=data or (),
        budget=budget,
        rows=rows,
        overrides=[*chosen, *(overrides or ())],
    )


def _project_file() -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if os.path.lexists(folder / PROJECT_FILE):
            return folder / PROJECT_FILE
        if (folder / ".zen").is_dir():
            return None
    return None


def corpus(data: Sequence[str] | None, more: Sequence[str] | None) -> list[str]:
    """The paths of `--data PATH PATH...`; the name of a downloaded public set stands for its folder.

    Raises:
        ConfigError: paths without `--data`, an empty one, or a public set that is not downloaded or holds no records.
    """
    from zen_pipeline.errors import ConfigError

    if more and not data:
        raise ConfigError(f"unexpected {more[0]!r}: to use it as the corpus, write --data {more[0]}")
    paths = [*(data or ()), *(more or ())]
    if any(not path.strip() for path in paths):
        raise ConfigError("--data is empty: name a file, a folder or a glob")
    return [_downloaded(path) or path for path in paths]


# A name of the catalogue has no slash and no star; what has is a path, and needs no look into the catalogue.
_MAY_BE_A_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def _downloaded(name: str) -> str | None:
    """The folder of a downloaded public set; None for anything that is no name of one, or that exists as a path."""
    from zen_pipeline.errors import ConfigError

    if not _MAY_BE_A_NAME.fullmatch(name) or os.path.lexists(name):
        return None
    from zen_pipeline.corpus.catalogue.entries import NOT_RECORDS
    from zen_pipeline.corpus.catalogue.local import LocalSets

    entries, workspace = catalogue()
    if (entry := entries.get(name)) is None:
        return None
    if entry.kind in NOT_RECORDS:
        raise ConfigError(f"--data {name}: the set holds {entry.kind}, no text to learn from")
    sets = None if workspace is None else LocalSets(workspace.data_folder)
    if sets is None or not sets.is_complete(entry):
        raise ConfigError(f"--data {name}: the public set is not downloaded here: run `zen data get {name}` first")
    return str(sets.folder(entry))


def catalogue() -> tuple[dict[str, Entry], Workspace | None]:
    """All catalogue entries, and the workspace where there is one."""
    from zen_pipeline.corpus.catalogue.entries import read_catalogue
    from zen_pipeline.errors import ConfigError
    from zen_pipeline.workspace import Workspace

    try:
        workspace: Workspace | None = Workspace.find()
    except ConfigError:
        workspace = None
    return read_catalogue(None if workspace is None else workspace.catalogue_folder), workspace


def pipeline_or_last(workspace: Workspace, named: str | None) -> str:
    """The pipeline that was named, else the one that ran last in the workspace.

    Raises:
        DataError: none has run.
    """
    from zen_pipeline.errors import DataError

    if named is not None:
        return named
    runs = workspace.runs()
    if not runs:
        raise DataError(f"nothing has run in {workspace.home} yet: start with `zen run`")
    return runs[-1].pipeline


def last_artifact(stage: str, pipeline: str | None) -> ArtifactRef:
    """What the stage made when it last ended well in the pipeline (by default the one that ran last).

    Raises:
        DataError: there is none.
    """
    from zen_pipeline.errors import DataError
    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find()
    name = pipeline_or_last(workspace, pipeline)
    fingerprint = workspace.last_fingerprint(name, stage)
    ref = workspace.store.find(stage, fingerprint) if fingerprint else None
    if ref is None:
        raise DataError(f"the pipeline {name!r} has no {stage} artifact here: run `zen {stage}`")
    return ref


def show_logs(*, verbose: bool = False) -> None:
    """Library logs as plain lines on stderr."""
    show_on_stderr(logging.DEBUG if verbose else logging.INFO)


def duration(seconds: float | None) -> str:
    """`1.5 s`, `2 m 05 s`, `3 h 20 m`; empty when unknown."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} m"


def byte_size(size: float | None) -> str:
    """`512 B`, `1.5 kB`, `20 MB`; empty when unknown."""
    if size is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_since_start() -> float:
    """Seconds since this process was started, imports included."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())
