"""What a registered version holds, and how it gets into MLflow without a second copy of the weights.

A version is an MLflow pyfunc model whose code is this package. Its files, below `artifacts/model/`:

    release.json     which form is deployed, and what the version is (class `Release`)
    float/           a Hugging Face folder with the float weights
    int8/            the same model with int8 weights, only when that is the deployed form
    evaluation/      what the next candidate is compared with: units.npz
    lineage.json     every artifact that it was made from, back to the digests of the sources

Where MLflow keeps its artifacts in a folder of the same file system, the files are hard links to those in the
artifact store: they cost nothing, and stay when the store is cleaned.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

from pydantic import BaseModel, ConfigDict, model_validator

import zen_pipeline
from zen_pipeline.artifacts import MANIFEST, ArtifactRef, Store, read_manifest, stage_of
from zen_pipeline.corpus.tokens.tokenizer import tokenizer_files
from zen_pipeline.errors import StoreError, first_line
from zen_pipeline.files import file_digest, own_file
from zen_pipeline.logs import get_logger
from zen_pipeline.tasks.chat_markup import CHAT_TEMPLATE, folder_template
from zen_pipeline.tracking import current_place, local_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = get_logger(__name__)


BUNDLE = "artifacts/model"  # where MLflow puts the artifact called `model`
RELEASE_FILE = "release.json"
LINEAGE_FILE = "lineage.json"
EVIDENCE = "units.npz"  # of an evaluation: what two versions are compared by
WEIGHTS = "model*.safetensors*"  # one file, or shards and their index
# What answering needs; MLflow itself is added by MLflow. Named, since MLflow's own way imports everything to find out.
_REQUIREMENTS = (
    "mlflow",
    "torch",
    "numpy",
    "pandas",
    "safetensors",
    "tokenizers",
    "pydantic",
    "pyyaml",
    "typing-extensions",
)
_FOR_TEMPLATES = ("transformers", "jinja2")  # besides, where a model brings a chat template of its own


class Release(BaseModel):
    """The content of `release.json`.

    Attributes:
        model: short name of the model.
        task: name of what it was taught.
        default: the form that answers when nothing else is asked for.
        float_bytes: size of the float weights.
        test_set: SHA-256 of what `evaluation/` was measured on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    model: str
    task: str
    default: str
    float_bytes: int
    test_set: str

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, data: Any) -> Any:
        """Versions from before there were other tasks: `kind` was `base` or `chat`."""
        if not isinstance(data, dict) or data.get("format") != 1:
            return data
        kind = data.get("kind")
        task = {"base": "language", "chat": "chat"}.get(str(kind))
        return {**{k: v for k, v in data.items() if k != "kind"}, "format": 2, "model": kind, "task": task}


