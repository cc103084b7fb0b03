from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zen_pipeline.errors import ConfigError
from zen_pipeline.machine.speed import timed, undisturbed
from zen_pipeline.models.families import flops_per_token, num_parameters
from zen_pipeline.models.folder import save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.settings.models import ModelShape
from zen_pipeline.training.dial import CONVERSATION_TOKENS, FINETUNE_BATCH, Case, Request, Resolved, Speed, choose
from zen_pipeline.training.job import Precision
from zen_pipeline.training.measure import measure, measure_and_choose
from zen_pipeline.training.resolved import Gpu
from zen_pipeline.training.rules import (
    evaluation_for,
    memory_bytes_for,
    micro_tokens_for,
    model_config,
    tokens_per_parameter,
    works_side_by_side,
    worth_of_tokens,
)

SMALL = Qwen3Config(
    vocab_size=700,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=3,
    num_key_value_heads=1,
    head_dim=16,
    intermediate_size=100,
    max_position_embeddings=128,
)


def machine(flops: float) -> Any:
    """A machine of so many FLOP/s that is twice as fast in bf16, on two cores, and by half side by side."""

    def speed(config: Qwen3Config, case: Case, micro_batch: int) -> Speed:
        factor = (2.0 if case.precision == "bf16" else 1.0) * case.threads / 4 * (1.5 if case.workers > 1 else 1.0)
        return Speed(flops * factor / flops_per_token(config, config.max_position_embeddings), 0.02)

    return speed


def resolve(budget: str, flops: float = 2e11, train_bytes: int = 20_000_000, **settings: Any) -> Resolved:
    request = Request(budget=budget, train_bytes=train_bytes, cores=2, **settings)
    return choose(request, machine(flops))


def test_four_minutes_on_two_cores_give_a_model_of_a_few_million_parameters() -> None:
    found = resolve("4m")
    assert 2e6 < found.parameters < 6e6
    assert (found.precision, found.threads, found.workers) == ("bf16", 2, 2)
    assert found.vocab_size == 4096
    assert found.model.context_length == 256
    assert 2048 <= found.batch_tokens <= 8192
    estimates = found.estimates
    left = 240 - estimates["preparation_seconds"]
    assert estimates["pretrain_seconds"] == pytest.approx(0.85 * left, rel=0.05)
    assert estimates["finetune_seconds"] == pytest.approx(0.15 * left, rel=0.15)


@pytest.mark.parametrize(("budget", "seconds"), [("3m", 180), ("10m", 600), ("1h", 3600)])
@pytest.mark.parametrize("finetuning", [True, False])
def test_the_predicted_time_is_the_budget(budget: str, seconds: float, finetuning: bool) -> None:
    found = resolve(budget, train_bytes=40_000_000, finetuning=finetuning, spent_seconds=10.0)
    parts = ("preparation_seconds", "pretrain_seconds", "finetune_seconds")
    assert sum(found.estimates[part] for part in parts) == pytest.approx(seconds, rel=0.05)
    assert found.estimates["preparation_seconds"] > 10


def test_a_precision_whose_products_are_slow_is_not_timed() -> None:
    request = Request(budget="4m", train_bytes=20_000_000, cores=2)
    products: dict[Precision, float] = {"fp32": 90e9, "bf16": 1e9}
    timed: list[Precision] = []

    def measure(config: Qwen3Config, case: Case, micro_batch: int) -> Speed:
        timed.append(case.precision)
        return Speed(10_000, 0.02)

    found = choose(request, measure, product=products.__getitem__)
    assert set(timed) == {"fp32"}
    assert found.precision == "fp32"
    assert "matrix products reach 90 GFLOP/s in fp32 and 1 in bf16" in found.reasons


def test_a_machine_with_slow_products_is_given_longer_before_training() -> None:
    request = Request(budget="10m", train_bytes=20_000_000, cores=2, finetuning=False)
    usual, slow = (
        choose(request, machine(2e11), product=lambda _, flops=flops: flops).estimates for flops in (390e9, 130e9)
    )
    ratio = slow["preparation_seconds"] / usual["preparation_seconds"]
    assert 1.4 < ratio < 1.7
    assert slow["preparation_seconds"] + slow["pretrain_seconds"] == pytest.approx(600, rel=0.02)


