"""The catalogue: one YAML file per public data set, those of the package and those of the workspace."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from zen_pipeline.errors import ConfigError
from zen_pipeline.files import read_small_text
from zen_pipeline.settings.base import Section

# What a set is for: records of a kind that collection reads, or files for the word vectors.
SetKind = Literal["document", "chat", "preference", "translation", "qa", "classification", "vectors", "probes"]
NOT_RECORDS: tuple[SetKind, ...] = ("vectors", "probes")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")
_SUFFIX = ".yaml"


def _inside(path: str) -> str:
    """A path below the set's folder; hidden parts are the downloader's own."""
    parts = PurePosixPath(path).parts
    if not parts or "\\" in path or any(part.startswith((".", "/")) for part in parts):
        raise ValueError("must be a relative path without hidden parts, such as zh/words.txt")
    return path


class SetFile(Section):
    """One file of a set.

    Attributes:
        path: where it lies below the set's folder; its name may give the split (`train.txt`).
        url: its public home.
        bytes: its size where it is known.
        sha256: its digest where the address always gives the same bytes; null where it is pinned at the first download.
    """

    path: Annotated[str, AfterValidator(_inside)]
    url: str = Field(pattern=r"^https?://[^/\s]+/\S+$")
    bytes: int | None = Field(ge=0)
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")


class Entry(Section):
    """What is known about one set.

    Attributes:
        name: the name of its YAML file.
        commercial: whether the licence allows commercial use, as far as is known.
        citation: whom to name.
    """

    name: str
    title: str
    kind: SetKind
    languages: list[str]
    licence: str
    commercial: bool | Literal["unknown"]
    homepage: str
    citation: str
    files: list[SetFile] = Field(min_length=1)

    @property
    def bytes(self) -> int | None:
        """The size of all files; None where one is not known."""
        sizes = [file.bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def caution(self) -> str | None:
        """What to say about the licence before anything is downloaded; None where it allows commercial use."""
        if self.commercial is True:
            return None
        if self.commercial is False:
            return f"{self.name}: the licence ({self.licence}) forbids commercial use, of models trained on it too"
        return (
            f"{self.name}: whether the licence ({self.licence}) allows commercial use is not known; see {self.homepage}"
        )


def read_catalogue(own: Path | None = None) -> dict[str, Entry]:
    """All entries by name, sorted; an entry in the folder `own` replaces the package's entry of the same name.

    Raises:
        ConfigError: an entry of the user's folder is not one; the message names the file and the field.
    """
    shipped = resources.files("zen_pipeline.corpus.catalogue") / "sets"
    found = [(f.name, f.read_text(encoding="utf-8"), f.name) for f in shipped.iterdir() if f.name.endswith(_SUFFIX)]
    if own is not None and own.is_dir():
        found += [(p.name, _text(p), str(p)) for p in sorted(own.glob(f"*{_SUFFIX}"))]
    entries = {
        name.removesuffix(_SUFFIX): _entry(name.removesuffix(_SUFFIX), text, where) for name, text, where in found
    }
    return dict(sorted(entries.items()))


def find_entry(catalogue: dict[str, Entry], name: str) -> Entry:
    """The entry of that name.

    Raises:
        ConfigError: there is none; the message names the nearest one.
    """
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name, catalogue, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(catalogue)}"
    raise ConfigError(f"there is no data set {name!r}: {hint}")


def _text(path: Path) -> str:
    try:
        return read_small_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the catalogue entry {path}: {error}") from None


def _entry(name: str, text: str, where: str) -> Entry:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a data set is named in small letters, digits, dots and dashes, found {name!r}")
    try:
        loaded: Any = yaml.safe_load(text)
        if not isinstance(loaded, dict):
            raise ConfigError(f"{where} must be a mapping of fields, found {type(loaded).__name__}")
        return Entry.model_validate({**loaded, "name": name})
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"the catalogue entry {where}: {place}: {message}, found {problem['input']!r}") from None
