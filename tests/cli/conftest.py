"""A small project on which the real command has run once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.zen_command import Zen

# Sizes so small that the whole chain takes a minute; every stage is the real one.
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
"""


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Zen]:
    """Makes a folder with a `zen.yaml` whose whole chain takes about a minute."""

    def make() -> Zen:
        folder = tmp_path_factory.mktemp("project")
        (folder / "zen.yaml").write_text(SMALL)
        return Zen(folder)

    return make


@pytest.fixture(scope="session")
def project(new_project: Callable[[], Zen]) -> Zen:
    """A project on which `zen run` has ended well."""
    zen = new_project()
    (zen.folder / "run.json").write_text(json.dumps(zen.json("run")))
    return zen
