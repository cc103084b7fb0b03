"""Fine-tune: a chat model from the base model, by conversations whose answers alone are learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import ArtifactRef, Built
from zen_pipeline.config import Config
from zen_pipeline.errors import DataError
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from zen_pipeline.tasks.chat import ChatFormat
    from zen_pipeline.tasks.questions import Question, Split
    from zen_pipeline.training.job import ConversationData, TrainingJob, TrainingResult
    from zen_pipeline.training.resolved import Resolved

STAGE_VERSION = 6
KIND = "model"
_MAX_VALIDATION = 256  # conversations; their loss then varies by a few hundredths of a nat
_NOTHING_TO_LEARN = (
    "the corpus holds no conversations to learn from and to test with, and documents no functions or classes: add a "
    ".jsonl file with messages, or with question and answer (test.jsonl for the test), or the source python_docs"
)

Rendered = tuple[list[int], list[bool]]  # the ids of a conversation, and which of them are learnt

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Fill `output` with the chat model, its tokenizer and template, its history and the questions."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.models.folder import read_config
    from zen_pipeline.stages.pretrain import check_vocabulary
    from zen_pipeline.stages.resolve import load_resolved, only_for_causal
    from zen_pipeline.tasks.supervision import too_short
    from zen_pipeline.training.launcher import launch

    if not config.finetune.enabled:
        return Built(KIND, skipped="fine-tuning is turned off (finetune.enabled: false)")
    if (reason := only_for_causal(config, "answering questions")) is not None:
        return Built(KIND, skipped=reason)
    if config.finetune.init_from is None and inputs["pretrain"].skipped:
        return Built(KIND, skipped=f"there is no base model to start from: {inputs['pretrain'].skipped}")
    questions = _questions(config, inputs["validate"])
    if not questions.train or not questions.test:
        return Built(KIND, skipped=_NOTHING_TO_LEARN)
    start = _start(config, inputs)
    tokenizer, chat = _tokenizer(start, context.work / "tokenizer")
    shape = read_config(start)
    check_vocabulary(start, Tokenizer.load(tokenizer).vocab_size)
    questions, rendered, refused = _rendered(questions, chat)
    if not questions.train or not questions.test:
        return Built(KIND, skipped=f"the chat template of {start} refuses all conversations to learn from or to ask")
    resolved = load_resolved(inputs["resolve"].path)
    positions = min(resolved.model.context_length, shape.max_position_embeddings)
    data, counts = _write_data(rendered, positions, context.work)
    if data is None:
        return Built(KIND, skipped=f"nothing fits: {too_short(_lengths(rendered), positions)}")
    if (note := too_short(_lengths(rendered), positions)) is not None:
        log.warning("%s", note)
    folders = {"init_from": str(start), "tokenizer": str(tokenizer), "output": str(output)}
    job = _job(config, resolved, context, data=data, context=positions, **folders)
    result = launch(job, work=context.work, progress=context.progress)
    _write_questions(output, questions)
    _end_at_message_end(output, chat)
    return Built(KIND, summary=_summary(questions, {**counts, "refused": refused}, result))


# --- what is learnt ---------------------------------------------------------------------------------------------------


def _questions(config: Config, records: ArtifactRef) -> Split:
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.questions import collect_questions

    return collect_questions(
        read_records(records.path / "records.parquet"),
        test_fraction=config.finetune.test_fraction,
        salt=f"{config.validate_.split_salt} questions",
    )


def _start(config: Config, inputs: Inputs) -> Path:
    """The model folder that training starts from."""
    if config.finetune.init_from is None:
        return inputs["pretrain"].path
    return Path(config.finetune.init_from)


def _tokenizer(start: Path, folder: Path) -> tuple[Path, ChatFormat]:
    """The tokenizer's files with a chat template: the one that they bring along, else ChatML."""
    from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
    from zen_pipeline.tasks.chat import chat_format, folder_template, write_template

    copy_tokenizer_files(start, folder)
    if folder_template(folder) is None:
        write_template(folder)
    return folder, chat_format(folder)


def _rendered(questions: Split, chat: ChatFormat) -> tuple[Split, dict[str, list[Rendered]], int]:
    """Every conversation as ids, by split, and how many are left out because the chat template refuses them.

    A template may refuse roles in an order that it does not know; what it refuses is neither learnt nor asked.
    """
    from zen_pipeline.tasks.questions import Split

    kept: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    rendered: dict[str, list[Rendered]] = {"train": [], "valid": [], "test": []}
    refused: list[str] = []
    for name, part in (("train", questions.train), ("valid", questions.valid), ("test", questions.test)):
        for question in part:
            try:
                rendered[name].append(chat.render(question.messages))
            except DataError as error:
                refused.append(str(error))
            else:
                kept[name].append(question)
    if refused:
        log.warning("%d conversations are left out; the first one: %s", len(refused), refused[0])
    return Split(**kept, dropped=questions.dropped), rendered, len(refused)


