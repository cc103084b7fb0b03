"""What is counted of a training: its floating-point operations and their share of what the machine can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from zen_pipeline.family_specs import FAMILIES, Structure
from zen_pipeline.models.families import MODELS, flops_per_token
from zen_pipeline.training.data import IGNORED, Batch
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.resolved import Shape
from zen_pipeline.training.rules import model_config
from zen_pipeline.training.step import accumulate_gradients
from zen_pipeline.training.telemetry import peak_of_all, step_flops

ROWS, LENGTH, SOURCE, WIDTH, LAYERS = 2, 24, 40, 64, 2
EXACT = [name for name, spec in FAMILIES.items() if spec.structure != "encoder"]  # whose head reads all targets


def shape(*, tied: bool = True) -> Shape:
    return Shape(
        hidden_size=WIDTH, layers=LAYERS, heads=2, kv_heads=2, head_dim=32, intermediate_size=96, context_length=64,
        tie_embeddings=tied,
    )  # fmt: skip


def batch_of(structure: Structure) -> Batch:
    """Every second target is asked for, up to the last one; sources are longer than targets."""
    ids = torch.randint(0, 100, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    targets = torch.where(torch.arange(LENGTH) % 2 == 1, ids, IGNORED)
    if structure == "encoder-decoder":
        sources = torch.randint(0, 100, (ROWS, SOURCE), generator=torch.Generator().manual_seed(1))
        return Batch(0, ids, ids, source_ids=sources, source_mask=torch.ones_like(sources, dtype=torch.bool))
    return Batch(0, ids, targets, bidirectional=structure == "encoder")


def attention(structure: Structure) -> float:
    """12 FLOPs for each layer, dimension, query and key that it may look at, forward and backward."""
    causal = LENGTH * (LENGTH + 1) / 2
    pairs = {
        "encoder": LAYERS * LENGTH * LENGTH,
        "encoder-decoder": LAYERS / 2 * (SOURCE * SOURCE + causal + LENGTH * SOURCE),
    }
    return 12.0 * WIDTH * ROWS * pairs.get(structure, LAYERS * causal)


@pytest.mark.parametrize("family", EXACT)
def test_the_flops_of_a_step_are_those_that_torch_counts(family: str) -> None:
    config = model_config(shape(), 100, family)
    structure = FAMILIES[family].structure
    model, batch = MODELS[family][0](config, seed=0), batch_of(structure)
    with FlopCounterMode(display=False) as counter:
        accumulate_gradients(model, batch, micro_batch=ROWS)
    products = sum(flops for op, flops in counter.get_flop_counts()["Global"].items() if "mm" in str(op))
    assert step_flops(model, batch) == pytest.approx(products + attention(structure), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_looking_up_an_embedding_is_no_flop_and_attention_is(family: str) -> None:
    structure = FAMILIES[family].structure
    tied = structure == "encoder-decoder"  # which have no other form
    small, large = (model_config(shape(tied=tied), size, family) for size in (1000, 3000))
    asked = 0.15 if structure == "encoder" else 1.0  # of the positions, for which the head is needed
    assert flops_per_token(large, 64) - flops_per_token(small, 64) == pytest.approx(6 * asked * WIDTH * 2000)
    growth = flops_per_token(small, 64) - flops_per_token(small, 32)
    keys = {"encoder": LAYERS * 32, "encoder-decoder": LAYERS / 2 * (32 + 16 + 32)}
    assert growth == 12 * WIDTH * keys.get(structure, LAYERS * 16)


def test_the_peak_is_that_of_all_devices(make_job: Callable[..., TrainingJob]) -> None:
    assert peak_of_all(make_job(), gpu=True) is None
    measured = {"peak_flops": 1e11}
    assert peak_of_all(make_job(**measured, devices=3), gpu=True) == 3e11
    assert peak_of_all(make_job(**measured, devices=2, threads=2), gpu=False) == 1e11  # they share the threads
    assert peak_of_all(make_job(**measured, devices=2, threads=1), gpu=False) == 2e11
