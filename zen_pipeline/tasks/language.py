"""Language modelling: the next token of a text, for every token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from zen_pipeline.blocks import Card, ModelReport, phrase
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Metric
from zen_pipeline.family_specs import families_of
from zen_pipeline.logs import get_logger
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
from zen_pipeline.tasks.reports import score_report
from zen_pipeline.tasks.shown import MOST_SAMPLES, NEW_TOKENS, sample
from zen_pipeline.tasks.texts import TextTask, encoded, vocab_size

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.progress import Tell
    from zen_pipeline.training.data import Source
    from zen_pipeline.training.job import TrainingJob

_TEMPERATURE, _TOP_P = 0.8, 0.95  # of samples; the likeliest token alone runs into loops
_BEGINNING = 16  # tokens of a document that a sample in training continues
_PROMPT = 32  # the same in an evaluation

log = get_logger(__name__)


class Language(TextTask):
    """Continues texts; decided by bits per byte, against n-grams."""

    name = "language"
    model = "base"
    help = "Continues texts."
    families = frozenset(families_of("decoder"))
    metric = Metric(
        "bits_per_byte", "bits per byte of unseen text", "documents", lower_is_better=True, seed_noise=0.011
    )

    # training

    @override
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.training.job import TokenData

        folder, resolved = asked.tokens / "tokenizer", asked.resolved
        tokenizer = Tokenizer.load(folder)
        start = tokenizer.start_id if asked.config.pretrain.document_mask else None
        return Material(
            data=TokenData(folder=str(asked.tokens), document_start=start),
            tokenizer=folder,
            vocab_size=vocab_size(asked.tokens),
            batch=resolved.batch,
            micro_batch=resolved.micro_batch,
            context=resolved.model.context_length,
        )

    @override
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        from zen_pipeline.inference.generate import generate

        assert job.data.kind == "tokens"
        prompts = _beginnings(Path(job.data.folder), job.context)

        def continuations(model: Any) -> list[Sample]:
            said = []
            for prompt, reference in prompts:
                new = generate(
                    model,
                    prompt,
                    max_new_tokens=NEW_TOKENS,
                    temperature=_TEMPERATURE,
                    top_p=_TOP_P,
                    stop_ids=tokenizer.stop_ids,
                )
                said.append(sample(tokenizer, prompt, list(new), reference))
            return said

        return continuations if prompts else None

    # evaluation

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        from zen_pipeline.evaluation.language_model import score_model, summarize

        model = load_ready(folder)
        documents = encoded(test.items, folder)
        scores = score_model(model, documents, tell=tell)
        units = np.stack([scores.nats, documents.bytes.astype(np.float64)], axis=1)
        return Measured(units, {**summarize(scores, documents)})

    @override
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        import json

        from zen_pipeline.corpus.tokens.shards import TokenSplit
        from zen_pipeline.evaluation.language_model import MAX_BASELINE_TOKENS, first_documents, ngram_baselines

        split = TokenSplit.open(asked.tokens, "train")
        train = first_documents(split.tokens, split.offsets, split.bytes, max_tokens=MAX_BASELINE_TOKENS)
        size = int(json.loads((asked.tokens / "shards.json").read_text())["vocab_size"])
        log.info("evaluate: counting n-grams of %d tokens", len(train.tokens))
        order = asked.config.evaluate.ngram_order
        return ngram_baselines(train, test.items.tokens, vocab_size=size, order=order)

    @override
    def samples(self, asked: EvaluationRequest, test: TestSet) -> Sequence[Sample]:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.inference.generate import generate

        settings, documents = asked.config.evaluate, test.items.tokens
        model, tokenizer = load_ready(asked.model), Tokenizer.load(asked.model)
        start = min(_PROMPT, model.config.max_position_embeddings // 2)
        long_enough = np.flatnonzero(documents.text_tokens > 2 * start)
        places = np.linspace(0, len(long_enough) - 1, min(settings.samples, len(long_enough))).round().astype(int)
        made = []
        for document in long_enough[places].tolist():
            ids = documents.tokens[documents.offsets[document] : documents.offsets[document + 1]].tolist()
            new = generate(
                model,
                ids[:start],
                max_new_tokens=settings.sample_tokens,
                temperature=_TEMPERATURE,
                top_p=_TOP_P,
                seed=asked.config.seed,
                stop_ids=tokenizer.stop_ids,
            )
            truth = ids[start : start + settings.sample_tokens]
            given, text, reference = map(tokenizer.decode, (ids[:start], list(new), truth))
            made.append(Sample(given, text, reference))
        return made

    @override
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        figures = metrics["figures"]
        return score_report(
            metrics,
            samples,
            verdicts=(
                "The language model needs {value} bits per byte of unseen text.",
                "The language model needs {value} bits per byte of unseen text and beats the {baseline} model's "
                "{other}.",
                "The language model needs {value} bits per byte of unseen text and does not reach the {baseline} "
                "model's {other}.",
            ),
            card="bits per byte, test",
            title="Bits per byte of unseen text",
            note="How many bits the model needs to write down one byte of the test documents; less is better. The "
            "others are interpolated Kneser-Ney models of the same tokens, counted on the same training text.",
            rows=[
                ("test loss", phrase("{loss} nats per token", loss=f"{figures['loss']:.4f}")),
                ("next token right", f"{figures['token_accuracy']:.2%}"),
            ],
            cards=[Card(f"{figures['token_accuracy']:.1%}", "of next tokens right")],
            continued=True,
            sampled="The model has read the grey beginning of a test document, and continues it (temperature 0.8, "
            "top-p 0.95).",
        )

    @override
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        return continue_prompt(model, tokens)

    # answers

    @override
    def load(self, folder: Path) -> Answerer:
        return _Continuing(folder)


class _Continuing(Answerer):
    def __init__(self, folder: Path) -> None:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.models.folder import load_model

        self._tokenizer, self._model = Tokenizer.load(folder), load_model(folder)

    @override
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        from zen_pipeline.inference.generate import generate

        answers = []
        for number, row in enumerate(rows):
            ids = [self._tokenizer.start_id, *self._tokenizer.encode(text_of(row, number, "prompt"))]
            check_fits(ids, self._model, number)
            new = generate(self._model, ids, stop_ids=self._tokenizer.stop_ids, **settings)
            answers.append(self._tokenizer.decode(list(new)))
        return answers


# --- shared with other tasks ------------------------------------------------------------------------------------------


def continue_prompt(model: Any, tokens: int) -> Iterator[int]:
    """Generate after a prompt of eight tokens; one token at a time."""
    from zen_pipeline.inference.generate import generate

    limit = model.config.max_position_embeddings
    prompt = list(range(1, 1 + max(1, min(8, limit // 4))))
    most = max(1, min(tokens, limit - len(prompt)))
    # the likeliest token alone may end in a circle, which stops the generation
    return (1 for _ in generate(model, prompt, max_new_tokens=most, temperature=1.0))


def text_of(row: Mapping[str, Any], number: int, column: str) -> str:
    """The text of one field of a request's row.

    Raises:
        DataError: there is none.
    """
    value = row.get(column)
    if isinstance(value, str):
        return value
    found = ", ".join(sorted(map(str, row))) or "nothing"
    raise DataError(f"row {number}: expected a text in `{column}`, found {found}")


def check_fits(ids: Sequence[int], model: Any, number: int) -> None:
    """Refuse a prompt that fills the context.

    Raises:
        DataError: it does.
    """
    context = model.config.max_position_embeddings
    if len(ids) >= context:
        raise DataError(f"row {number}: the prompt has {len(ids)} tokens, the model's context is {context}")


def _beginnings(folder: Path, context: int) -> list[tuple[list[int], list[int]]]:
    """Beginning and continuation of held-out documents, from all over the split."""
    from zen_pipeline.corpus.tokens.shards import TokenSplit

    held_out = TokenSplit.open(folder, "valid")
    start = min(_BEGINNING, max(1, context // 2))
    long_enough = [n for n in range(len(held_out.bytes)) if len(held_out.document(n)) > start]
    chosen = long_enough[:: max(1, len(long_enough) // MOST_SAMPLES)][:MOST_SAMPLES]
    documents = [held_out.document(number)[: start + NEW_TOKENS].tolist() for number in chosen]
    return [(ids[:start], ids[start:]) for ids in documents]


TASK = Language()
