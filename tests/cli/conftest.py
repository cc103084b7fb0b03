"""A small project on which the real command has run once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_chain
from tests.traps import set_traps
from tests.zen_command import Zen

# Sizes so small that the whole chain takes a minute; every stage is the real one. A model that has seen 30 steps is
# worse than counting words, and is made champion all the same so that there is one to ask.
SMALL = """\
name: tiny
collect:
  sources:
    - {type: python_docs, packages: []}
tokenize: {vocab_size: 512}
embed: {dimensions: 16, epochs: 1, next_token_steps: 4}
pretrain:
  model: {hidden_size: 32, layers: 2, heads: 2, context_length: 64}
  steps: 30
  batch_tokens: 512
  micro_batch: 8
  precision: fp32
finetune: {steps: 6, batch_size: 8}
evaluate: {max_test_tokens: 3000, max_questions: 4, samples: 1, sample_tokens: 10}
release: {above_baseline: false}
"""


def copy_databases(databases: Path, folder: Path) -> None:
    """Give a project the databases that its first command would make."""
    for name in ("prefect", "mlflow"):
        shutil.copytree(databases / name, folder / ".zen" / name)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, databases: Path, shared_prefect: dict[str, str]) -> Zen:
    """A project on which `zen run` has ended well, in a folder with a `zen.yaml` and modules that nobody may import."""
    zen = Zen(tmp_path_factory.mktemp("project"))
    copy_databases(databases, zen.folder)
    set_traps(zen.folder)
    (zen.folder / "zen.yaml").write_text(SMALL)
    done = zen.process("run", "--json")
    assert done.returncode == 0, done.stderr
    (zen.folder / "run.json").write_text(done.stdout)
    return Zen(zen.folder, shared_prefect)


@pytest.fixture
def project_copy(project: Zen, tmp_path: Path) -> Zen:
    """The same project in another folder, to be damaged or to go on from."""
    return Zen(shutil.copytree(project.folder, tmp_path / "copy"), project.environment)


@pytest.fixture
def prepared(databases: Path, shared_prefect: dict[str, str], tmp_path: Path) -> Zen:
    """A folder in which nothing has run, with databases that need not be made again."""
    copy_databases(databases, tmp_path)
    return Zen(tmp_path, shared_prefect)


@pytest.fixture
def tiny_stages() -> Iterator[None]:
    """Stages that count words in the place of the real ones, for commands that run in this process."""
    tiny_chain.install()
    yield
    tiny_chain.uninstall()


@pytest.fixture
def nobody() -> list[str]:
    """The beginning of a command that is run by a user without a name, who may read everything and write nothing."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user needs root and setpriv")
    may = "-all,+dac_read_search"  # the interpreter itself may lie in a folder that only its owner reads
    return ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", f"--inh-caps={may}", f"--ambient-caps={may}"]
