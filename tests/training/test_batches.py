from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from zen_pipeline.errors import DataError
from zen_pipeline.training.data import (
    IGNORED,
    StepLoader,
    TokenWindows,
    load_conversations,
    micro_batches,
    save_conversations,
)
from zen_pipeline.training.job import ConversationData, TokenData, TrainingJob
from zen_pipeline.training.sources import open_source


def windows(folder: Path, tokens: int, *, context: int = 8, batch: int = 3, seed: int = 0) -> TokenWindows:
    np.save(folder / "token_bytes.npy", np.ones(60_000, np.int32))
    (folder / "shards.json").write_text('{"dtype": "<u2"}')
    for split, count in (("train", tokens), ("valid", 100)):
        np.arange(count, dtype="<u2").tofile(folder / f"{split}.bin")
        np.save(folder / f"{split}.offsets.npy", np.array([0, count]))
        np.save(folder / f"{split}.bytes.npy", np.array([count]))
    return TokenWindows(TokenData(folder=str(folder)), context=context, batch=batch, seed=seed, micro=2)


def test_targets_are_the_tokens_that_follow(tmp_path: Path) -> None:
    batch = windows(tmp_path, 1000).batch(5)
    assert batch.input_ids.shape == batch.targets.shape == (3, 8)
    assert torch.equal(batch.targets, batch.input_ids + 1)


def test_an_epoch_has_each_target_once_and_loses_less_than_two_contexts(tmp_path: Path) -> None:
    source = windows(tmp_path, 1000, batch=1)
    count = (1000 - 1) // 8 - 1
    for epoch in range(3):
        seen = torch.cat([source.batch(epoch * count + i).targets.flatten() for i in range(count)])
        assert sorted(seen.tolist()) == list(source.epoch_targets(epoch))
        assert len(seen) > 1000 - 1 - 2 * 8


def test_epochs_differ_in_order_and_offset(tmp_path: Path) -> None:
    source = windows(tmp_path, 1000, batch=1)
    count = (1000 - 1) // 8 - 1
    starts = [{int(source.batch(e * count + i).input_ids[0, 0]) % 8 for i in range(count)} for e in range(4)]
    assert all(len(offsets) == 1 for offsets in starts)
    assert len(set().union(*starts)) > 1


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    source = windows(tmp_path, 1000)
    forward = [source.batch(step) for step in range(60)]
    again = windows(tmp_path, 1000)
    for step in (59, 0, 41, 40):  # any order, across the epoch's end
        assert torch.equal(again.batch(step).input_ids, forward[step].input_ids)
    assert not torch.equal(windows(tmp_path, 1000, seed=1).batch(0).input_ids, forward[0].input_ids)


@pytest.mark.parametrize("tokens", [9, 10, 16, 17, 18, 25])
def test_a_corpus_of_hardly_more_than_one_context_is_enough(tmp_path: Path, tokens: int) -> None:
    source = windows(tmp_path, tokens, batch=2)
    for step in range(20):
        batch = source.batch(step)
        assert torch.equal(batch.targets, batch.input_ids + 1)
        assert int(batch.targets.max()) < tokens


def test_a_corpus_smaller_than_one_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 8 tokens, less than one sequence of 8 and .*context_length"):
        windows(tmp_path, 8)


def test_validation_windows_do_not_overlap_and_stay_the_same(tmp_path: Path) -> None:
    source = windows(tmp_path, 1000)
    seen = torch.cat([batch.targets.flatten() for batch in source.validation()])
    assert len(seen) == len(seen.unique()) == 96
    assert torch.equal(seen, torch.cat([batch.targets.flatten() for batch in source.validation()]))


def conversations(path: Path) -> dict[str, int]:
    return save_conversations(
        path,
        [
            ([5, 6, 7, 8, 9], [False, False, True, True, False]),
            ([1, 2, 3], [False, False, False]),
            ([10, 11, 12, 13, 14, 15, 16, 17], [False] * 5 + [True] * 3),
        ],
        context=6,
    )


def test_conversations_supervise_the_answer_only(tmp_path: Path) -> None:
    counts = conversations(tmp_path / "c.safetensors")
    assert counts == {"kept": 2, "cut": 1, "left_out": 1, "tokens": 10, "supervised_tokens": 4}
    input_ids, targets = load_conversations(tmp_path / "c.safetensors")
    assert targets.tolist()[0] == [IGNORED, 7, 8, IGNORED, IGNORED, IGNORED]
    assert input_ids.tolist()[0][:4] == [5, 6, 7, 8]
    assert targets.tolist()[1] == [IGNORED] * 4 + [15, 16]


def test_nothing_to_supervise_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="supervised token within 4 tokens"):
        save_conversations(tmp_path / "c.safetensors", [([1, 2], [True, False])], context=4)


def test_micro_batches_are_cut_to_their_last_target(tmp_path: Path, make_job: Callable[..., TrainingJob]) -> None:
    path = tmp_path / "c.safetensors"
    conversations(path)
    data = ConversationData(train=str(path), valid=str(path))
    source = open_source(make_job(data=data, batch=2, micro_batch=1))
    lengths = [part.input_ids.shape[1] for part in micro_batches(source.batch(0), 1)]
    assert lengths == [3, 6]
    assert sum(int((b.targets != IGNORED).sum()) for b in source.validation()) == 4


def test_even_shares_add_a_sequence_without_targets(tmp_path: Path) -> None:
    batch = windows(tmp_path, 1000, batch=5).batch(0)
    uneven, even = ([batch.share(rank, 3, even=even) for rank in range(3)] for even in (False, True))
    assert [len(share.targets) for share in uneven] == [2, 2, 1]
    assert [len(share.targets) for share in even] == [2, 2, 2]
    assert [share.supervised for share in even] == [share.supervised for share in uneven]
    assert torch.equal(even[2].targets[:1], uneven[2].targets)


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"x\.safetensors is not a file of conversations"):
        load_conversations(tmp_path / "x.safetensors")


def test_the_loader_goes_on_after_the_finished_steps_not_after_those_handed_out(tmp_path: Path) -> None:
    source = windows(tmp_path, 1000)
    finished = 0
    loader = StepLoader(source, 10, lambda: finished)
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    finished = 3
    again = StepLoader(source, 10, lambda: finished)
    again.load_state_dict(loader.state_dict())
    assert [batch.step for batch in again] == [3, 4, 5, 6, 7, 8, 9]
