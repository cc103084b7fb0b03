"""Translation: a text in another language, learnt from pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.blocks import Card, ModelReport
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Metric
from zen_pipeline.family_specs import families_of
from zen_pipeline.logs import get_logger
from zen_pipeline.progress import Tell, counted
from zen_pipeline.reporting.formatting import number as in_thousands
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
from zen_pipeline.tasks.language import text_of
from zen_pipeline.tasks.masked import check_length
from zen_pipeline.tasks.reports import score_report
from zen_pipeline.tasks.spans import TASK as SPANS
from zen_pipeline.tasks.spans import translated, write_targets
from zen_pipeline.tasks.special_tokens import PAD, tokenizer_with
from zen_pipeline.tasks.texts import vocab_size

if TYPE_CHECKING:
    from zen_pipeline.corpus.records import Record
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.training.data import Source
    from zen_pipeline.training.job import TrainingJob

_MAX_VALIDATION = 512  # pairs; their loss then varies by a few hundredths of a nat
_MIN_TEST, _MAX_TEST, _PAIRS_PER_QUESTION = 200, 2000, 8  # test pairs; a batch of pairs takes as long as a question
_BATCH = 32  # sources that are translated at a time
NAME_LANGUAGES = "zen_name_languages"  # in generation_config.json: each source begins with the target's language
_MOST_SAMPLES = 5

log = get_logger(__name__)


class Translation(Task):
    """Translates; decided by chrF, against copying the source."""

    name = "translation"
    model = "translate"
    help = "Translates texts."
    families = frozenset(families_of("encoder-decoder"))
    text = "translation"
    metric = Metric(
        "chrf", "chrF of {count} translations", "sentences", lower_is_better=False, seed_noise=1.0, digits=1
    )
    loss_unit = "nats_per_token"
    command = "translate"
    columns = ("text", "target_language")
    output = "translation"

    # training

    @override
    def teaches(self, records: Path) -> bool:
        return next(_train_pairs(records), None) is not None

    @override
    def train_bytes(self, records: Path) -> int:
        return sum(len(pair.target.encode()) for pair in _train_pairs(records))

    @override
    def pair_lengths(self, records: Path, bytes_per_token: float) -> tuple[tuple[int, int], ...]:
        return estimated_lengths(_train_pairs(records), bytes_per_token)

    @override
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.training.job import PairData
        from zen_pipeline.training.pairs import save_pairs
        from zen_pipeline.training.rules import pair_sizes

        pairs = {split: read_pairs(asked.records, split) for split in ("train", "valid", "test")}
        if not pairs["train"]:
            return Skipped("the corpus has no translation pairs to learn from")
        if not pairs["test"]:
            return Skipped("the corpus has no translation pairs to test with: name a file test.*, or raise "
                           "validate.test_fraction")  # fmt: skip
        folder, special = tokenizer_with((PAD,), tokens=asked.tokens, given=asked.start, work=asked.work)
        tokenizer = Tokenizer.load(asked.tokens / "tokenizer")
        several = len({pair.target_language for pair in pairs["train"]}) > 1
        positions = asked.resolved.model.context_length
        paths = {split: asked.work / f"{split}.safetensors" for split in ("train", "valid")}
        counts = save_pairs(
            paths["train"], encode_pairs(pairs["train"], tokenizer, name_language=several), longest=positions
        )
        if counts["too_long"]:
            log.warning(
                "%d of %d pairs are longer than %d tokens and left out",
                *(counts["too_long"], len(pairs["train"]), positions),
            )
        valid = pairs["valid"][:_MAX_VALIDATION]
        if valid:
            save_pairs(paths["valid"], encode_pairs(valid, tokenizer, name_language=several), longest=positions)
        data = PairData(
            train=str(paths["train"]),
            valid=str(paths["valid"]) if valid else None,
            start_id=special["pad_token"],
            pad_id=special["pad_token"],
            token_bytes=str(asked.tokens / "token_bytes.npy"),
        )
        resolved, length = asked.resolved, counts["target_tokens"] / counts["kept"]
        batch, micro = pair_sizes(resolved.batch_tokens, resolved.micro_batch * positions, length)
        size = max(vocab_size(asked.tokens), max(special.values()) + 1)
        return Material(
            data=data,
            tokenizer=folder,
            vocab_size=size,
            batch=batch,
            micro_batch=micro,
            context=positions,
            counts={"pairs": {"train": counts["kept"], "too_long": counts["too_long"], "test": len(pairs["test"])}},
            finish=_name_languages if several else (lambda _folder: None),
        )

    @override
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        return translated(source, tokenizer)

    # evaluation

    @override
    def test_set(self, asked: EvaluationRequest) -> TestSet | Skipped:
        pairs = read_pairs(asked.records, "test")
        if not pairs:
            return Skipped("there are no test pairs: name a file test.*, or raise validate.test_fraction")
        suited = min(_MAX_TEST, max(_MIN_TEST, _PAIRS_PER_QUESTION * asked.sizes.questions))
        chosen = spread(pairs, asked.config.evaluate.max_pairs or suited)
        return TestSet(chosen, digest_of(["\t".join(pair) for pair in chosen]), {"pairs": len(chosen)})

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        from sacrebleu.metrics.bleu import BLEU

        from zen_pipeline.evaluation.chrf import chrf_sums

        pairs: list[Pair] = test.items
        made = _Translating(folder).translate(pairs, tell=tell)
        references = [pair.target for pair in pairs]
        units = np.stack([chrf_sums(ours, theirs) for ours, theirs in zip(made, references, strict=True)])
        bleu = BLEU(tokenize=_bleu_tokens(pairs))
        figures = {
            "bleu": bleu.corpus_score(made, [references]).score,
            "bleu_signature": str(bleu.get_signature()),
            "pairs": len(pairs),
            "empty": sum(not text.strip() for text in made),
            "copied": sum(text == pair.source for text, pair in zip(made, pairs, strict=True)),
        }
        chosen = spread(list(zip(pairs, made, strict=True)), _MOST_SAMPLES)
        samples = [Sample(pair.source, text, pair.target) for pair, text in chosen]
        return Measured(units, figures, samples)

    @override
    def figure(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        from zen_pipeline.evaluation.chrf import chrf

        return chrf(sums)

    @override
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        from zen_pipeline.evaluation.chrf import chrf_sums

        copied = sum((chrf_sums(pair.source, pair.target) for pair in test.items), start=np.zeros(18))
        return {"copying the source": float(self.figure(copied))}

    @override
    def loss(self, folder: Path, asked: EvaluationRequest, most: int, tell: Tell | None = None) -> float:
        import torch

        from zen_pipeline.training.pairs import pair_batch
        from zen_pipeline.training.step import target_losses

        answering = _Translating(folder)
        pairs = spread(read_pairs(asked.records, "test"), max(50, most // 50))
        nats, tokens = 0.0, 0
        for group in counted([pairs[i : i + _BATCH] for i in range(0, len(pairs), _BATCH)], tell):
            batch = answering.batch(group, pair_batch)
            if batch is not None:
                with torch.inference_mode():
                    losses = target_losses(answering.model, batch)
                nats, tokens = nats + float(losses.double().sum()), tokens + len(losses)
        return nats / max(tokens, 1)

    @override
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        figures = metrics["figures"]
        return score_report(
            metrics,
            samples,
            verdicts=(
                "The translations reach chrF {value}.",
                "The translations reach chrF {value}, above {baseline} ({other}).",
                "The translations reach chrF {value}; {baseline} gets {other}.",
            ),
            card="chrF, test",
            title="chrF of the translations",
            note="Agreement of characters with the reference translations, from 0 to 100; more is better (Popović "
            "2015, as sacrebleu counts it). BLEU counts words.",
            rows=[
                ("BLEU", f"{figures['bleu']:.1f}"),
                ("sacrebleu's signature", figures["bleu_signature"]),
                ("empty translations", in_thousands(figures["empty"])),
                ("copies of the source", in_thousands(figures["copied"])),
            ],
            cards=[Card(f"{figures['bleu']:.1f}", "BLEU, test")],
            sampled="Sources of the test set in grey, with the model's translation and the reference.",
        )

    @override
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        return write_targets(model, tokens)

    # answers

    @override
    def taught(self, folder: Path) -> bool:
        return not SPANS.taught(folder)

    @override
    def load(self, folder: Path) -> Answerer:
        return _Translating(folder)


class _Translating(Answerer):
    """Translates many texts at a time, those of like length together."""

    def __init__(self, folder: Path) -> None:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        self.model = load_ready(folder)
        self._tokenizer = Tokenizer.load(folder)
        settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        self._names_languages = bool(settings.get(NAME_LANGUAGES, False))

    @override
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        pairs = []
        for number, row in enumerate(rows):
            language = row.get("target_language")
            if self._names_languages and not isinstance(language, str):
                raise DataError(f"row {number}: this model writes several languages: name one as `target_language`")
            pairs.append(Pair(text_of(row, number, "text"), "", language if isinstance(language, str) else ""))
        for number, ids in enumerate(self._sources(pairs)):
            check_length(ids, self.model, number)
        return self.translate(pairs, most=settings.get("max_new_tokens"))

    def translate(self, pairs: Sequence[Pair], *, most: int | None = None, tell: Tell | None = None) -> list[str]:
        """The translation of each source; of one that is too long for the model, of its beginning."""
        from zen_pipeline.inference.translate import translate

        longest = self.model.config.max_position_embeddings
        sources = [ids if len(ids) <= longest else [*ids[: longest - 1], ids[-1]] for ids in self._sources(pairs)]
        order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
        made = [""] * len(sources)
        for group in counted([order[i : i + _BATCH] for i in range(0, len(order), _BATCH)], tell):
            room = min(longest, 2 * max(len(sources[n]) for n in group) + 16)
            written = translate(self.model, [sources[n] for n in group], max_new_tokens=min(room, most or room))
            for n, ids in zip(group, written, strict=True):
                made[n] = self._tokenizer.decode(ids).strip()
        return made

    def batch(self, pairs: Sequence[Pair], pair_batch: Any) -> Any:
        """The pairs that fit into the model, on its device; None where none does."""
        import torch

        longest = self.model.config.max_position_embeddings
        encoded = encode_pairs(pairs, self._tokenizer, name_language=self._names_languages)
        fitting = [tuple(map(torch.tensor, pair)) for pair in encoded if max(map(len, pair)) <= longest]
        if not fitting:
            return None
        config = self.model.config
        made = pair_batch(fitting, -1, start_id=config.decoder_start_token_id, pad_id=config.pad_token_id)
        return made.to(self.model.device)

    def _sources(self, pairs: Sequence[Pair]) -> list[list[int]]:
        return [source for source, _ in encode_pairs(pairs, self._tokenizer, name_language=self._names_languages)]


# --- pairs ------------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A text, what it means in the other language, and which language that is."""

    source: str
    target: str
    target_language: str


