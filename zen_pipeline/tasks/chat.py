"""Chat: answers to messages, learnt from conversations of which the answers alone are targets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.blocks import Block, Cell, Facts, Label, ModelReport, Note, Quote, Section, Share, Table, phrase
from zen_pipeline.config import Config
from zen_pipeline.errors import DataError
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Metric, Score
from zen_pipeline.family_specs import families_of
from zen_pipeline.logs import get_logger
from zen_pipeline.progress import Tell, counted
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
from zen_pipeline.tasks.language import TASK as LANGUAGE
from zen_pipeline.tasks.language import check_fits, continue_prompt
from zen_pipeline.tasks.reports import score_card, speed_rows, verdict
from zen_pipeline.tasks.shown import MOST_SAMPLES, NEW_TOKENS, learnt, sample

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.tasks.chat_markup import ChatFormat
    from zen_pipeline.tasks.questions import Question, Split
    from zen_pipeline.training.data import Source
    from zen_pipeline.training.job import ConversationData, TrainingJob

_MAX_VALIDATION = 256  # conversations; their loss then varies by a few hundredths of a nat
_NOTHING_TO_LEARN = (
    "the corpus holds no conversations to learn from and to test with, and documents no functions or classes: add a "
    ".jsonl file with messages, or with question and answer (test.jsonl for the test), or the source python_docs"
)

_MAX_SHOWN = 12  # answers, before the rest is folded away
_VERDICTS = (
    "The chat model's answers to {questions} new questions reach F1 {value}.",
    "The chat model's answers to {questions} new questions reach F1 {value}, above what a fixed answer gets ({other}).",
    "The chat model's answers to {questions} new questions reach F1 {value}; a fixed answer gets {other}.",
)
_API_NOTE = "Training never asks about the subjects of the questions on documentation, and holds none of their answers."
_READ_NOTE = "But the documentation that they come from was part of the text that the model was pretrained on."
_CHAT_NOTE = "Questions of the kind chat are dialogues from the test split of the corpus."
_ANSWERS_NOTE = (
    "Answers are the likeliest tokens one after the other (greedy), compared with the reference as in SQuAD: words "
    "without case, punctuation and articles. The other rows are what can be had without a model: the answer that is "
    "most frequent in training, and the question itself, said again (echo)."
)

Rendered = tuple[list[int], list[bool]]  # the ids of a conversation, and which of them are learnt

log = get_logger(__name__)


class _Asked(NamedTuple):
    """Test questions, and the reference answers of the training questions."""

    questions: list[Question]
    training_answers: list[str]


class Chat(Task):
    """Answers messages; decided by the F1 of its answers, against the best fixed answer."""

    name = "chat"
    model = "chat"
    help = "Answers messages."
    families = frozenset(families_of("decoder"))
    starts_from = "language"
    metric = Metric(
        "f1",
        "F1 of {count} answers",
        "questions",
        lower_is_better=False,
        seed_noise=0.02,  # an assumption, not measured
    )
    command = "chat"
    columns = ("prompt", "messages")
    decodes = True

    # training

    @override
    def teaches(self, records: Path) -> bool:
        from zen_pipeline.tasks.questions import asks_anything

        return asks_anything(records)

    @override
    def needed_context(self, records: Path, bytes_per_token: float) -> int:
        from zen_pipeline.corpus.records import read_records
        from zen_pipeline.tasks.supervision import estimated_lengths, fitting_context

        return fitting_context(estimated_lengths(read_records(records, split="train"), bytes_per_token))

    @override
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        from zen_pipeline.models.folder import read_config
        from zen_pipeline.tasks.supervision import too_short

        assert asked.start is not None
        questions = questions_of(asked.config, asked.records)
        if not questions.train or not questions.test:
            return Skipped(_NOTHING_TO_LEARN)
        tokenizer, chat = _tokenizer(asked.start, asked.work / "tokenizer")
        questions, rendered, refused = _rendered(questions, chat)
        if not questions.train or not questions.test:
            return Skipped(f"the chat template of {asked.start} refuses all conversations to learn from or to ask")
        shape = read_config(asked.start)
        positions = min(asked.resolved.model.context_length, shape.max_position_embeddings)
        data, counts = _write_data(rendered, positions, asked.work)
        note = too_short([len(ids) - 1 for ids, _ in rendered["train"]], positions)
        if data is None:
            return Skipped(f"nothing fits: {note}")
        if note is not None:
            log.warning("%s", note)

        def finish(folder: Path) -> None:
            _write_questions(folder, questions)
            _end_at_message_end(folder, chat)

        own = asked.config.finetune
        return Material(
            data=data,
            tokenizer=tokenizer,
            vocab_size=shape.vocab_size,
            batch=own.batch_size,
            micro_batch=min(own.batch_size, asked.resolved.finetune.micro_batch),
            context=positions,
            counts=_counts(questions, {**counts, "refused": refused}),
            finish=finish,
        )

    @override
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        from zen_pipeline.inference.generate import generate
        from zen_pipeline.training.data import IGNORED

        batches = source.validation()

        def answers(model: Any) -> list[Sample]:
            """The likeliest answers to the first questions; each ends with the token that ends the true one."""
            said, batch = [], batches[0]
            for row in range(min(MOST_SAMPLES, len(batch.input_ids))):
                places = (batch.targets[row] != IGNORED).nonzero().flatten()
                prompt = batch.input_ids[row, : int(places[0]) + 1].tolist()
                reference = learnt(batch, row)
                stop = {*tokenizer.stop_ids, reference[-1]}
                new = generate(model, prompt, max_new_tokens=NEW_TOKENS, temperature=0.0, stop_ids=stop)
                said.append(sample(tokenizer, prompt, list(new), reference))
            return said

        return answers if batches else None

    # evaluation

    @override
    def test_set(self, asked: EvaluationRequest) -> TestSet | Skipped:
        from zen_pipeline.tasks.asking import choose
        from zen_pipeline.tasks.questions import read_questions

        most = asked.config.evaluate.max_questions or asked.sizes.questions
        questions = choose(read_questions(asked.model / "questions_test.jsonl"), most)
        training_answers = [q.answer for q in read_questions(asked.model / "questions_train.jsonl")]
        digest = digest_of([canonical_json(question.messages) for question in questions])
        return TestSet(_Asked(questions, training_answers), digest, {"questions": len(questions)})

    @override
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        from zen_pipeline.tasks.asking import ask, greedy, summarize
        from zen_pipeline.tasks.chat_markup import chat_format

        asked: _Asked = test.items
        model = load_ready(folder)
        answers = ask(counted(asked.questions, tell), greedy(model, chat_format(folder)))
        units = np.array([[answer.f1, 1.0] for answer in answers], dtype=np.float64)
        samples = [Sample(a.question, a.answer, a.reference, a.f1, a.form) for a in answers]
        return Measured(units, summarize(answers), samples)

    @override
    def figure(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
        return found

    @override
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        from zen_pipeline.tasks.asking import fixed_answers

        return fixed_answers(test.items.questions, test.items.training_answers)

    @override
    def loss(self, folder: Path, asked: EvaluationRequest, most: int, tell: Tell | None = None) -> float:
        return LANGUAGE.loss(folder, asked, most, tell)

    @override
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        score, figures = Score(**metrics["score"]), metrics["figures"]
        read = asked.config.finetune.init_from is None
        blocks: list[Block] = [Note(note) for note in _notes(list(figures["forms"]), read=read)]
        rows: list[tuple[Label, Cell, Cell]] = [
            (phrase("this model"), round(score.value, 3), round(figures["exact_match"], 3))
        ]
        rows += [(phrase(name), round(f1, 3), None) for name, f1 in metrics["baselines"].items()]
        blocks.append(Table(("", "F1", "exact match"), rows))
        if forms := figures["forms"]:
            kinds = [(n, f["questions"], round(f["f1"], 3), round(f["echo_f1"], 3)) for n, f in forms.items()]
            blocks.append(Table(("kind of question", "questions", "F1", "F1 of the question said again"), kinds))
        blocks.append(Facts(speed_rows(metrics["speed"])))
        quoted = [(Quote(s.prompt), Quote(s.text), Quote(s.reference), Share(s.score or 0.0)) for s in samples]
        blocks.append(Table(("question", "answer", "reference", "F1"), quoted, stacked=True, shown=_MAX_SHOWN))
        said = verdict(score, _VERDICTS, questions=figures["questions"])
        return ModelReport(said, [score_card(score, "answer F1")], [Section("answers", "Answers", blocks)])

    @override
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        return continue_prompt(model, tokens)

    # answers

    @override
    def taught(self, folder: Path) -> bool:
        from zen_pipeline.tasks.chat_markup import folder_template

        return folder_template(folder) is not None

    @override
    def load(self, folder: Path) -> Answerer:
        return _Answering(folder)


class _Answering(Answerer):
    def __init__(self, folder: Path) -> None:
        from zen_pipeline.models.folder import load_model
        from zen_pipeline.tasks.chat_markup import chat_format

        self._chat, self._model = chat_format(folder), load_model(folder)

    @override
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        from zen_pipeline.inference.generate import generate

        answers = []
        for number, row in enumerate(rows):
            ids = self._chat.prompt(_messages(row, number))
            check_fits(ids, self._model, number)
            new = generate(self._model, ids, stop_ids=self._chat.stop_ids, **settings)
            answers.append(self._chat.decode(list(new)))
        return answers


def _messages(row: Mapping[str, Any], number: int) -> list[dict[str, str]]:
    value = row.get("messages")
    # a frame holds a list of turns as a list or as an array; an absent one is None or NaN
    turns: Any = value if value is None or isinstance(value, list) else getattr(value, "tolist", list)()
    messages = [dict(turn) for turn in turns] if isinstance(turns, list) else []
    if not messages and isinstance(row.get("prompt"), str):
        messages = [{"role": "user", "content": row["prompt"]}]
    if not messages:
        found = ", ".join(sorted(map(str, row))) or "nothing"
        raise DataError(f"row {number}: expected a text in `prompt` or turns in `messages`, found {found}")
    return messages


def _notes(forms: Sequence[str], *, read: bool) -> list[str]:
    """What the questions are, and what the model may have read of them."""
    api = any(form != "chat" for form in forms)
    return [_API_NOTE] * api + [_READ_NOTE] * (api and read) + [_CHAT_NOTE] * ("chat" in forms) + [_ANSWERS_NOTE]


# --- what is learnt ---------------------------------------------------------------------------------------------------


def questions_of(config: Config, records: Path) -> Split:
    """The questions of the validated records in a folder, by split."""
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.questions import collect_questions

    return collect_questions(
        read_records(records / "records.parquet"),
        test_fraction=config.finetune.test_fraction,
        salt=f"{config.validate_.split_salt} questions",
    )


def _tokenizer(start: Path, folder: Path) -> tuple[Path, ChatFormat]:
    """The tokenizer's files with a chat template: the one that they bring along, else ChatML."""
    from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
    from zen_pipeline.tasks.chat_markup import chat_format, folder_template, write_template

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
    return [(ids, supervised) for ids, supervised in rendered if len(ids) <= positions + 1]


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


def _counts(questions: Split, counts: Mapping[str, int]) -> dict[str, Any]:
    asked = {"train": len(questions.train), "valid": len(questions.valid), "test": len(questions.test)}
    left_out = {"dropped_same_answer": questions.dropped, "too_long": counts["too_long"], "refused": counts["refused"]}
    return {"questions": {**asked, **left_out}, "supervised_tokens": counts["supervised_tokens"]}


def _write_questions(folder: Path, questions: Split) -> None:
    from zen_pipeline.tasks.questions import write_questions

    for name in ("train", "valid", "test"):
        write_questions(folder / f"questions_{name}.jsonl", getattr(questions, name))


def _end_at_message_end(folder: Path, chat: ChatFormat) -> None:
    """Let every engine that reads generation_config.json stop where an answer ends."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["eos_token_id"] = sorted(chat.stop_ids)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


TASK = Chat()
