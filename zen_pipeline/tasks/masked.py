"""Masked language modelling: tokens that are hidden in a text, from what stands on both sides.

Masks are drawn anew each time a text is seen, as RoBERTa's are (Liu et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.blocks import Card, ModelReport, phrase
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
from zen_pipeline.tasks.masks import SHARE, mask_tokens, starts_of_words
from zen_pipeline.tasks.reports import score_report
from zen_pipeline.tasks.shown import sample
from zen_pipeline.tasks.special_tokens import MASK, PAD, tokenizer_with
from zen_pipeline.tasks.texts import TextTask, encoded, vocab_size

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.evaluation.language_model import Documents
    from zen_pipeline.training.data import Batch, Source
    from zen_pipeline.training.job import TrainingJob

BLANK = "[MASK]"  # what a hidden token is written as, by people and for people
_ROWS = 16  # windows in one forward pass of an evaluation


class Masked(TextTask):
    """Fills in hidden tokens; decided by bits per byte of what is hidden, against how frequent each token is."""

    name = "masked"
    model = "encoder"
    help = "Fills in what is hidden in a text."
    families = frozenset(families_of("encoder"))
    metric = Metric(
        "bits_per_masked_byte",
        "bits per byte of hidden tokens",
        "documents",
        lower_is_better=True,
        seed_noise=0.02,  # an assumption, not measured
    )
    loss_unit = "bits_per_masked_byte"
    command = "fill"
    makes_examples = True

    # training

    @override
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        from zen_pipeline.training.job import TokenData

        tokenizer, special = tokenizer_with(
            (MASK, PAD), tokens=asked.tokens, given=asked.start, work=asked.work, framed=True
        )
        resolved = asked.resolved
        options = {"mask_id": special["mask_token"], "folder": str(asked.tokens)}
        return Material(
            data=TokenData(folder=str(asked.tokens)),
            tokenizer=tokenizer,
            vocab_size=max(vocab_size(asked.tokens), max(special.values()) + 1),
            batch=resolved.batch,
            micro_batch=resolved.micro_batch,
            context=resolved.model.context_length,
            options={**options, "whole_words": asked.config.pretrain.whole_words},
        )

    @override
    def transform(self, batch: Batch, generator: np.random.Generator, options: Mapping[str, Any]) -> Batch:
        import torch

        from zen_pipeline.training.data import IGNORED, Batch

        maskable, word_starts = _tables(options["folder"], whole_words=options["whole_words"])
        inputs, targets = mask_tokens(
            batch.input_ids.numpy(),
            generator,
            mask_id=options["mask_id"],
            maskable=maskable,
            word_starts=word_starts,
            ignored=IGNORED,
        )
        return Batch(batch.step, torch.from_numpy(inputs), torch.from_numpy(targets), bidirectional=True)

    @override
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        import torch

        from zen_pipeline.training.data import IGNORED

        batches, marks = source.validation(), {job.options["mask_id"]: BLANK}

        @torch.inference_mode()
        def filled(model: Any) -> list[Sample]:
            ids, wanted = batches[0].input_ids[0], batches[0].targets[0] != IGNORED
            hidden = model.hidden_states(ids[None].to(model.device))[0, wanted.to(model.device)]  # (asked, C)
            found = ids.clone()
            found[wanted] = model.logits(hidden).argmax(-1).cpu()
            truth = torch.where(wanted, batches[0].targets[0], ids)
            return [sample(tokenizer, ids.tolist(), found.tolist(), truth.tolist(), marks)]

        return filled if batches else None

    # evaluation

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        model, tokenizer = load_ready(folder), Tokenizer.load(folder)
        documents = encoded(test.items, folder)
        windows = _masked_windows(documents, tokenizer, mask_id_of(folder), model.config.max_position_embeddings)
        units, correct, tokens, nats = np.zeros((len(documents.bytes), 2)), 0, 0, 0.0
        samples: list[Sample] = []
        for group in counted(list(_in_groups(windows)), tell):
            for window, (losses, found) in zip(group, _scored(model, group), strict=True):
                truth = window.truth[window.asked]
                sizes = tokenizer.token_bytes[truth]
                units[window.document] += losses.sum(), sizes.sum()
                correct, tokens, nats = correct + int((found == truth).sum()), tokens + len(truth), nats + losses.sum()
                if len(samples) < 5 and window.first:
                    samples.append(_shown(tokenizer, window, found))
        figures = {
            "loss": nats / max(tokens, 1),
            "token_accuracy": correct / max(tokens, 1),
            "masked_tokens": tokens,
        }
        return Measured(units, figures, samples)

    @override
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(asked.model)
        nats = unigram_nats(asked.tokens, len(tokenizer.token_bytes))
        documents = encoded(test.items, asked.model)
        sums = np.zeros(2)
        for window in _masked_windows(documents, tokenizer, mask_id_of(asked.model), documents_context(asked.model)):
            truth = window.truth[window.asked]
            sums += nats[truth].sum(), tokenizer.token_bytes[truth].sum()
        return {"unigram": float(self.figure(sums))}

    @override
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        figures = metrics["figures"]
        return score_report(
            metrics,
            samples,
            verdicts=(
                "The encoder needs {value} bits per byte of what is hidden.",
                "The encoder needs {value} bits per byte of what is hidden and beats the {baseline} model's {other}.",
                "The encoder needs {value} bits per byte of what is hidden and does not reach the {baseline} model's "
                "{other}.",
            ),
            card="bits per hidden byte",
            title="Bits per byte of hidden tokens",
            note="How many bits the model needs to write down one byte of the tokens that are hidden in the test "
            "documents, 15 % of them; less is better. The unigram model knows how frequent each token is.",
            rows=[
                ("test loss", phrase("{loss} nats per hidden token", loss=f"{figures['loss']:.4f}")),
                ("hidden token right", f"{figures['token_accuracy']:.2%}"),
            ],
            cards=[Card(f"{figures['token_accuracy']:.1%}", "of hidden tokens right")],
            sampled="The beginning of test documents with hidden tokens in grey, and with the likeliest ones in their "
            "places.",
        )

    @override
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        import torch

        length = min(128, model.config.max_position_embeddings)
        ids = torch.arange(1, 1 + length, device=model.device)[None] % model.config.vocab_size
        for _ in range(0, tokens, length):
            with torch.inference_mode():
                model.logits(model.hidden_states(ids))
            yield length

    # answers

    @override
    def load(self, folder: Path) -> Answerer:
        return _Filling(folder)


class _Filling(Answerer):
    """Fills in every `[MASK]` of a text with the likeliest token."""

    def __init__(self, folder: Path) -> None:
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

        self._tokenizer, self._model = Tokenizer.load(folder), load_ready(folder)
        self._mask = mask_id_of(folder)

    @override
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        return [self._filled(text_of(row, number, "prompt"), number) for number, row in enumerate(rows)]

    def _filled(self, text: str, number: int) -> str:
        import torch

        parts = text.split(BLANK)
        if len(parts) == 1:
            raise DataError(f"row {number}: nothing is hidden: write {BLANK} in the place of what is to be filled in")
        ids = [self._tokenizer.start_id, *self._tokenizer.encode(parts[0])]
        for part in parts[1:]:
            ids += [self._mask, *self._tokenizer.encode(part)]
        ids.append(self._tokenizer.start_id)
        check_length(ids, self._model, number)
        tokens = torch.tensor(ids)
        places = tokens == self._mask
        with torch.inference_mode():
            logits = self._model.logits(self._model.hidden_states(tokens[None])[0, places])  # (blanks, V)
            logits[:, self._mask] = -torch.inf
            tokens[places] = logits.argmax(-1)
        return self._tokenizer.decode(tokens.tolist())


# --- windows of an evaluation -----------------------------------------------------------------------------------------


class _Window:
    """A part of a test document with some tokens hidden.

    Attributes:
        document: its number.
        first: it begins the document.
        shown: (T,) token ids that the model reads.
        truth: (T,) the document's own.
        asked: (T,) bool, which places are asked for.
    """

    def __init__(self, document: int, *, first: bool, shown: NDArray[np.int64], truth: NDArray[np.int64]) -> None:
        self.document, self.first, self.shown, self.truth = document, first, shown, truth
        self.asked = np.zeros(len(truth), dtype=np.bool_)


def _masked_windows(documents: Documents, tokenizer: Tokenizer, mask_id: int, context: int) -> list[_Window]:
    """Windows of single documents in which masks are drawn by the number of the document, the same ones every time.

    Here every token that is asked for is hidden: none is replaced by a random one or left as it is, which only
    training needs.
    """
    maskable = tokenizer.token_bytes > 0
    windows = []
    for number in range(len(documents.bytes)):
        ids = documents.tokens[documents.offsets[number] : documents.offsets[number + 1]]
        generator = np.random.default_rng([0, number])
        for start in range(0, len(ids), context):
            truth = np.asarray(ids[start : start + context], dtype=np.int64)
            window = _Window(number, first=start == 0, shown=truth.copy(), truth=truth)
            places = np.flatnonzero(maskable[truth])
            count = min(len(places), max(1, round(SHARE * len(places))))
            window.asked[generator.choice(places, count, replace=False)] = True
            window.shown[window.asked] = mask_id
            if count:
                windows.append(window)
    return windows


def _in_groups(windows: list[_Window]) -> Iterator[list[_Window]]:
    ordered = sorted(windows, key=lambda window: len(window.truth))
    for start in range(0, len(ordered), _ROWS):
        yield ordered[start : start + _ROWS]


def _scored(model: Any, group: list[_Window]) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Nats of the hidden tokens of each window, and the likeliest ones in their places.

    Windows of one length are read together: an encoder sees padding.
    """
    import torch

    found: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
    by_length: dict[int, list[_Window]] = {}
    for window in group:
        by_length.setdefault(len(window.truth), []).append(window)
    for windows in by_length.values():
        ids = torch.from_numpy(np.stack([w.shown for w in windows])).to(model.device)
        with torch.inference_mode():
            hidden = model.hidden_states(ids)  # (B, T, C)
            for row, window in enumerate(windows):
                places = torch.from_numpy(window.asked).to(model.device)
                scores = model.logits(hidden[row, places]).float().log_softmax(-1)  # (asked, V)
                truth = torch.from_numpy(window.truth[window.asked]).to(model.device)
                losses = -scores.gather(1, truth[:, None])[:, 0].double().cpu().numpy()
                found.append((losses, scores.argmax(-1).cpu().numpy()))
    return found