def pairs_of(records: Iterable[Record]) -> Iterator[Pair]:
    """The pairs of records of kind `translation`, in order.

    Raises:
        DataError: a record lacks its source or target.
    """
    for record in records:
        meta = json.loads(record.meta)
        source, target = meta.get("source"), meta.get("target")
        if not isinstance(source, str) or not isinstance(target, str):
            raise DataError(f"record {record.id} of {record.source} is a translation without `source` and `target`")
        yield Pair(source, target, str(meta.get("target_language") or "und"))


def estimated_lengths(pairs: Iterable[Pair], bytes_per_token: float, most: int = 512) -> tuple[tuple[int, int], ...]:
    """About how many tokens source and target of some of the pairs will have, before there is a tokenizer."""
    sizes = [(len(pair.source.encode()), len(pair.target.encode())) for pair in pairs]
    chosen = sizes[:: max(1, len(sizes) // most)][:most]
    return tuple(
        (1 + round(source / bytes_per_token), 1 + round(target / bytes_per_token)) for source, target in chosen
    )


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: Tokenizer, *, name_language: bool
) -> list[tuple[list[int], list[int]]]:
    """Token ids of source and target; each ends with `<|endoftext|>`, which tells where it does.

    Args:
        pairs: what is encoded.
        tokenizer: of both languages.
        name_language: begin each source with the language that it is translated into, as `>>fr<<`, the way of the
            OPUS-MT models; needed where one model writes several.
    """
    sources = [f">>{p.target_language}<< {p.source}" if name_language else p.source for p in pairs]
    targets = [p.target for p in pairs]
    end = tokenizer.start_id
    both = zip(tokenizer.encode_batch(sources), tokenizer.encode_batch(targets), strict=True)
    return [([*source, end], [*target, end]) for source, target in both]


def _train_pairs(records: Path) -> Iterator[Pair]:
    from zen_pipeline.corpus.records import read_records

    return pairs_of(read_records(records, kind="translation", split="train"))


def read_pairs(records: Path, split: str) -> list[Pair]:
    """The translation pairs of one split of the validated records in a folder."""
    from zen_pipeline.corpus.records import read_records

    return list(pairs_of(read_records(records / "records.parquet", kind="translation", split=split)))


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, from all over them."""
    if len(items) <= most:
        return list(items)
    return [items[n * len(items) // most] for n in range(most)]


def _name_languages(folder: Path) -> None:
    """Note next to the model that its sources begin with the language that they are translated into."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, NAME_LANGUAGES: True}, indent=2) + "\n", encoding="utf-8")


def _bleu_tokens(pairs: Sequence[Pair]) -> str:
    """sacrebleu's tokenization for the target languages."""
    languages = {pair.target_language.partition("-")[0] for pair in pairs}
    if languages == {"zh"}:
        return "zh"
    return "char" if languages & {"zh", "ja", "ko", "th"} else "13a"


TASK = Translation()