@dataclass(frozen=True)
class Bundle:
    """A version before it is registered: files that lie in the store, and small ones that are written."""

    release: Release
    files: Mapping[str, Path]
    written: Mapping[str, str]


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model folder that using it needs, by name; training logs and the like are left out.

    Raises:
        StoreError: the folder holds no model.
        ConfigError: a file is a link that leads out of the folder.
    """
    names = ["config.json", "generation_config.json", *sorted(path.name for path in folder.glob(WEIGHTS))]
    found = {name: path for name in names if (path := own_file(folder, name)) is not None}
    weights = [name for name in found if Path(name).match(WEIGHTS)]
    files = {**found, **tokenizer_files(folder)}
    missing = [name for name in ("config.json", "tokenizer.json") if name not in files]
    if missing or not weights:
        what = missing[0] if missing else "model.safetensors"
        raise StoreError(f"{folder / what} is missing: the model cannot be released; run the stage again")
    return files


def weight_bytes(folder: Path) -> int:
    """Bytes of the weights in a model folder."""
    return sum(path.stat().st_size for path in folder.glob(WEIGHTS))


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no link between them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def log_bundle(
    client: MlflowClient,
    bundle: Bundle,
    *,
    name: str,
    experiment: str,
    run_id: str,
    tags: dict[str, str],
    scratch: Path,
) -> tuple[str, str]:
    """Log the bundle as an MLflow model of this run; return its id and the address of its files.

    Args:
        client: of the tracking server in use.
        bundle: what the version holds.
        name: of the registered model.
        experiment: id of the experiment that the run belongs to.
        run_id: the run that releases it.
        tags: of the logged model.
        scratch: a folder for temporary files, best on the file system of the store.
    """
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment, name=name, source_run_id=run_id, tags=tags, model_type=bundle.release.task
    )
    location = str(model.artifact_location)
    try:
        with TemporaryDirectory(dir=scratch) as temporary:
            whole = _write_pyfunc(bundle, Path(temporary), model_id=model.model_id, run_id=run_id, location=location)
            if (folder := local_folder(location)) is None:
                client.log_model_artifacts(model.model_id, str(whole))
            else:
                shutil.copytree(whole, folder, copy_function=_link_or_copy, dirs_exist_ok=True)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id, location


def _requirements(bundle: Bundle) -> Sequence[str]:
    template = folder_template(bundle.files[f"{bundle.release.default}/tokenizer.json"].parent)
    foreign = template not in (None, CHAT_TEMPLATE)
    return (*_REQUIREMENTS, *_FOR_TEMPLATES) if foreign else _REQUIREMENTS


def _link_or_copy(source: str, target: str) -> None:
    link_or_copy(Path(source), Path(target))


def _write_pyfunc(bundle: Bundle, scratch: Path, *, model_id: str, run_id: str, location: str) -> Path:
    """A folder with a complete pyfunc model: MLflow writes the small files, the large ones are linked.

    MLflow is given a folder without the weights, since it copies what it is given, twice.
    """
    whole, small = scratch / "whole", scratch / "small" / "model"
    small.mkdir(parents=True)
    for name, text in {RELEASE_FILE: bundle.release.model_dump_json(indent=1), **bundle.written}.items():
        (small / name).write_text(text, encoding="utf-8")
    package = Path(zen_pipeline.__file__).resolve().parent
    # It would like type hints and an example next to our signature, and turns its own warnings on.
    with warnings.catch_warnings(record=True):
        import mlflow.pyfunc
        from mlflow.models import Model

        from zen_pipeline.serving.signature import signature
        from zen_pipeline.tasks import load_task

        model = Model(model_id=model_id, model_uuid=model_id, run_id=run_id, artifact_path=location)
        mlflow.pyfunc.save_model(
            whole,
            python_model=str(package / "serving" / "model_code.py"),
            artifacts={"model": str(small)},
            code_paths=[str(package)],
            signature=signature(load_task(bundle.release.task)),
            pip_requirements=[_pinned(name) for name in _requirements(bundle)],
            mlflow_model=model,
        )
    for cache in whole.rglob("__pycache__"):
        shutil.rmtree(cache)
    for name, source in bundle.files.items():
        link_or_copy(source, whole / BUNDLE / name)
    model.flavors["python_function"]["artifacts"]["model"]["uri"] = f"{location}/{BUNDLE}"  # not the temporary folder
    model.model_size_bytes = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file())
    model.save(whole / "MLmodel")
    return whole


def _pinned(distribution: str) -> str:
    # `2.13.0+cpu` names one build of 2.13.0; another machine may need another
    return f"{distribution}=={installed_version(distribution).partition('+')[0]}"


def local_folder(uri: str) -> Path | None:
    """The folder behind an artifact address, or None when it is not on this machine."""
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(uri) if parsed.scheme == "" else None


def read_release(folder: Path) -> Release:
    """The `release.json` of a bundle.

    Raises:
        StoreError: it is missing or not of this format.
    """
    path = folder / RELEASE_FILE
    try:
        return Release.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {first_line(error)}") from error


def fetch(client: MlflowClient, name: str, version: str, cache: Path, part: str = "") -> Path:
    """The bundle of a registered version as a local folder; `part` names one file or folder in it.

    Files on a server are downloaded once into `cache`.

    Raises:
        StoreError: the files are gone.
    """
    location = files_of(client, name, version)
    if (folder := local_folder(location)) is not None:
        found = folder / BUNDLE / part
        if not found.exists():
            raise StoreError(
                f"{name}/{version} is registered, but its files are gone: {found} is missing; `zen release` puts them "
                "back while the store holds what the version was made from"
            )
        return found
    where = hashlib.sha256(location.encode()).hexdigest()[:8]  # another server may use the same names
    found = cache / f"{name}-{version}-{where}" / (part or "all")
    if not found.exists():
        _download(f"{location.rstrip('/')}/{BUNDLE}/{part}".rstrip("/"), found)
    return found


def files_of(client: MlflowClient, name: str, version: str) -> str:
    """The address of a version's files, where they lie now: the workspace may have been moved since."""
    location = str(client.get_model_version_download_uri(name, version))
    database = local_database(client.tracking_uri)
    return location if database is None else current_place(database)(location)