def test_the_first_vectors_on_a_machine_are_given_time_to_compile() -> None:
    first, later = (resolve("5m", compiling=compiling).estimates for compiling in (True, False))
    assert first["preparation_seconds"] > later["preparation_seconds"] + 10


def test_training_gets_half_of_a_budget_however_long_the_data_took() -> None:
    found = resolve("2m", spent_seconds=600.0, finetuning=False)
    assert found.estimates["pretrain_seconds"] == pytest.approx(60, rel=0.05)
    assert any("half of the budget" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("batch_tokens", "workers", "micro"), [(256, 1, 1), (512, 2, 1), (2048, 2, 4), (4096, 2, 8), (8192, 2, 8)]
)
def test_every_worker_has_something_to_do(batch_tokens: int, workers: int, micro: int) -> None:
    found = resolve("4m", batch_tokens=batch_tokens)
    assert (found.workers, found.micro_batch) == (workers, micro)


def test_more_workers_than_conversations_of_a_step_take_one_each() -> None:
    request = Request(budget="2h", train_bytes=10**10, cores=64, batch_tokens=1 << 17)
    found = choose(request, lambda _, case, __: Speed(1e4 * case.workers, 0.02))
    assert found.workers == 64 > FINETUNE_BATCH
    assert found.finetune.micro_batch == 1


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_timed_once_in_the_precision_that_it_is_made_for(bf16: bool, precision: Precision) -> None:
    request = Request(budget="10m", train_bytes=10**10, cores=16, batch_tokens=1 << 18)
    timed: list[tuple[Case, int]] = []

    def measure(config: Qwen3Config, case: Case, micro_batch: int) -> Speed:
        timed.append((case, micro_batch * config.max_position_embeddings))
        return Speed(4e5 if case.precision == "fp32" else 3e5, 0.02)  # float32 may win with so small a model

    found = choose(request, measure, gpu=Gpu(80 << 30, bf16))
    assert timed == [(Case(precision, 16), 1 << 15)] * 2  # a model of middling size and the chosen one
    assert (found.precision, found.workers) == (precision, 1)
    assert any(f"So {precision} on the GPU, " in reason for reason in found.reasons)
    assert not any("core" in reason for reason in found.reasons)
    given = choose(request.model_copy(update={"precision": "fp32"}), measure, gpu=Gpu(80 << 30, bf16))
    assert given.precision == "fp32"


