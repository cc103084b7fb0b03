"""What the model says while it is being trained: a few texts at each validation, always from the same beginnings."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import torch
from torch.distributed.tensor import DTensor
from typing_extensions import override

from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.files import read_json_lines
from zen_pipeline.inference.generate import generate
from zen_pipeline.inference.translate import translate
from zen_pipeline.training.data import IGNORED, Batch, Source
from zen_pipeline.training.job import ConversationData, MaskedData, SpanData, TokenData, TrainingJob
from zen_pipeline.training.step_lines import StepLines

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.callbacks import Recorder
    from zen_pipeline.training.processes import Processes

SAMPLES = "samples.jsonl"
SHARE = 0.01  # of the training time, at most, once the first ones are written
_COUNT = 3  # texts
_PROMPT, _NEW = 16, 32  # tokens of a document's beginning, and tokens that are generated
_TEMPERATURE, _TOP_P = 0.8, 0.95  # as in the report; the likeliest token alone runs into loops

Sample = dict[str, str]  # `prompt`, `text`, and `reference`, what the data say there
Say = Callable[[Any], list[Sample]]


def sampling(job: TrainingJob, source: Source) -> Say | None:
    """How a model of the job's family is made to say something; None without a tokenizer or held-out sequences.

    Nothing that it does touches a random state that training uses.
    """
    if job.tokenizer is None:
        return None
    tokenizer, data = Tokenizer.load(Path(job.tokenizer)), job.data
    if isinstance(data, TokenData):
        prompts = _beginnings(Path(data.folder), job.context)
        return (lambda model: _continuations(model, tokenizer, prompts)) if prompts else None
    batches = source.validation()
    if not batches:
        return None
    first = batches[0]
    if isinstance(data, ConversationData):
        return lambda model: _answers(model, tokenizer, first)
    if isinstance(data, MaskedData):
        marks = {data.mask_id: "[?]"}
        return lambda model: _filled(model, tokenizer, first, marks)
    marks = {}
    if isinstance(data, SpanData):  # sentinels lie before the padding token, which starts the targets
        marks = {data.first_sentinel + n: f"[{n}]" for n in range(data.start_id - data.first_sentinel)}
    return lambda model: _translations(model, tokenizer, first, marks)


class Sampler(pl.Callback):
    """Writes samples at each validation to `samples.jsonl` and to MLflow, while they take little of the time.

    Sharded weights are on no device as a whole: nothing is written then.

    Args:
        job: what is trained.
        source: whose held-out sequences are begun with.
        recorder: counts the time that it takes, and sends to MLflow.
        path: of the file; None: another process writes it.
        processes: all of them sample or none.
    """

    def __init__(
        self, job: TrainingJob, source: Source, recorder: Recorder, path: Path | None, processes: Processes
    ) -> None:
        self._job, self._recorder, self._processes = job, recorder, processes
        self._say = sampling(job, source)
        self._lines = StepLines(path, recorder.warn) if path is not None else None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if any(isinstance(parameter, DTensor) for parameter in pl_module.parameters()):
            self._say = None
        if self._lines is not None:
            self._lines.open_after(trainer.global_step)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if "validation_loss" not in cast(Any, pl_module).last:
            return
        due = self._processes.of_first(self._say is not None and self._affordable())
        if not due or self._say is None:
            return
        began = time.perf_counter()
        model: FamilyModel = cast(Any, pl_module).model.eval()
        try:
            said = self._say(model)
        except Exception as error:
            self._say = None
            self._recorder.warn(f"no samples are written, since that failed: {type(error).__name__}: {error}")
            return
        finally:
            model.train()
        if self._lines is not None:
            for sample in said:
                self._lines.append({"step": step, **sample})
            self._recorder.log_text("samples.txt", as_text(self._lines.path))
        self._recorder.count("sample", time.perf_counter() - began)

    @override
    def teardown(self, *_: Any, **__: Any) -> None:
        if self._lines is not None:
            self._lines.close()

    def _affordable(self) -> bool:
        """Whether one more time would leave it within its share; the first time nobody knows what it costs."""
        totals = self._recorder.totals
        spent, times = totals["sample_seconds"], totals["sample_times"]
        return not times or spent * (times + 1) / times <= SHARE * totals["seconds"]


def as_text(path: Path) -> str:
    """The file of samples for people: what was said after each validation, newest first."""
    steps: dict[int, list[str]] = {}
    for line in read_json_lines(path, missing_ok=True):
        steps.setdefault(line["step"], []).append(f"{line['prompt']} ⟶ {line['text']}")
    blocks = [f"=== after step {step} ===\n\n" + "\n\n".join(texts) for step, texts in reversed(steps.items())]
    return "\n\n".join(blocks) + "\n"


# --- one way for each kind of data ------------------------------------------------------------------------------------


def _beginnings(folder: Path, context: int) -> list[tuple[list[int], list[int]]]:
    """Beginning and continuation of held-out documents, from all over the split."""
    held_out = TokenSplit.open(folder, "valid")
    start = min(_PROMPT, max(1, context // 2))
    long_enough = [n for n in range(len(held_out.bytes)) if len(held_out.document(n)) > start]
    chosen = long_enough[:: max(1, len(long_enough) // _COUNT)][:_COUNT]
    documents = [held_out.document(number)[: start + _NEW].tolist() for number in chosen]
    return [(ids[:start], ids[start:]) for ids in documents]


def _continuations(model: Any, tokenizer: Tokenizer, prompts: list[tuple[list[int], list[int]]]) -> list[Sample]:
    said = []
    for prompt, reference in prompts:
        new = generate(
            model, prompt, max_new_tokens=_NEW, temperature=_TEMPERATURE, top_p=_TOP_P, stop_ids=tokenizer.stop_ids
        )
        said.append(_sample(tokenizer, prompt, list(new), reference))
    return said


def _answers(model: Any, tokenizer: Tokenizer, batch: Batch) -> list[Sample]:
    """The likeliest answers to the first questions; each ends with the token that ends the true one."""
    said = []
    for row in range(min(_COUNT, len(batch.input_ids))):
        asked = (batch.targets[row] != IGNORED).nonzero().flatten()
        prompt = batch.input_ids[row, : int(asked[0]) + 1].tolist()
        reference = _learnt(batch, row)
        stop = {*tokenizer.stop_ids, reference[-1]}
        new = generate(model, prompt, max_new_tokens=_NEW, temperature=0.0, stop_ids=stop)
        said.append(_sample(tokenizer, prompt, list(new), reference))
    return said


@torch.inference_mode()
def _filled(model: Any, tokenizer: Tokenizer, batch: Batch, marks: Mapping[int, str]) -> list[Sample]:
    """One window with the likeliest tokens in the places that are asked for."""
    ids, wanted = batch.input_ids[0], batch.targets[0] != IGNORED
    hidden = model.hidden_states(ids[None].to(model.device))[0, wanted.to(model.device)]  # (asked, C)
    found = ids.clone()
    found[wanted] = model.logits(hidden).argmax(-1).cpu()
    truth = torch.where(wanted, batch.targets[0], ids)
    return [_sample(tokenizer, ids.tolist(), found.tolist(), truth.tolist(), marks)]


def _translations(model: Any, tokenizer: Tokenizer, batch: Batch, marks: Mapping[int, str]) -> list[Sample]:
    assert batch.source_ids is not None
    assert batch.source_mask is not None
    rows = range(min(_COUNT, len(batch.source_ids)))
    sources = [batch.source_ids[row][batch.source_mask[row]].tolist() for row in rows]
    said = translate(model, sources, max_new_tokens=_NEW)
    return [_sample(tokenizer, sources[row], said[row], _learnt(batch, row), marks) for row in rows]


def _learnt(batch: Batch, row: int) -> list[int]:
    targets = batch.targets[row]
    ids: list[int] = targets[targets != IGNORED].tolist()
    return ids


def _sample(
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    text: Sequence[int],
    reference: Sequence[int],
    marks: Mapping[int, str] | None = None,
) -> Sample:
    parts = {"prompt": prompt, "text": text, "reference": reference}
    return {name: _shown(tokenizer, ids, marks or {}) for name, ids in parts.items()}


def _shown(tokenizer: Tokenizer, ids: Sequence[int], marks: Mapping[int, str]) -> str:
    """Decoded, with some of the special tokens, which decoding leaves out."""
    shown, run = "", list[int]()
    for token in ids:
        if token in marks:
            shown, run = shown + tokenizer.decode(run) + marks[token], []
        else:
            run.append(token)
    return shown + tokenizer.decode(run)
