"""Evaluate: what the models are worth on text and questions that they have not learnt from, on one page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.files import write_json_lines
from zen_pipeline.logs import get_logger
from zen_pipeline.machine.threads import torch_threads
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.progress import counted, progress
from zen_pipeline.reporting.evaluation_page import evaluation_page, write_reports
from zen_pipeline.reporting.model_sections import model_reports
from zen_pipeline.stages.resolve import load_resolved, only_for_causal

if TYPE_CHECKING:
    from zen_pipeline.evaluation.language_model import Documents
    from zen_pipeline.models.base import CausalModel

STAGE_VERSION = 4
_NEEDS = ("validate", "resolve", "tokenize", "embed", "pretrain", "finetune")
_PROMPT_TOKENS = 32  # of a test document, before the model goes on
_TEMPERATURE, _TOP_P = 0.8, 0.95  # of the samples; the likeliest token alone runs into loops

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Fill `output` with metrics.json, documents.npz, samples.jsonl, answers.jsonl, blocks.json and report.html."""
    if (reason := only_for_causal(config, "this evaluation")) is not None:
        return Built("evaluation", skipped=reason)
    sizes = load_resolved(inputs["resolve"].path).evaluation
    test = _test_documents(inputs["tokenize"].path, config.evaluate.max_test_tokens or sizes.test_tokens)
    metrics: dict[str, Any] = {"test": _sizes(test), "baselines": _baselines(config, inputs["tokenize"].path, test)}
    metrics["test"]["baseline_tokens"] = metrics["baselines"].pop("tokens")
    samples: list[Sample] = []
    answers: list[Answer] = []
    if not inputs["pretrain"].skipped:
        metrics["base"], metrics["speed"], samples = _base(config, inputs["pretrain"].path, test, output, context)
    if not inputs["finetune"].skipped:
        most = config.evaluate.max_questions or sizes.questions
        metrics["chat"], speed, answers = _chat(inputs["finetune"].path, most, context)
        metrics.setdefault("speed", speed)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    write_json_lines(output / "samples.jsonl", map(asdict, samples))
    write_json_lines(output / "answers.jsonl", map(asdict, answers))
    models = model_reports(metrics, samples, answers)
    write_reports(output, models)
    page = output / "report.html"
    page.write_text(evaluation_page(config, inputs, models), encoding="utf-8")
    context.tracked.log_file(page)
    return Built("evaluation", summary=_summary(metrics))


# --- test documents ---------------------------------------------------------------------------------------------------


def _test_documents(folder: Path, max_tokens: int) -> Documents:
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.evaluation.language_model import first_documents

    split = TokenSplit.open(folder, "test")
    if len(split.bytes) == 0:
        raise DataError(
            "the test split holds no document, so nothing can be measured: add texts, name a file test.*, "
            "or raise validate.test_fraction"
        )
    return first_documents(split.tokens, split.offsets, split.bytes, max_tokens=max_tokens)


def _sizes(test: Documents) -> dict[str, int]:
    return {"documents": len(test.bytes), "tokens": int(test.text_tokens.sum()), "bytes": int(test.bytes.sum())}


def _baselines(config: Config, folder: Path, test: Documents) -> dict[str, float]:
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.evaluation.language_model import MAX_BASELINE_TOKENS, first_documents, ngram_baselines

    split = TokenSplit.open(folder, "train")
    train = first_documents(split.tokens, split.offsets, split.bytes, max_tokens=MAX_BASELINE_TOKENS)
    vocab_size = int(json.loads((folder / "shards.json").read_text())["vocab_size"])
    log.info("evaluate: counting n-grams of %d tokens", len(train.tokens))
    found = ngram_baselines(train, test, vocab_size=vocab_size, order=config.evaluate.ngram_order)
    return {**found, "tokens": len(train.tokens)}


# --- models -----------------------------------------------------------------------------------------------------------


