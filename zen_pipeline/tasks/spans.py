"""Span corruption, the objective of T5 (Raffel et al. 2020): short spans of a text are cut out and asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.blocks import ModelReport, phrase
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Metric
from zen_pipeline.family_specs import families_of
from zen_pipeline.progress import Tell, counted
from zen_pipeline.tasks.base import (
    Answerer,
    EvaluationRequest,
    Material,
    Measured,
    Say,
    Skipped,
    TestSet,
    TrainingRequest,
    load_ready,
)
from zen_pipeline.tasks.language import text_of
from zen_pipeline.tasks.masked import BLANK, check_length, documents_context, unigram_nats
from zen_pipeline.tasks.reports import score_report
from zen_pipeline.tasks.shown import MOST_SAMPLES, NEW_TOKENS, learnt, sample
from zen_pipeline.tasks.special_tokens import PAD, SENTINEL, sentinel_names, tokenizer_with
from zen_pipeline.tasks.texts import TextTask, encoded, vocab_size

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.evaluation.language_model import Documents
    from zen_pipeline.training.data import Batch, Source
    from zen_pipeline.training.job import TrainingJob

SHARE = 0.15  # of the tokens are cut out
MEAN_SPAN = 3.0  # tokens of a span
_ROWS = 16  # windows in one forward pass of an evaluation
_SHORTEST = 8  # tokens of a window that is measured

Windows = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]  # document, source, target


class Spans(TextTask):
    """Fills in spans that were cut out; decided by bits per byte of them, against how frequent each token is."""

    name = "spans"
    model = "infill"
    help = "Writes what was cut out of a text."
    families = frozenset(families_of("encoder-decoder"))
    metric = Metric(
        "bits_per_span_byte",
        "bits per byte of spans cut out",
        "documents",
        lower_is_better=True,
        seed_noise=0.02,  # an assumption, not measured
    )
    loss_unit = "bits_per_span_byte"
    command = "fill"
    makes_examples = True

    # training

    @override
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        from zen_pipeline.corpus.records import read_records
        from zen_pipeline.training.job import TokenData

        pairs = read_records(asked.records / "records.parquet", kind="translation", split="train")
        if next(pairs, None) is not None:
            return Skipped("the corpus has translation pairs, and an encoder-decoder learns those")
        length = asked.resolved.model.context_length
        cut, spans = span_counts(length)
        tokenizer, special = tokenizer_with(
            (PAD,), tokens=asked.tokens, given=asked.start, work=asked.work, sentinels=spans + 1
        )
        mean = (length - cut + spans + cut + spans + 1) / 2  # of both sides; a step has the resolved tokens
        batch = max(1, round(asked.resolved.batch_tokens / mean))
        micro = max(1, round(asked.resolved.micro_batch * length / mean))
        return Material(
            data=TokenData(folder=str(asked.tokens)),
            tokenizer=tokenizer,
            vocab_size=max(vocab_size(asked.tokens), max(special.values()) + 1),
            batch=batch,
            micro_batch=min(batch, micro),
            context=length,
            options={"first_sentinel": special[SENTINEL], "start_id": special["pad_token"]},
        )

    @override
    def transform(self, batch: Batch, generator: np.random.Generator, options: Mapping[str, Any]) -> Batch:
        import torch

        from zen_pipeline.training.data import Batch

        sources, targets = corrupt_spans(batch.input_ids.numpy(), generator, first_sentinel=options["first_sentinel"])
        starts = np.concatenate((np.full_like(targets[:, :1], options["start_id"]), targets[:, :-1]), axis=1)
        return Batch(
            batch.step,
            torch.from_numpy(starts),
            torch.from_numpy(targets),
            source_ids=torch.from_numpy(sources),
            source_mask=torch.ones(sources.shape, dtype=torch.bool),
        )

    @override
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        first = job.options["first_sentinel"]
        marks = {first + n: f"[{n}]" for n in range(job.options["start_id"] - first)}
        return translated(source, tokenizer, marks)

    # evaluation

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        import torch

        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.training.pairs import pair_batch
        from zen_pipeline.training.step import target_losses

        model, tokenizer = load_ready(folder), Tokenizer.load(folder)
        documents = encoded(test.items, folder)
        windows = _cut_windows(documents, *_places(folder))
        start = model.config.decoder_start_token_id
        units, nats, tokens = np.zeros((len(documents.bytes), 2)), 0.0, 0
        for group in counted([windows[i : i + _ROWS] for i in range(0, len(windows), _ROWS)], tell):
            for document, source, target in group:
                pair = (torch.from_numpy(source), torch.from_numpy(target))
                batch = pair_batch([pair], -1, start_id=start, pad_id=model.config.pad_token_id)
                with torch.inference_mode():
                    losses = target_losses(model, batch.to(model.device)).double().cpu().numpy()
                sizes = tokenizer.token_bytes[target]
                units[document] += losses[sizes > 0].sum(), sizes.sum()
                nats, tokens = nats + float(losses.sum()), tokens + len(target)
        figures = {
            "loss": nats / max(tokens, 1),
            "target_tokens": tokens,
        }
        return Measured(units, figures, _filled(model, tokenizer, windows, *_places(folder)))

    @override
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(asked.model)
        nats, sizes = unigram_nats(asked.tokens, len(tokenizer.token_bytes)), tokenizer.token_bytes
        sums = np.zeros(2)
        for _, _, target in _cut_windows(encoded(test.items, asked.model), *_places(asked.model)):
            text = target[sizes[target] > 0]
            sums += nats[text].sum(), sizes[text].sum()
        return {"unigram": float(self.figure(sums))}

    @override
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        return score_report(
            metrics,
            samples,
            verdicts=(
                "The model needs {value} bits per byte of the spans that were cut out.",
                "The model needs {value} bits per byte of the spans that were cut out and beats the {baseline} "
                "model's {other}.",
                "The model needs {value} bits per byte of the spans that were cut out and does not reach the "
                "{baseline} model's {other}.",
            ),
            card="bits per cut byte",
            title="Bits per byte of spans cut out",
            note="How many bits the model needs to write down one byte of the spans that are cut out of the test "
            "documents, 15 % of the tokens; less is better. The unigram model knows how frequent each token is.",
            rows=[("test loss", phrase("{loss} nats per token", loss=f"{metrics['figures']['loss']:.4f}"))],
            sampled="Test documents with numbered gaps in grey, what the model writes for them, and what was cut out.",
        )

    @override
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        return write_targets(model, tokens)

    # answers

    @override
    def taught(self, folder: Path) -> bool:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        return sentinel_names(1)[0] in Tokenizer.load(folder).vocabulary

    @override
    def load(self, folder: Path) -> Answerer:
        return _Infilling(folder)


class _Infilling(Answerer):
    """Writes what belongs in the place of every `[MASK]` of a text."""

    def __init__(self, folder: Path) -> None:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        self._tokenizer = Tokenizer.load(folder)
        self._model = load_ready(folder)
        self._first, self._count, _ = _places(folder)

    @override
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        return [self._filled(text_of(row, number, "prompt"), number, settings) for number, row in enumerate(rows)]

    def _filled(self, text: str, number: int, settings: Mapping[str, Any]) -> str:
        from zen_pipeline.inference.translate import translate

        parts = text.split(BLANK)
        if not 2 <= len(parts) <= self._count:
            raise DataError(
                f"row {number}: write {BLANK} in the place of what is to be filled in, 1 to {self._count - 1} times"
            )
        ids = list(self._tokenizer.encode(parts[0]))
        for place, part in enumerate(parts[1:]):
            ids += [self._first + place, *self._tokenizer.encode(part)]
        check_length(ids, self._model, number)
        made = translate(self._model, [ids], max_new_tokens=settings.get("max_new_tokens", NEW_TOKENS))[0]
        spans: dict[int, list[int]] = {}
        place = -1
        for token in made:
            if self._first <= token < self._first + self._count:
                place = token - self._first
            else:
                spans.setdefault(place, []).append(token)
        texts = [self._tokenizer.decode(spans.get(n, [])) for n in range(len(parts) - 1)]
        return parts[0] + "".join(filled + part for filled, part in zip(texts, parts[1:], strict=True))


# --- shared with translation ------------------------------------------------------------------------------------------


def translated(source: Source, tokenizer: Tokenizer, marks: Mapping[int, str] | None = None) -> Say | None:
    """Targets that an encoder-decoder in training writes for the first held-out sources."""
    from zen_pipeline.inference.translate import translate

    batches = source.validation()
    if not batches:
        return None
    first = batches[0]
    assert first.source_ids is not None
    assert first.source_mask is not None
    rows = range(min(MOST_SAMPLES, len(first.source_ids)))
    sources = [first.source_ids[row][first.source_mask[row]].tolist() for row in rows]

    def said(model: Any) -> list[Sample]:
        made = translate(model, sources, max_new_tokens=NEW_TOKENS)
        return [sample(tokenizer, sources[row], made[row], learnt(first, row), marks) for row in rows]

    return said


def write_targets(model: Any, tokens: int) -> Iterator[int]:
    """Write the targets of a source of 16 tokens, one source at a time, until about `tokens` tokens are done."""
    from zen_pipeline.inference.translate import translate

    length = min(16, model.config.max_position_embeddings)
    source = [1 + n % (model.config.vocab_size - 1) for n in range(length)]
    done = 0
    while done < tokens:
        made = 1 + len(translate(model, [source], max_new_tokens=length)[0])  # with the end
        done += made
        yield made


# --- windows of an evaluation -----------------------------------------------------------------------------------------


def _places(folder: Path) -> tuple[int, int, int]:
    """First sentinel, number of sentinels, and positions of the model in a folder."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

    vocabulary = Tokenizer.load(folder).vocabulary
    count = 0
    while sentinel_names(count + 1)[-1] in vocabulary:
        count += 1
    return vocabulary[sentinel_names(1)[0]], count, documents_context(folder)


