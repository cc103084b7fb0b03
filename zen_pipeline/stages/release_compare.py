"""A new model beside the champion, on the same test set.

The per-document and per-question results of a version are kept beside its weights, so that usually nothing has to be
computed. When the test set is another one, the champion is measured again on the present one, with its own tokenizer:
bits per byte and the F1 of answers do not depend on how a text is cut into tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.errors import StoreError
from zen_pipeline.files import read_json_lines
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs
from zen_pipeline.serving.bundle import read_release
from zen_pipeline.serving.decision import Comparison, compare_bits_per_byte, compare_f1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.tasks.questions import Question

log = get_logger(__name__)


@dataclass(frozen=True)
class Evidence:
    """What was measured of a new model.

    Attributes:
        measure: `bits_per_byte` or `f1`.
        figure: its value over the whole test set; None when that is empty.
        file: where the results per document or question lie.
        test_set: SHA-256 of the documents or questions, whatever the tokenizer.
        compare: the comparison with a champion, whose bundle it is given.
    """

    measure: str
    figure: float | None
    file: Path
    test_set: str
    compare: Callable[[Path], Comparison]


def documents_evidence(inputs: Inputs) -> Evidence:
    """The base model's bits per byte of the test documents that the evaluation scored.

    Raises:
        StoreError: the evaluation's documents are not those of the validated records.
    """
    file = inputs["evaluate"].path / "documents.npz"
    nats, sizes = _read_documents(file)
    texts = _test_texts(inputs, len(sizes))
    if [len(text.encode()) for text in texts] != sizes.tolist():
        raise StoreError(
            f"{file} does not describe the first test documents of {inputs['validate'].path}: evaluate again"
        )
    test_set = _digest(texts)

    def compare(champion: Path) -> Comparison:
        if read_release(champion).test_set == test_set:
            theirs, _ = _read_documents(champion / "evaluation" / file.name)
        else:
            log.info("the champion was measured on other documents: scoring it on the present ones")
            theirs = _score(champion / "float", texts)
        return compare_bits_per_byte(nats, theirs, sizes)

    figure = float(nats.sum()) / math.log(2) / float(sizes.sum()) if len(sizes) else None
    return Evidence("bits_per_byte", figure, file, test_set, compare)


def _read_documents(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nats and bytes of each scored document."""
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["nats"].astype(np.float64), arrays["bytes"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{file} cannot be read: {error}; evaluate again") from error


def _test_texts(inputs: Inputs, count: int) -> list[str]:
    """The texts of the first test documents, in the order in which they were made into tokens."""
    from zen_pipeline.corpus.records import read_records

    kind = inputs["tokenize"].summary.get("text", "document")
    records = read_records(inputs["validate"].path / "records.parquet", kind=kind, split="test")
    return [record.text for record in islice(records, count)]


def _score(folder: Path, texts: list[str]) -> NDArray[np.float64]:
    """Nats of each text under the model in this folder, with its own tokenizer."""
    import numpy as np

    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.inference.scoring import score_documents

    tokenizer, model = Tokenizer.load(folder), _load(folder)
    documents = [[tokenizer.start_id, *tokenizer.encode(text)] for text in texts]
    offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    tokens = np.concatenate([np.asarray(d, dtype=np.int64) for d in documents])
    context = model.config.max_position_embeddings
    return np.asarray(score_documents(model, tokens, offsets, context=context, batch=8), dtype=np.float64)


def answers_evidence(inputs: Inputs) -> Evidence:
    """The chat model's F1 over the test questions that the evaluation asked.

    Raises:
        StoreError: the evaluation's answers are not to the questions of the fine-tuning stage.
    """
    from zen_pipeline.tasks.questions import read_questions

    file = inputs["evaluate"].path / "answers.jsonl"
    ids, scores = _read_answers(file)
    known = {question.id: question for question in read_questions(inputs["finetune"].path / "questions_test.jsonl")}
    if any(each not in known for each in ids):
        raise StoreError(f"{file} does not answer the questions of {inputs['finetune'].path}: evaluate again")
    questions = [known[each] for each in ids]
    test_set = _digest(canonical_json(question.messages) for question in questions)

    def compare(champion: Path) -> Comparison:
        if read_release(champion).test_set == test_set:
            _, theirs = _read_answers(champion / "evaluation" / file.name)
        else:
            log.info("the champion answered other questions: asking it the present ones")
            theirs = _ask(champion / "float", questions)
        return compare_f1(scores, theirs)

    return Evidence("f1", float(scores.mean()) if ids else None, file, test_set, compare)


def _ask(folder: Path, questions: list[Question]) -> NDArray[np.float64]:
    """F1 of the answers of the chat model in this folder, asked as the evaluation asks."""
    import numpy as np

    from zen_pipeline.evaluation.asking import ask, greedy
    from zen_pipeline.tasks.chat import chat_format

    answers = ask(questions, greedy(_load(folder), chat_format(folder)))
    return np.array([answer.f1 for answer in answers], dtype=np.float64)


def _load(folder: Path) -> CausalModel:
    """The model on the device that the evaluation uses, so that both sides are computed alike."""
    import torch

    from zen_pipeline.models.folder import load_model

    return load_model(folder, device="cuda" if torch.cuda.is_available() else "cpu")


def _read_answers(file: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Question ids and F1 of the answers."""
    import numpy as np

    try:
        answers = read_json_lines(file)
        return [str(a["id"]) for a in answers], np.array([a["f1"] for a in answers], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file} cannot be read: {error}; evaluate again") from error


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()
