"""What models say while they are trained, one way for each kind of data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.test_worker_families import JOBS
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer, copy_tokenizer_files
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.tasks.chat_markup import chat_format, write_template
from zen_pipeline.training.data import save_conversations
from zen_pipeline.training.initial import initial_model
from zen_pipeline.training.job import ConversationData, TrainingJob
from zen_pipeline.training.sources import load_objective, open_source

MakeJob = Callable[..., TrainingJob]


def said(job: TrainingJob) -> list[Sample]:
    """Samples of an untrained model, which leave every random state as it was."""
    say = load_objective(job.task).say(job, open_source(job), Tokenizer.load(Path(str(job.tokenizer))))
    assert say is not None
    model = initial_model(job).eval()
    before = torch.get_rng_state()
    first = say(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert say(model) == first
    return first


def test_documents_are_continued(make_job: MakeJob, tokens_folder: Path) -> None:
    samples = said(make_job())
    valid = (tokens_folder / "valid.bin").read_bytes()
    tokenizer = Tokenizer.load(tokens_folder / "tokenizer")
    for sample in samples:
        assert sample.text
        assert sample.prompt
    first = [int.from_bytes(valid[place : place + 2], "little") for place in range(0, 2 * 16, 2)]
    assert samples[0].prompt == tokenizer.decode(first)


def test_masks_are_filled_in(make_job: MakeJob, tokens_folder: Path, tmp_path: Path) -> None:
    (sample,) = said(JOBS["bert"](make_job, tokens_folder, tmp_path))
    assert "[MASK]" in sample.prompt
    assert "[MASK]" not in sample.reference
    kept = [part for part in sample.prompt.split("[MASK]") if len(part) > 8]
    assert kept
    assert any(part in sample.text and part in sample.reference for part in kept)


@pytest.mark.parametrize("family", ["marian", "spans"])
def test_sources_are_translated(family: str, make_job: MakeJob, tokens_folder: Path, tmp_path: Path) -> None:
    samples = said(JOBS[family](make_job, tokens_folder, tmp_path))
    assert all(sample.reference for sample in samples)
    if family == "marian":
        assert [(s.prompt, s.reference) for s in samples] == [("one one", "un un"), ("one two", "deux un")]
    else:
        assert "[0]" in samples[0].prompt
        assert samples[0].reference.startswith("[0]")


def test_questions_are_answered(make_job: MakeJob, tokens_folder: Path, tmp_path: Path) -> None:
    copy_tokenizer_files(tokens_folder / "tokenizer", tmp_path)
    write_template(tmp_path)
    chat = chat_format(tmp_path)
    messages = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "It is."}]
    path = tmp_path / "c.safetensors"
    save_conversations(path, [chat.render(messages)], context=60)
    data = ConversationData(train=str(path), valid=str(path))
    (sample,) = said(make_job(task="chat", data=data, tokenizer=str(tmp_path)))
    assert "Is it?" in sample.prompt
    assert "It is." not in sample.prompt
    assert sample.reference == "It is."