def find_damage(location: str, files: Mapping[str, Path], *, digests: bool = False) -> str | None:
    """The first file of a version that is missing or is not what the store holds; None when all are well.

    Sizes are always compared. Digests are compared when asked, and for files that were changed since they were linked
    or copied; what is the same file as in the store is as good as that.

    Args:
        location: address of the version's files.
        files: those that it was made from, by name in the bundle.
        digests: compare all digests.
    """
    folder = local_folder(location)
    if folder is None:
        return _find_remote_damage(location, files)
    for path in (folder / "MLmodel", folder / BUNDLE / LINEAGE_FILE):
        if not path.is_file():
            return f"{path} is missing"
    try:
        read_release(folder / BUNDLE)
    except StoreError as error:
        return str(error)
    for name, source in files.items():
        found = folder / BUNDLE / name
        if not found.is_file():
            return f"{found} is missing"
        if os.path.samefile(found, source):
            continue
        held, stored = found.stat(), source.stat()
        if held.st_size != stored.st_size:
            return f"{found} has {held.st_size} bytes, expected {stored.st_size}"
        doubtful = digests or held.st_mtime_ns != stored.st_mtime_ns
        if doubtful and file_digest(found) != file_digest(source):
            return f"{found} is not what was released"
    return None


def _find_remote_damage(location: str, files: Mapping[str, Path]) -> str | None:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        for folder in sorted({Path(name).parent.as_posix() for name in files}):
            listed = mlflow.artifacts.list_artifacts(artifact_uri=f"{location.rstrip('/')}/{BUNDLE}/{folder}")
            sizes = {Path(entry.path).name: entry.file_size for entry in listed}
            for name, source in files.items():
                where, _, last = name.rpartition("/")
                if where == folder and sizes.get(last) != source.stat().st_size:
                    return f"{location}/{BUNDLE}/{name} is missing or has another size"
    except MlflowException as error:
        raise StoreError(f"cannot list {location}: {first_line(error)}") from error
    return None


def restore_bundle(client: MlflowClient, bundle: Bundle, version: Any, *, scratch: Path) -> None:
    """Put the files of a registered version back, from the store.

    Args:
        client: of the tracking server in use.
        bundle: what the version holds.
        version: MLflow's entity of it.
        scratch: a folder for temporary files, best on the file system of the store.
    """
    location = files_of(client, version.name, version.version)
    model_id = version.model_id or Path(location).parent.name  # a server does not tell it
    with TemporaryDirectory(dir=scratch) as temporary:
        whole = _write_pyfunc(bundle, Path(temporary), model_id=model_id, run_id=version.run_id, location=location)
        if (folder := local_folder(location)) is None:
            client.log_model_artifacts(model_id, str(whole))
            return
        for source in sorted(path for path in whole.rglob("*") if path.is_file()):
            target = folder / source.relative_to(whole)
            if target.exists() and os.path.samefile(source, target):
                continue
            new = target.with_name(f".{target.name}.new")
            new.unlink(missing_ok=True)
            link_or_copy(source, new)
            os.replace(new, target)  # never written into: the old file may be a link to one in the store


def _download(location: str, target: Path) -> None:
    import mlflow.artifacts

    scratch = target.with_name(f".{target.name}-{os.getpid()}")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        fetched = mlflow.artifacts.download_artifacts(location, dst_path=str(scratch))
        if not target.exists():  # another process may have been faster
            os.rename(fetched, target)
    except Exception as error:
        raise StoreError(f"cannot download {location}: {first_line(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def lineage_of(inputs: Mapping[str, ArtifactRef], store: Store) -> dict[str, dict[str, Any]]:
    """Every artifact that a release was made from, by stage, back to the digests of the sources.

    Each entry has `fingerprint`, `digest`, the `run` that made it and when (`created`), what decided it (`parts`) and
    the fingerprints of its own `inputs`; what was judged has its verdict too (`judgement`: counts, report, run). What
    has been cleaned away since is left out.

    Args:
        inputs: the artifacts that the release was given.
        store: where those lie that they were made from.
    """
    lineage: dict[str, dict[str, Any]] = {}
    waiting = {stage: ref.path for stage, ref in inputs.items()}
    while waiting:
        stage, folder = waiting.popitem()
        if stage in lineage or not (folder / MANIFEST).is_file():
            continue
        manifest = read_manifest(folder)
        lineage[stage] = {
            "fingerprint": manifest.fingerprint,
            "digest": manifest.digest,
            "run": manifest.run_id,
            "created": manifest.created,
            "inputs": {name: entry.fingerprint for name, entry in manifest.inputs.items()},
            "parts": {k: v for k, v in manifest.parts.items() if not k.startswith("inputs.")},
        }
        waiting.update(
            {n: store.folder(stage_of(n), e.fingerprint) for n, e in manifest.inputs.items() if n not in lineage}
        )
    for stage, ref in inputs.items():
        if stage in lineage and (judgement := ref.summary.get("judgement")):
            lineage[stage]["judgement"] = judgement
    return dict(sorted(lineage.items()))
