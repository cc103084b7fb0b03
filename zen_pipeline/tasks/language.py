"""Language modelling: the next token of a text, for every token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.blocks import Card, ModelReport, phrase
from zen_pipeline.errors import DataError, StoreError
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
    Task,
    TestSet,
    TrainingRequest,
    digest_of,
    load_ready,
)
from zen_pipeline.tasks.reports import score_report
from zen_pipeline.tasks.shown import MOST_SAMPLES, NEW_TOKENS, sample

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.evaluation.language_model import Documents
    from zen_pipeline.progress import Tell
    from zen_pipeline.training.data import Source
    from zen_pipeline.training.job import TrainingJob

_TEMPERATURE, _TOP_P = 0.8, 0.95  # of samples; the likeliest token alone runs into loops
_BEGINNING = 16  # tokens of a document that a sample in training continues
_PROMPT = 32  # the same in an evaluation

log = get_logger(__name__)


class TestDocuments(NamedTuple):
    """Test documents as texts, and as the token ids of this run's own tokenizer."""

    texts: list[str]
    tokens: Documents


class Language(Task):
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
    def test_set(self, asked: EvaluationRequest) -> TestSet | Skipped:
        return documents_of(asked, asked.config.evaluate.max_test_tokens or asked.sizes.test_tokens)

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        from zen_pipeline.evaluation.language_model import score_model, summarize

        model = load_ready(folder)
        documents = encoded(test.items, folder)
        scores = score_model(model, documents, tell=tell)
        units = np.stack([scores.nats, documents.bytes.astype(np.float64)], axis=1)
        return Measured(units, {**summarize(scores, documents)})

    @override
    def figure(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return bits_per_byte(sums)

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
    def loss(self, folder: Path, asked: EvaluationRequest, most: int, tell: Tell | None = None) -> float:
        test = documents_of(asked, most)
        assert not isinstance(test, Skipped)
        return float(self.figure(self.measure(folder, test, tell).units.sum(axis=0)))

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


# --- what other tasks on texts share ----------------------------------------------------------------------------------


def vocab_size(tokens: Path) -> int:
    """Ids of the tokenizer of a tokens artifact."""
    return len(np.load(tokens / "token_bytes.npy", mmap_mode="r"))


def bits_per_byte(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits per byte of (..., 2) sums of nats and bytes; NaN without a byte."""
    nats, sizes = sums[..., 0], sums[..., 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = nats / (math.log(2.0) * sizes)
    return found


def documents_of(asked: EvaluationRequest, most: int) -> TestSet | Skipped:
    """The first whole test documents of at most `most` tokens, one at least.

    Raises:
        StoreError: the token shards are not those of the records.
    """
    import json

    from zen_pipeline.artifacts import read_manifest
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.evaluation.language_model import MAX_BASELINE_TOKENS, first_documents

    split = TokenSplit.open(asked.tokens, "test")
    if len(split.bytes) == 0:
        return Skipped(
            "the test split holds no document, so nothing can be measured: add texts, name a file test.*, or raise "
            "validate.test_fraction"
        )
    documents = first_documents(split.tokens, split.offsets, split.bytes, max_tokens=most)
    kind = read_manifest(asked.tokens).summary.get("text", "document")
    records = read_records(asked.records / "records.parquet", kind=kind, split="test")
    texts = [record.text for record in islice(records, len(documents.bytes))]
    if [len(text.encode()) for text in texts] != documents.bytes.tolist():
        raise StoreError(f"{asked.tokens} does not hold the test documents of {asked.records}: run `zen tokenize`")
    index = json.loads((asked.tokens / "shards.json").read_text())
    sizes = {
        "documents": len(texts),
        "tokens": int(documents.text_tokens.sum()),
        "bytes": int(documents.bytes.sum()),
        "baseline_tokens": min(MAX_BASELINE_TOKENS, int(index["splits"]["train"]["tokens"])),
    }
    return TestSet(TestDocuments(texts, documents), digest_of(texts), sizes)


def encoded(documents: TestDocuments, folder: Path) -> Documents:
    """The documents in the token ids of the model in a folder, each after its start token."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.evaluation.language_model import Documents

    tokenizer = Tokenizer.load(folder)
    start = tokenizer.start_id
    ids = [np.asarray([start, *text], dtype=np.int64) for text in tokenizer.encode_batch(documents.texts)]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return Documents(np.concatenate(ids), offsets, documents.tokens.bytes)


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
