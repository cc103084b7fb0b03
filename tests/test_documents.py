"""The documents lead to what exists, and state what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from zen_pipeline import errors
from zen_pipeline.models.starts.next_token import MAX_VOCABULARY
from zen_pipeline.stages.embed import FEWEST_DISTINCT, FEWEST_WORDS
from zen_pipeline.tasks import TASKS, load_task
from zen_pipeline.training.rules import evaluation_for

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?<![\w./<-])[A-Za-z_]+/[\w./*-]*")  # a path as people write it in code: training/rules.py
MODULE = re.compile(r"\b(?:zen_pipeline|flows)(?:\.[a-z_]\w*)+")
PLACEHOLDER = re.compile(r"(?:\b|_)[A-Z]{3,}\b|\*")  # NAME, test_NAME


def read(name: str) -> str:
    """A document as one line, so that it may be wrapped anywhere."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def code_of(page: Path) -> str:
    """What a page shows as code, in blocks and in sentences."""
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in FILE.findall(code_of(page)):
        is_path = name.endswith("/") or "." in name  # anything else below the package may be a deployment or a model
        homes = [ROOT, ROOT / "zen_pipeline"] if is_path else [ROOT]
        if PLACEHOLDER.search(name) or not any((home / name.partition("/")[0]).is_dir() for home in homes):
            continue  # a pattern, or somebody else's
        assert any((home / name).exists() for home in homes), f"{page.name} names {name}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_are_named_exist(page: Path) -> None:
    for name in MODULE.findall(code_of(page)):
        path = ROOT.joinpath(*name.split("."))
        places = [path, path.with_suffix(".py"), path.parent.with_suffix(".py")]  # a package, a module, a name in one
        assert any(place.exists() for place in places), f"{page.name} names {name}, which does not exist"


def test_both_readmes_lead_to_the_same_pages() -> None:
    english, chinese = (
        {link for link in LINK.findall(read(name)) if not link.startswith("#")}
        for name in ("README.md", "README.zh.md")
    )
    assert english - {"README.zh.md"} == chinese - {"README.md"}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_rows(name: str) -> None:
    task = load_task(name)
    assert f"| `NAME-{task.model}`" in read("docs/models.md")
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {task.model} \|.*\| {task.metric.seed_noise:g} \|$", page, re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_map_has_every_package(page: str) -> None:
    packages = {f"`{path.parent.name}/`" for path in ROOT.glob("zen_pipeline/*/__init__.py")}
    assert not [name for name in packages if name not in read(page)]


def _exit_codes(kind: type[errors.ZenError]) -> Iterator[int]:
    yield kind.exit_code
    for inner in kind.__subclasses__():
        yield from _exit_codes(inner)


def test_every_exit_code_is_listed() -> None:
    page = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    listed = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for n in row.split(",")}
    assert listed == {0, *_exit_codes(errors.ZenError), 128 + 2, 128 + 15}  # 128 + SIGINT, 128 + SIGTERM


def test_limits_and_thresholds_are_those_of_the_code() -> None:
    using, embeddings = read("docs/using.md"), read("docs/embeddings.md")
    assert f"fewer than {FEWEST_WORDS:,} words, or of fewer than {FEWEST_DISTINCT} different ones" in using
    assert f"there must be {FEWEST_WORDS:,} of them, and {FEWEST_DISTINCT} different ones" in embeddings
    assert f"vocabularies up to {MAX_VOCABULARY:,}" in embeddings
    least, most = evaluation_for(0.0, 1.0), evaluation_for(1e9, 1e9)
    assert f"between {least.test_tokens:,} and a million" in read("docs/evaluation.md")
    assert f"between {least.questions} and {most.questions}" in read("docs/evaluation.md")