@pytest.mark.parametrize("memory", [2 << 30, 4 << 30, 16 << 30])
def test_a_forward_pass_leaves_some_of_a_gpus_memory(memory: int) -> None:
    config = model_config(resolve("4m").model, 4096)
    context = config.max_position_embeddings
    tokens = micro_tokens_for(config, context, Gpu(memory, bf16=True))
    assert micro_tokens_for(config, context, None) <= tokens <= 1 << 15
    assert memory_bytes_for(config, tokens // context, context) <= 0.6 * memory
    assert tokens == 1 << 15 or memory_bytes_for(config, 2 * tokens // context, context) > 0.6 * memory


def test_several_processes_and_dropout_inside_attention_rule_out_workers() -> None:
    assert resolve("4m", family="marian").workers == 2
    assert resolve("4m", side_by_side=False).workers == 1
    bert = model_config(resolve("4m", family="bert").model, 400, "bert")
    assert works_side_by_side(bert)
    assert not works_side_by_side(bert.model_copy(update={"attention_probs_dropout_prob": 0.1}))


@pytest.mark.parametrize(
    ("clock", "processor", "waits", "threads", "expected"),
    [
        (1.0, 2.0, 0.0, 2, 1.0),
        (1.0, 0.5, 0.0, 16, 1.0),  # threads that sleep most of the time are nobody's fault
        (17.0, 2.0, 32.0, 2, 1.0),
        (2.0, 2.0, 1.0, 2, 1.0),  # one of two threads had half a core
        (3.0, 0.8, 2.0, 1, 1.0),
        (3.0, 1.0, None, 1, 1.0),
        (3.0, 1.0, None, 2, 3.0),
    ],
)
def test_time_that_others_took_is_not_counted(
    clock: float, processor: float, waits: float | None, threads: int, expected: float
) -> None:
    assert undisturbed(clock, processor, waits, threads) == pytest.approx(expected)


def test_work_takes_as_long_beside_other_programs() -> None:
    def work() -> None:
        sum(range(3_000_000))

    quiet = min(timed(work, "cpu", 1).seconds for _ in range(3))
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        beside = [timed(work, "cpu", 1) for _ in range(3)]
    finally:
        for process in spin:
            process.kill()
            process.wait()
    assert min(each.seconds for each in beside) < 1.7 * quiet


def test_a_busy_machine_is_named() -> None:
    def busy(config: Qwen3Config, case: Case, micro_batch: int) -> Speed:
        return machine(2e11)(config, case, micro_batch)._replace(waited=4.0)  # type: ignore[no-any-return]

    asked: dict[str, Any] = {"budget": "4m", "train_bytes": 20_000_000, "cores": 2}
    found = choose(Request(**asked), busy)
    assert any("4.0 times as long" in reason for reason in found.reasons)
    assert found.disturbed
    without_time: list[dict[str, Any]] = [{"budget": "1e6tokens"}, {"steps": 3}]
    for nothing_follows in without_time:
        assert not choose(Request(**{**asked, **nothing_follows}), busy).disturbed
    assert not any("times as long" in reason for reason in resolve("4m").reasons)


def test_measuring_afterwards_takes_a_share_of_the_training() -> None:
    short, usual, long = (resolve(budget, train_bytes=10**9).evaluation for budget in ("30s", "4m", "8h"))
    assert short.test_tokens < usual.test_tokens < long.test_tokens
    assert short.questions < usual.questions < long.questions
    assert short.int8_test_tokens < usual.int8_test_tokens <= long.int8_test_tokens
    assert evaluation_for(60.0, 1000.0).test_tokens < 0.2 * 60.0 * 1000.0  # tokens that would be trained on meanwhile


def test_more_time_gives_a_larger_model_and_more_tokens() -> None:
    found = [resolve(budget, train_bytes=10**12) for budget in ("1m", "10m", "2h", "24h")]
    assert [f.parameters for f in found] == sorted({f.parameters for f in found})
    assert [f.estimates["tokens"] for f in found] == sorted({f.estimates["tokens"] for f in found})


@pytest.mark.parametrize(("budget", "wanted"), [("1M", 1e6), ("5M", 5e6), ("30M", 30e6), ("350M", 350e6), ("1B", 1e9)])
def test_a_budget_in_parameters_is_met_within_a_third(budget: str, wanted: float) -> None:
    assert resolve(f"{budget}params", train_bytes=10**12).parameters == pytest.approx(wanted, rel=0.35)


def test_a_budget_in_tokens_is_met() -> None:
    found = resolve("3e8tokens", train_bytes=10**10)
    assert found.estimates["tokens"] == pytest.approx(3e8, rel=0.01)


def tuning_tokens(found: Resolved) -> int:
    return found.finetune.steps * FINETUNE_BATCH * CONVERSATION_TOKENS


@pytest.mark.parametrize("budget", ["3e5tokens", "3e8tokens", "1Mparams"])
def test_a_budget_that_is_no_time_gives_fine_tuning_its_share_of_the_tokens(budget: str) -> None:
    found = resolve(budget, train_bytes=10**10)
    assert tuning_tokens(found) == pytest.approx(found.estimates["tokens"] * 0.15 / 0.85, rel=0.05)


def test_a_budget_in_tokens_is_fine_tunings_where_there_is_no_pretraining(tmp_path: Path) -> None:
    save_model(Qwen3(SMALL), tmp_path)
    found = resolve("1e6tokens", init_from=str(tmp_path), pretraining=False)
    assert tuning_tokens(found) == pytest.approx(1e6, rel=0.01)
    assert found.estimates["tokens"] == 0


def test_what_is_set_is_taken() -> None:
    shape = ModelShape(hidden_size=96, layers=3, heads=4, kv_heads=2, intermediate_size=200, context_length=128)
    found = resolve("4m", model=shape, vocab_size=1000, steps=77, batch_tokens=1024, micro_batch=3, precision="fp32")
    assert found.model.model_dump(exclude={"head_dim", "tie_embeddings"}) == shape.model_dump(
        exclude={"tie_embeddings"}
    )
    assert found.model.head_dim == 24
    assert (found.vocab_size, found.steps, found.batch_tokens, found.micro_batch) == (1000, 77, 1024, 3)
    assert found.precision == "fp32"
    assert found.batch == 8


def test_a_small_corpus_gets_a_small_vocabulary_and_is_not_repeated_for_ever() -> None:
    found = resolve("2h", train_bytes=1_000_000)
    assert found.vocab_size == 2048
    assert found.estimates["epochs"] <= 16
    assert any("corpus is so small" in reason for reason in found.reasons)


def test_repeated_text_teaches_fewer_parameters() -> None:
    assert [worth_of_tokens(tokens, 100.0) for tokens in (50.0, 100.0)] == [50.0, 100.0]
    assert worth_of_tokens(400.0, 100.0) == pytest.approx(372.6, abs=0.1)  # computed by hand from the published formula
    assert worth_of_tokens(1e9, 100.0) == pytest.approx(1640.0)
    little, much = (resolve("12h", train_bytes=size) for size in (20_000_000, 2_000_000_000))
    assert little.parameters < much.parameters
    assert little.estimates["tokens"] > much.estimates["tokens"]
    assert any("are worth" in reason for reason in little.reasons)
    assert not any("are worth" in reason for reason in much.reasons)


def test_a_tiny_corpus_gets_a_short_context() -> None:
    assert resolve("1m", train_bytes=2000).model.context_length <= 64


def test_the_context_is_as_long_as_most_conversations_and_the_text_allow() -> None:
    def context(needed: int, size: int = 4_000_000, **own: Any) -> int:
        return resolve("4m", train_bytes=size, supervised_context=needed, **own).model.context_length

    assert context(0) == context(128) == 256
    assert context(512) == 512
    assert context(1 << 14) == 1024  # longer ones are left out, and named
    assert context(1024, size=6_000) == 512
    assert context(1024, model=ModelShape(context_length=64)) == 64


def test_sizes_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pretrain.model do not fit together.*multiple"):
        resolve("4m", model=ModelShape(kv_heads=97))


def test_a_given_model_fixes_the_shape(tmp_path: Path) -> None:
    save_model(Qwen3(SMALL), tmp_path)
    found = resolve("4m", init_from=str(tmp_path))
    assert model_config(found.model, found.vocab_size) == SMALL
    assert found.init_from
    assert found.parameters == num_parameters(SMALL)
    assert found.learning_rate < resolve("4m").learning_rate
    assert resolve("4m", init_from=str(tmp_path), pretraining=False).estimates["pretrain_seconds"] == 0
    with pytest.raises(ConfigError, match="is not a model folder"):
        resolve("4m", init_from=str(tmp_path / "absent"))


def test_tokens_per_parameter_grow_from_half_to_twenty() -> None:
    values = [tokens_per_parameter(10.0**e) for e in range(10, 26)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.5, 20.0)


@pytest.mark.usefixtures("traps")
def test_the_measurement_is_of_this_machine_and_says_so(tmp_path: Path) -> None:
    shape = ModelShape(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_length=32)
    request = Request(budget="1m", train_bytes=100_000, cores=2, model=shape, vocab_size=300, steps=5)
    told: list[int] = []
    found = measure_and_choose(request, tmp_path / "work", lambda done, _: told.append(done))
    assert found.steps == 5
    assert told == list(range(1, len(told) + 1))
    assert len(told) >= 4
    assert found.finetune.micro_batch == FINETUNE_BATCH // found.workers
    (measured,) = (reason for reason in found.reasons if reason.startswith("measured tokens/s"))
    assert all(case in measured for case in ("fp32 on 2 cores:", "on 1 core:", "2 micro-batches at a time:"))
    skipped = any(reason.startswith("matrix products reach") for reason in found.reasons)
    assert ("bf16 on 2 cores:" in measured) is not skipped
    with pytest.raises(ConfigError, match="is not a model folder"):
        measure_and_choose(request.model_copy(update={"init_from": str(tmp_path)}), tmp_path / "work")


def test_a_larger_model_is_measured_slower() -> None:
    small, large = (
        measure(model_config(resolve("1m", model=ModelShape(hidden_size=h, layers=2)).model, 512), Case("fp32", 1), 1)
        for h in (32, 512)
    )
    assert small.tokens_per_second > large.tokens_per_second