def _base(
    config: Config, folder: Path, test: Documents, output: Path, context: StageContext
) -> tuple[dict[str, Any], dict[str, Any], list[Sample]]:
    """Metrics, speed and samples of the base model; writes documents.npz."""
    import numpy as np

    from zen_pipeline.evaluation.decoding_speed import measure
    from zen_pipeline.evaluation.language_model import score_model, summarize

    speed = measure(folder, test.tokens[: test.offsets[1]].tolist())
    model = _load(folder)
    log.info("evaluate: scoring %d test documents", len(test.bytes))
    with progress("evaluate: scoring the test split", bar=context.progress) as tell:
        scores = score_model(model, test, tell=tell)
    np.savez(output / "documents.npz", nats=scores.nats, bytes=test.bytes, tokens=scores.tokens)
    with torch_threads(speed.threads):
        samples = _samples(config, model, folder, test)
    return summarize(scores, test), asdict(speed), samples


def _samples(config: Config, model: CausalModel, folder: Path, test: Documents) -> list[Sample]:
    """Continuations of documents from all over the test set that are long enough to go on from."""
    import numpy as np

    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.inference.generate import generate

    tokenizer = Tokenizer.load(folder)
    settings = config.evaluate
    start = min(_PROMPT_TOKENS, model.config.max_position_embeddings // 2)
    long_enough = np.flatnonzero(test.text_tokens > 2 * start)
    places = np.linspace(0, len(long_enough) - 1, min(settings.samples, len(long_enough))).round().astype(int)
    samples = []
    for document in long_enough[places].tolist():
        ids = test.tokens[test.offsets[document] : test.offsets[document + 1]].tolist()
        new = generate(
            model,
            ids[:start],
            max_new_tokens=settings.sample_tokens,
            temperature=_TEMPERATURE,
            top_p=_TOP_P,
            seed=config.seed,
            stop_ids=tokenizer.stop_ids,
        )
        truth = ids[start : start + settings.sample_tokens]
        samples.append(Sample(*(tokenizer.decode(part) for part in (ids[:start], list(new), truth))))
    return samples


def _chat(
    folder: Path, max_questions: int, context: StageContext
) -> tuple[dict[str, Any], dict[str, Any], list[Answer]]:
    """Metrics, speed and answers of the chat model."""
    from zen_pipeline.evaluation.asking import ask, choose, greedy, summarize
    from zen_pipeline.evaluation.decoding_speed import measure
    from zen_pipeline.tasks.chat import chat_format
    from zen_pipeline.tasks.questions import read_questions

    questions = choose(read_questions(folder / "questions_test.jsonl"), max_questions)
    training_answers = [q.answer for q in read_questions(folder / "questions_train.jsonl")]
    chat = chat_format(folder)
    model = _load(folder)
    speed = measure(folder, chat.prompt([{"role": "user", "content": "What is new?"}]))
    log.info("evaluate: asking %d test questions", len(questions))
    shown = progress("evaluate: questions asked", bar=context.progress)
    with torch_threads(speed.threads), shown as tell:
        answers = ask(counted(questions, tell), greedy(model, chat))
    return summarize(answers, training_answers), asdict(speed), answers


def _load(folder: Path) -> CausalModel:
    import torch

    from zen_pipeline.models.folder import load_model

    model = load_model(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    return model.eval()


# --- files ------------------------------------------------------------------------------------------------------------


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {"baselines": metrics["baselines"], "test": metrics["test"]}
    for part in ("base", "speed"):
        if part in metrics:
            summary[part] = metrics[part]
    if chat := metrics.get("chat"):
        trivial = {name: scores["f1"] for name, scores in chat["baselines"].items()}
        summary["chat"] = {**{k: chat[k] for k in ("f1", "exact_match", "questions")}, "baseline_f1": trivial}
    return summary


def _settings_that_matter(config: Config) -> dict[str, Any]:
    return {**config.evaluate.identity(), "seed": config.seed}  # the seed chooses the samples


STAGE = Stage(
    name="evaluate",
    version=STAGE_VERSION,
    needs=always(*_NEEDS),
    build=build,
    settings=_settings_that_matter,
    libraries=("torch",),
)
run = STAGE.run
