"""The programs that `pretraining.py` measures, each in a process of its own: `python benchmarks/peers.py CASE`.

CASE is a `Case` as a JSON list. A line of JSON says when a step has ended, the last one how much memory was held.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from zen_pipeline.training.job import Schedule, TokenData

SEED = 0
SCHEDULE = Schedule(
    learning_rate=0.02,
    embedding_learning_rate=0.005,
    weight_decay=0.1,
    warmup=0.02,
    cooldown=0.5,
    gradient_clip=1.0,
)


class Case(NamedTuple):
    """One program on one shape; sizes in tokens and sequences."""

    program: str
    family: str
    precision: str
    tokens: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    batch: int
    micro_batch: int
    steps: int
    threads: int
    tracked: bool
    nanogpt: str
    gelu: str = "gelu"
    workers: int = 1

    def fields(self) -> dict[str, Any]:
        """The fields of our family's config: heads of width / heads, a feed-forward layer of the dial's size."""
        from zen_pipeline.training.resolved import Shape
        from zen_pipeline.training.rules import model_fields

        shape = Shape(
            hidden_size=self.width,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.width // self.heads,
            intermediate_size=4 * self.width if self.family == "gpt2" else round(self.width * 8 / 3 / 32) * 32,
            context_length=self.context,
            tie_embeddings=self.family == "gpt2",
        )
        fields = model_fields(shape, self.vocabulary, self.family)  # type: ignore[arg-type]
        return {**fields, "activation_function": self.gelu} if self.family == "gpt2" else fields

    def config(self) -> Any:
        """Our family's config."""
        from zen_pipeline.models.families import CONFIGS

        return CONFIGS[self.family].model_validate(self.fields())  # type: ignore[index]

    def windows(self) -> Any:
        """The windows of tokens that all programs train on."""
        from zen_pipeline.training.data import TokenWindows

        data = TokenData(folder=self.tokens)
        return TokenWindows(data, context=self.context, batch=self.batch, seed=SEED, micro=self.micro_batch)

    @property
    def autocast(self) -> Any:
        """What a forward pass is run in."""
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")


def say(**figures: float) -> None:
    """Tell the parent."""
    print(json.dumps(figures), flush=True)


def run_peak(_: Case) -> None:
    """Measure matrix products."""
    import torch

    from zen_pipeline.machine.speed import matmul_gflops

    say(fp32=matmul_gflops(torch.float32, "cpu"), bf16=matmul_gflops(torch.bfloat16, "cpu"))


def run_bare(case: Case) -> None:
    """Our model, data and arithmetic of a step, without Lightning."""
    import torch

    from zen_pipeline.models.families import new_model
    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.replicas import Replicas
    from zen_pipeline.training.step import orthogonalization_dtype

    model, windows = new_model(case.config(), seed=SEED).train(), case.windows()
    replicas = Replicas(model, workers=case.workers, threads=case.threads, bf16=case.precision == "bf16")
    optimizer: torch.optim.Optimizer
    if case.program == "bare":
        dtype = orthogonalization_dtype(case.precision, torch.device("cpu"))
        optimizer = build_optimizer(model, SCHEDULE, orthogonalize_in=dtype)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    for step in range(case.steps):
        optimizer.zero_grad()
        replicas.accumulate_gradients(windows.batch(step), micro_batch=case.micro_batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        say(step=step + 1)


def run_transformers(case: Case) -> None:
    """`Trainer` with its defaults."""
    import transformers
    from torch import Tensor
    from torch.utils.data import Dataset

    windows = case.windows()

    class Windows(Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return case.batch * case.steps

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            ids = windows.batch(index // case.batch).input_ids[index % case.batch]
            return {"input_ids": ids, "labels": ids}  # the model shifts them

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            say(step=state.global_step)

    fields = {**case.config().to_hugging_face(), "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    config = transformers.AutoConfig.for_model(**fields)
    with TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            per_device_train_batch_size=case.micro_batch,
            gradient_accumulation_steps=case.batch // case.micro_batch,
            max_steps=case.steps,
            bf16=case.precision == "bf16",
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
        )
        model = transformers.AutoModelForCausalLM.from_config(config)
        trainer = transformers.Trainer(model, arguments, train_dataset=Windows(), callbacks=[Clock()])
        trainer.train()


def run_litgpt(case: Case) -> None:
    """The loop of `litgpt pretrain`: bf16-mixed is autocast around the model, and the loss is taken in pieces."""
    import torch
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    ours = case.config()
    config = Config(
        n_layer=case.layers,
        n_embd=case.width,
        n_head=case.heads,
        n_query_groups=case.heads,
        head_size=ours.head_dim,
        block_size=case.context,
        vocab_size=case.vocabulary,
        padded_vocab_size=case.vocabulary,
        intermediate_size=ours.intermediate_size,
        norm_class_name="RMSNorm",
        norm_eps=ours.rms_norm_eps,
        norm_qk=True,
        mlp_class_name="LLaMAMLP",
        rotary_percentage=1.0,
        rope_base=int(ours.rope_theta),
        parallel_residual=False,
        bias=False,
    )
    model = GPT(config)

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with case.autocast:
            logits = model(inputs)
        return chunked_cross_entropy(logits.float(), targets)

    plain_loop(case, model, torch.optim.AdamW(model.parameters()), loss)


def run_nanogpt(case: Case) -> None:
    """The loop of nanoGPT's train.py with its model and optimizer."""
    import torch

    sys.path.insert(0, case.nanogpt)
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    model = GPT(
        GPTConfig(
            block_size=case.context,
            vocab_size=case.vocabulary,
            n_layer=case.layers,
            n_head=case.heads,
            n_embd=case.width,
            dropout=0.0,
            bias=True,
        )
    )

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with case.autocast:
            result: torch.Tensor = model(inputs, targets)[1]
        return result

    plain_loop(case, model, model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu"), loss)


def plain_loop(case: Case, model: Any, optimizer: Any, loss: Callable[..., Any]) -> None:
    """Accumulate, clip, step."""
    import torch

    windows, parts = case.windows(), case.batch // case.micro_batch
    for step in range(case.steps):
        batch = windows.batch(step)
        pairs = zip(batch.input_ids.split(case.micro_batch), batch.targets.split(case.micro_batch), strict=True)
        for inputs, targets in pairs:
            (loss(inputs, targets) / parts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        say(step=step + 1)


RUNS: dict[str, Callable[[Case], None]] = {
    "peak": run_peak,
    "bare": run_bare,
    "bare-adamw": run_bare,
    "transformers": run_transformers,
    "litgpt": run_litgpt,
    "nanogpt": run_nanogpt,
}


def main() -> None:
    import torch

    from zen_pipeline.machine import peak_memory

    case = Case(*json.loads(sys.argv[1]))
    torch.set_num_threads(case.threads)
    torch.manual_seed(SEED)
    RUNS[case.program](case)
    say(memory=peak_memory())


if __name__ == "__main__":
    main()