def _cut_windows(documents: Documents, first: int, sentinels: int, context: int) -> Windows:
    """Windows of single documents with spans cut out that follow from the number of the document."""
    windows: Windows = []
    for number in range(len(documents.bytes)):
        ids = np.asarray(documents.tokens[documents.offsets[number] + 1 : documents.offsets[number + 1]], np.int64)
        generator = np.random.default_rng([0, number])
        for start in range(0, len(ids), context):
            window = ids[start : start + context]
            if len(window) < _SHORTEST or span_counts(len(window))[1] >= sentinels:
                continue
            sources, targets = corrupt_spans(window[None], generator, first_sentinel=first)
            windows.append((number, sources[0], targets[0]))
    return windows


def _filled(
    model: Any, tokenizer: Tokenizer, windows: Windows, first: int, sentinels: int, _context: int
) -> list[Sample]:
    from zen_pipeline.inference.translate import translate

    marks = {first + n: f"[{n}]" for n in range(sentinels)}
    chosen = windows[:: max(1, len(windows) // MOST_SAMPLES)][:MOST_SAMPLES]
    made = [translate(model, [source.tolist()], max_new_tokens=len(target) + 8)[0] for _, source, target in chosen]
    return [
        sample(tokenizer, source.tolist(), text, target.tolist(), marks)
        for (_, source, target), text in zip(chosen, made, strict=True)
    ]


# --- spans ------------------------------------------------------------------------------------------------------------


def span_counts(length: int) -> tuple[int, int]:
    """Tokens that are cut out of a window of `length` (at least 2) tokens, and in how many spans."""
    cut = min(max(1, round(SHARE * length)), length - 1)
    return cut, min(max(1, round(cut / MEAN_SPAN)), length - cut)


def corrupt_spans(
    tokens: NDArray[np.int64], generator: np.random.Generator, *, first_sentinel: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the encoder reads, and what the decoder writes.

    The n-th span is replaced by the n-th sentinel. The target is each sentinel with the tokens of its span, and one
    more sentinel as the end. Kept and cut tokens are divided into their runs uniformly, none of which is empty; a
    window begins with kept tokens and ends with cut ones, as in T5's own code.

    Args:
        tokens: (B, T) token ids, T at least 2.
        generator: of all choices; the same state gives the same spans.
        first_sentinel: id of the first sentinel; the others follow it, one more than there are spans.

    Returns:
        Sources (B, T - cut + spans) and targets (B, cut + spans + 1), int64, with the counts of `span_counts`.
    """
    length = tokens.shape[1]
    cut, spans = span_counts(length)
    sentinels = first_sentinel + np.arange(spans + 1)
    sources = np.empty((len(tokens), length - cut + spans), np.int64)
    targets = np.empty((len(tokens), cut + spans + 1), np.int64)
    for row, window in enumerate(tokens):
        runs = np.stack((_divide(length - cut, spans, generator), _divide(cut, spans, generator)), axis=1)
        pieces = np.split(window, runs.ravel().cumsum()[:-1])
        marks = [sentinels[n : n + 1] for n in range(spans + 1)]
        sources[row] = np.concatenate([part for n in range(spans) for part in (pieces[2 * n], marks[n])])
        asked = [part for n in range(spans) for part in (marks[n], pieces[2 * n + 1])]
        targets[row] = np.concatenate([*asked, marks[spans]])
    return sources, targets


def _divide(total: int, parts: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Lengths of `parts` runs that make up `total`, none empty, every such division equally likely."""
    ends = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(ends, prepend=0, append=total)


TASK = Spans()
