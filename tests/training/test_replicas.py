from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from zen_pipeline.models.blocks import dropout, dropout_from
from zen_pipeline.models.families import CONFIGS, new_model
from zen_pipeline.training.data import IGNORED, Batch
from zen_pipeline.training.events import Stopped
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.replicas import Replicas, dealt, replica
from zen_pipeline.training.step import accumulate_gradients

MakeJob = Callable[..., TrainingJob]


def model_and_batch(job: TrainingJob, sequences: int = 7) -> tuple[torch.nn.Module, Batch]:
    model = new_model(CONFIGS["qwen3"].model_validate(job.model), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():  # the branches start at zero, and so would most gradients be
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    tokens = torch.randint(0, 400, (sequences, 65), generator=torch.Generator().manual_seed(2))
    targets = tokens[:, 1:].clone()
    targets[1, 10:] = IGNORED
    return model, Batch(0, tokens[:, :-1].contiguous(), targets)


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_replicas_side_by_side_give_the_gradients_of_one_model(make_job: MakeJob, workers: int) -> None:
    model, batch = model_and_batch(make_job())
    wanted_loss, wanted_supervised = accumulate_gradients(model, batch, micro_batch=2)
    wanted = gradients(model)
    side_by_side = Replicas(model, workers=workers, threads=2, bf16=False)
    found = []
    for _ in range(2):
        loss, supervised = side_by_side.accumulate_gradients(batch, micro_batch=2)
        assert supervised == wanted_supervised
        assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-6)
        found.append(gradients(model))
    for first, again, right in zip(*found, wanted, strict=True):
        assert torch.equal(first, again)
        torch.testing.assert_close(first, right, rtol=1e-4, atol=1e-6)


def test_a_replica_follows_the_weights_of_its_model(make_job: MakeJob) -> None:
    model, _ = model_and_batch(make_job())
    copied = replica(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    for own, shared in zip(copied.parameters(), model.parameters(), strict=True):
        assert own.data_ptr() == shared.data_ptr()
        assert torch.equal(own, shared)


def test_a_stop_waits_for_the_other_threads(make_job: MakeJob) -> None:
    model, batch = model_and_batch(make_job())
    side_by_side = Replicas(model, workers=2, threads=2, bf16=True)
    side_by_side.accumulate_gradients(batch, micro_batch=1)
    busy = threading.active_count()

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        side_by_side.accumulate_gradients(batch, micro_batch=1, between=stop)
    assert side_by_side._cores._pool._work_queue.empty()
    assert threading.active_count() == busy


def test_an_error_in_another_thread_is_the_steps_error(make_job: MakeJob) -> None:
    model, batch = model_and_batch(make_job())
    batch.input_ids[3] = 400  # no such token: the second micro-batch, so the second thread
    with pytest.raises(IndexError):
        Replicas(model, workers=2, threads=2, bf16=False).accumulate_gradients(batch, micro_batch=2)


def test_dropout_is_the_same_for_the_same_seed_however_many_work(make_job: MakeJob) -> None:
    model, batch = model_and_batch(make_job())
    shape = {"vocab_size": 400, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.2}
    model = new_model(CONFIGS["gpt2"].model_validate(shape), seed=3).train()

    def found(workers: int, seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        Replicas(model, workers=workers, threads=2, bf16=False).accumulate_gradients(batch, micro_batch=1)
        return gradients(model)

    first = found(2, seed=5)
    assert all(map(torch.equal, first, found(2, seed=5)))
    assert not all(map(torch.equal, first, found(2, seed=6)))
    for one, other in zip(first, found(3, seed=5), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_every_worker_gets_about_as_much_of_parts_that_become_longer() -> None:
    assert dealt([1, 2, 3, 4], 2) == [[1, 4], [2, 3]]
    assert dealt([1, 2, 3, 4, 5], 2) == [[1, 4, 5], [2, 3]]
    assert dealt([1, 2], 3) == [[1], [2], []]


def test_dropout_keeps_the_mean_and_is_off_outside_training() -> None:
    ones = torch.ones(100_000)
    with dropout_from(torch.Generator().manual_seed(1)):
        dropped = dropout(ones, 0.25, training=True)
        assert dropout(ones, 0.25, training=False) is ones
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