def _shown(tokenizer: Tokenizer, window: _Window, found: NDArray[np.int64]) -> Sample:
    text = window.shown.copy()
    text[window.asked] = found
    mask_id = int(window.shown[window.asked][0])
    return sample(tokenizer, window.shown.tolist(), text.tolist(), window.truth.tolist(), {mask_id: BLANK})


def check_length(ids: Sequence[int], model: Any, number: int) -> None:
    """Refuse a text that the model cannot read at once.

    Raises:
        DataError: it is longer than the model's positions.
    """
    longest = model.config.max_position_embeddings
    if len(ids) > longest:
        raise DataError(f"row {number}: the text has {len(ids)} tokens, the model reads {longest}: cut it up")


def mask_id_of(folder: Path) -> int:
    """The id that stands for a hidden token in the tokenizer of a model folder.

    Raises:
        ConfigError: it has none.
    """
    from zen_pipeline.tasks.special_tokens import required_ids

    return required_ids(folder, (MASK,))["mask_token"]


def documents_context(folder: Path) -> int:
    """Positions that the model in a folder has."""
    from zen_pipeline.models.folder import read_config

    return read_config(folder).max_position_embeddings


def unigram_nats(tokens: Path, ids: int) -> NDArray[np.float64]:
    """(ids,) nats of each token by its share in the training split, add-one smoothed."""
    from zen_pipeline.corpus.tokens.shards import TokenSplit

    counts = np.bincount(TokenSplit.open(tokens, "train").tokens, minlength=ids).astype(np.float64) + 1.0
    nats: NDArray[np.float64] = math.log(counts.sum()) - np.log(counts)
    return nats


@cache
def _tables(folder: str, *, whole_words: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Which tokens of a tokens artifact may be hidden, and which start a word where whole words are hidden."""
    sizes = np.load(Path(folder) / "token_bytes.npy")
    return sizes > 0, _word_starts(Path(folder), len(sizes)) if whole_words else None


def _word_starts(folder: Path, vocab_size: int) -> NDArray[np.bool_]:
    from tokenizers import Tokenizer

    names = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json")).get_vocab()
    vocabulary = [""] * vocab_size
    for name, index in names.items():
        vocabulary[index] = name
    return starts_of_words(vocabulary)


TASK = Masked()