def _fitting(rendered: list[Rendered], positions: int) -> list[Rendered]:
    """Conversations that fit into the context: half a question teaches nothing."""
    return [(ids, learnt) for ids, learnt in rendered if len(ids) <= positions + 1]


def _lengths(rendered: dict[str, list[Rendered]]) -> list[int]:
    return [len(ids) - 1 for ids, _ in rendered["train"]]


def _write_data(
    rendered: dict[str, list[Rendered]], positions: int, work: Path
) -> tuple[ConversationData | None, dict[str, int]]:
    """The files of the training process, and what became of the conversations; no files when none fits."""
    from zen_pipeline.training.data import save_conversations
    from zen_pipeline.training.job import ConversationData

    train, valid = _fitting(rendered["train"], positions), _fitting(rendered["valid"][:_MAX_VALIDATION], positions)
    too_long = len(rendered["train"]) - len(train)
    if not train:
        return None, {"too_long": too_long}
    paths = {"train": work / "train.safetensors", "valid": work / "valid.safetensors"}
    counts = save_conversations(paths["train"], train, context=positions)
    if valid:
        save_conversations(paths["valid"], valid, context=positions)
    data = ConversationData(train=str(paths["train"]), valid=str(paths["valid"]) if valid else None)
    return data, {**counts, "too_long": too_long}


# --- training ---------------------------------------------------------------------------------------------------------


def _job(config: Config, resolved: Resolved, stage: StageContext, /, **given: Any) -> TrainingJob:
    """The training job; explicit settings win over the resolved ones.

    Args:
        config: the whole configuration.
        resolved: sizes that the budget came to.
        stage: where it works.
        given: the fields that say what is trained on what.
    """
    from zen_pipeline.stages.pretrain import device_count
    from zen_pipeline.training.job import Schedule, TrainingJob

    own, sizes = config.finetune, resolved.finetune
    return TrainingJob(
        name="finetune",
        **given,
        steps=own.steps or sizes.steps,
        batch=own.batch_size,
        micro_batch=min(own.batch_size, sizes.micro_batch),
        schedule=Schedule(
            learning_rate=own.learning_rate or sizes.learning_rate,
            embedding_learning_rate=own.embedding_learning_rate or sizes.embedding_learning_rate,
            weight_decay=own.weight_decay,
            warmup=own.warmup,
            cooldown=own.cooldown,
            gradient_clip=own.gradient_clip,
        ),
        precision=resolved.precision,
        threads=resolved.threads,
        workers=resolved.workers,
        peak_flops=resolved.peak_flops,
        watts_per_core=config.pretrain.watts_per_core,
        devices=device_count(config.pretrain.devices, own.batch_size, enlarge="finetune.batch_size"),
        sharding=config.pretrain.sharding,
        rank_timeout=config.pretrain.rank_timeout,
        seed=config.seed,
        checkpoints=str(stage.work / "checkpoints"),
        checkpoint_every=own.checkpoint_every,
        validate_every=own.validate_every,
        tracking_uri=stage.tracked.tracking_uri,
        tracking_run_id=stage.tracked.run_id,
        run_id=stage.run_id,
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _write_questions(output: Path, questions: Split) -> None:
    from zen_pipeline.tasks.questions import write_questions

    for name in ("train", "valid", "test"):
        write_questions(output / f"questions_{name}.jsonl", getattr(questions, name))


def _end_at_message_end(output: Path, chat: ChatFormat) -> None:
    """Let every engine that reads generation_config.json stop where an answer ends."""
    path = output / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["eos_token_id"] = sorted(chat.stop_ids)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _summary(questions: Split, counts: dict[str, int], result: TrainingResult) -> dict[str, Any]:
    from zen_pipeline.stages.pretrain import summary as training_summary

    asked = {"train": len(questions.train), "valid": len(questions.valid), "test": len(questions.test)}
    return {
        "questions": {
            **asked,
            "dropped_same_answer": questions.dropped,
            "too_long": counts["too_long"],
            "refused": counts["refused"],
        },
        "supervised_tokens": counts["supervised_tokens"],
        **training_summary(result),
    }


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    """The digest of the folder to start from, in place of its path."""
    from zen_pipeline.stages.pretrain import model_digest

    folder = config.finetune.init_from if config.finetune.enabled else None
    return {} if folder is None else {"init_from": model_digest(Path(folder))}


def _settings(config: Config) -> dict[str, Any]:
    settings = config.finetune.identity()
    settings["init_from"] = config.finetune.init_from is not None
    return {**settings, "seed": config.seed}


STAGE = Stage(
    name="finetune",
    version=STAGE_VERSION,
    needs=always("validate", "resolve", "tokenize", "pretrain"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("torch", "lightning", "tokenizers"),
    retried=True,
)
run = STAGE.run
