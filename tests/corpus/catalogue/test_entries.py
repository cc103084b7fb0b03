"""The catalogue's entries, and what a user may add."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from zen_pipeline.corpus.catalogue.entries import find_entry, read_catalogue
from zen_pipeline.errors import ConfigError

OWN = """\
title: Letters
kind: document
languages: [de]
licence: CC0
commercial: true
homepage: https://example.org
citation: nobody
files:
  - {path: letters/one.txt, url: "https://example.org/one.txt", bytes: null, sha256: null}
"""


def test_the_catalogue_holds_every_kind_of_set_that_the_pipeline_is_tried_on() -> None:
    catalogue = read_catalogue()
    assert {"document", "qa", "translation", "chat", "vectors", "probes"} <= {e.kind for e in catalogue.values()}
    assert list(catalogue) == sorted(catalogue)
    for entry in catalogue.values():
        assert entry.licence, entry.name
        assert entry.citation, entry.name
        assert len({f.path for f in entry.files}) == len(entry.files), entry.name


def test_a_licence_that_forbids_or_may_forbid_commercial_use_is_named() -> None:
    catalogue = read_catalogue()
    assert catalogue["wikitext-2"].caution is None
    assert "CC BY-NC 4.0) forbids commercial use" in str(catalogue["alpaca"].caution)
    assert "is not known" in str(catalogue["word-probes"].caution)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("wikitext-2", "wikitext-2"), ("tinyshakespeare", "tinyshakespeare"), ("xquad", "xquad")],
)
def test_digests_in_the_catalogue_are_those_of_the_real_files(
    name: str, folder: str, shared_data: Callable[[str], Path]
) -> None:
    pinned = [f for f in read_catalogue()[name].files if f.sha256 is not None]
    assert pinned
    for file in pinned:
        content = (shared_data(folder) / file.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256), file.path


def test_an_own_entry_is_added_and_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "letters.yaml").write_text(OWN)
    (tmp_path / "alpaca.yaml").write_text(OWN)
    catalogue = read_catalogue(tmp_path)
    assert catalogue["letters"].title == catalogue["alpaca"].title == "Letters"
    assert "wikitext-2" in catalogue


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("path: letters/one.txt", "path: ../one.txt"), "relative path without hidden parts"),
        (("path: letters/one.txt", "path: /etc/one.txt"), "relative path without hidden parts"),
        (("path: letters/one.txt", "path: .part/one.txt"), "relative path without hidden parts"),
        (("https://example.org/one.txt", "file:///etc/passwd"), "files.0.url"),
        (("sha256: null", "sha256: abc"), "files.0.sha256"),
        (("sha256: null", f'sha256: "{"0" * 64}\\n"'), "files.0.sha256"),
        (("licence: CC0", "license: CC0"), "licen[cs]e"),
        (("kind: document", "kind: poem"), "kind"),
        ((OWN, "- a list"), "must be a mapping"),
        ((OWN, "a: [b"), "not valid YAML"),
    ],
)
def test_a_wrong_entry_is_named_with_its_field(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "letters.yaml").write_text(OWN.replace(*change))
    with pytest.raises(ConfigError, match=message) as caught:
        read_catalogue(tmp_path)
    assert "letters.yaml" in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wikitext-2'"):
        find_entry(read_catalogue(), "wikitext2")
