"""Questions about documented functions and classes, made from the documents themselves.

One question for each subject, its form chosen by a hash of the subject, so that the same documents always give the
same questions and a new document changes no other question. Which subjects are kept for the test is a salted hash as
well. The subjects of the test are never asked about in training, and no training answer has the text of a test answer;
their documentation, however, is part of what the model was pretrained on: the test asks for what it has read, in a
form in which it was never asked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zen_pipeline.corpus.kinds.chat_formats import last_answer
from zen_pipeline.corpus.records import Kind, Record
from zen_pipeline.corpus.split import position
from zen_pipeline.errors import StoreError
from zen_pipeline.files import read_json_lines, write_json_lines
from zen_pipeline.tasks.chat_markup import question_and_answer

MAX_ANSWER = 300  # characters; longer first sentences are lists or formulas more often than sentences
_MIN_WORDS = 3
_MIN_LETTERS = 0.75  # share of letters and spaces in a sentence; below it are signatures, tables and formulas

CONVERSATIONS: frozenset[Kind] = frozenset({"chat", "preference", "qa"})

Form = Literal["purpose", "arguments", "module"]
# Shares of the forms where all are possible: most of what people ask is what a thing does.
_FORMS: tuple[tuple[Form, float], ...] = (("purpose", 0.7), ("arguments", 0.15), ("module", 0.15))


@dataclass(frozen=True)
class Documented:
    """What a question can be made from: the documentation of one object.

    Attributes:
        qualname: full name, `pathlib.Path.exists`.
        module: the module that defines it, `pathlib`.
        object: `function` or `class`.
        signature: its parameters, `(self, *, follow_symlinks=True)`.
        doc: the docstring.
    """

    qualname: str
    module: str
    object: str
    signature: str
    doc: str


@dataclass(frozen=True)
class Question:
    """One question with its reference answer, as a conversation.

    Attributes:
        id: stable name, from the subject.
        subject: what it asks about; the unit of the split into training and test.
        form: `purpose`, `arguments` or `module`; `chat` for a dialogue of the corpus.
        messages: roles and texts; the last one is the answer. Answers with weight 0 are context.
    """

    id: str
    subject: str
    form: str
    messages: list[dict[str, Any]]

    @property
    def question(self) -> str:
        """The text of the user's last message before the answer."""
        return next(str(m["content"]) for m in reversed(self.messages) if m["role"] == "user")

    @property
    def answer(self) -> str:
        """The reference answer."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class Split:
    """Questions by use.

    Attributes:
        train: learnt from.
        valid: watched during training, never learnt from.
        test: asked at the end.
        dropped: training and validation questions that were left out, as their answer is that of a test question.
    """

    train: list[Question]
    valid: list[Question]
    test: list[Question]
    dropped: int


def documented(text: str, meta: Mapping[str, Any]) -> Documented | None:
    """The documented object of one record of API documentation, or None for any other record.

    Args:
        text: a heading, a blank line, the docstring.
        meta: with `qualname`, `module`, `object` and `signature`.
    """
    qualname, module, kind, signature = (meta.get(key) for key in ("qualname", "module", "object", "signature"))
    if not (isinstance(qualname, str) and isinstance(module, str) and isinstance(signature, str)):
        return None
    if kind not in ("function", "class"):
        return None
    return Documented(qualname, module, str(kind), signature, text.partition("\n\n")[2])


def dialogue(record: Record) -> Question | None:
    """A conversation of the corpus up to its last answer to a user that is learnt, or None where it has none.

    A preference is its prompt with the better answer, a question with a context is asked with it; one that the context
    does not answer teaches no answer.
    """
    messages = _messages(record.kind, json.loads(record.meta))
    last = last_answer(messages)
    return None if last is None else Question(record.id, record.group, "chat", messages[: last + 1])


def _messages(kind: Kind, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    if kind == "preference":
        return [*meta["prompt"], {"role": "assistant", "content": meta["chosen"]}]
    if kind == "qa":
        asked = f"{meta['context']}\n\n{meta['question']}"
        return [] if meta["impossible"] else question_and_answer(asked, meta["answers"][0])
    return list(meta.get("messages", []))


def collect_questions(records: Iterable[Record], *, test_fraction: float, salt: str) -> Split:
    """The questions of a corpus: dialogues in their own splits, and questions about what its training split documents.

    Documents of the other splits are left out, as the model has not read them.
    """
    dialogues: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    objects: list[Documented] = []
    for record in records:
        if record.kind in CONVERSATIONS:
            found = dialogue(record)
            if found is not None:
                dialogues[str(record.split)].append(found)
        elif record.kind == "document" and record.split == "train":
            item = documented(record.text, json.loads(record.meta))
            if item is not None:
                objects.append(item)
    questions = make_questions(objects, testing=lambda subject: position(subject, salt) < test_fraction)
    api = split_questions(questions, test_fraction=test_fraction, salt=salt)
    train, valid, test = (a + dialogues[n] for a, n in ((api.train, "train"), (api.valid, "valid"), (api.test, "test")))
    return Split(train, valid, test, api.dropped)


def asks_anything(records: Path) -> bool:
    """True if `collect_questions` would probably find some in a parquet file of records, at a fraction of its cost."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=["kind", "meta"]):
            if set(pc.unique(batch["kind"]).to_pylist()) & CONVERSATIONS:
                return True
            if pc.any(pc.match_substring(batch["meta"], '"qualname"')).as_py():
                return True
    return False


def make_questions(
    objects: Iterable[Documented], *, testing: Callable[[str], bool] = lambda _: False
) -> list[Question]:
    """One question for each object whose documentation begins with a real sentence, in the order of their names.

    Args:
        objects: what is documented; of two with one name the first counts.
        testing: whether a subject is kept for the test. Those are not asked for their module: the answer names what
            many training questions were answered with.
    """
    first: dict[str, Documented] = {}
    for item in objects:
        if not any(part.startswith("_") for part in item.qualname.split(".")):
            first.setdefault(item.qualname, item)
    short_names = Counter(_short_name(item) for item in first.values())
    made = []
    for item in sorted(first.values(), key=lambda d: d.qualname):
        sentence = first_sentence(item.doc)
        if sentence is not None:
            unique = short_names[_short_name(item)] == 1 and not testing(item.qualname)
            made.append(_question(item, sentence, unique=unique))
    return made


def split_questions(questions: Sequence[Question], *, test_fraction: float, salt: str) -> Split:
    """Training, validation (half as many as test) and test questions, by a salted hash of the subject."""
    parts: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    for question in questions:
        place = position(question.subject, salt)
        part = "test" if place < test_fraction else "valid" if place < 1.5 * test_fraction else "train"
        parts[part].append(question)
    taken = {_squeezed(q.answer) for q in parts["test"]}
    train, valid = ([q for q in parts[name] if _squeezed(q.answer) not in taken] for name in ("train", "valid"))
    dropped = len(parts["train"]) + len(parts["valid"]) - len(train) - len(valid)
    return Split(train, valid, parts["test"], dropped)


# --- forms ------------------------------------------------------------------------------------------------------------


def _question(item: Documented, sentence: str, *, unique: bool) -> Question:
    arguments = argument_names(item.signature)
    possible: set[Form] = {"purpose"}
    if item.object == "function" and arguments:
        possible.add("arguments")
    if unique and item.module and _short_name(item) != item.qualname:
        possible.add("module")
    form = _choose(item.qualname, possible)
    asked, answer = _worded(item, form, sentence, arguments)
    return Question(f"api/{item.qualname}", item.qualname, form, question_and_answer(asked, answer))


def _choose(subject: str, possible: set[Form]) -> Form:
    place = position(subject, "form")
    for form, weight in _FORMS:
        if place < weight:
            return form if form in possible else "purpose"
        place -= weight
    return "purpose"


def _worded(item: Documented, form: Form, sentence: str, arguments: list[str]) -> tuple[str, str]:
    if form == "arguments":
        return f"Which arguments does `{item.qualname}` take?", f"It takes {_listed(arguments)}."
    if form == "module":
        return f"In which module is `{_short_name(item)}`?", f"It is in the module `{item.module}`."
    if item.object == "class":
        return f"What is the class `{item.qualname}` for?", sentence
    return f"What does `{item.qualname}` do?", sentence


def _short_name(item: Documented) -> str:
    return item.qualname.removeprefix(f"{item.module}.")


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def argument_names(signature: str) -> list[str]:
    """Names of the parameters in a signature such as `(self, path, /, *, mode='r', **options)`, without `self`."""
    names = []
    for part in _top_level_parts(signature.strip().removeprefix("(").removesuffix(")")):
        name = part.split("=", 1)[0].split(":", 1)[0].strip()
        if name.lstrip("*") and name != "/":
            names.append(name)
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _top_level_parts(text: str) -> Iterator[str]:
    """The text cut at the commas that are inside no bracket and no quotes."""
    depth, quote, begin = 0, "", 0
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[at - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


# --- sentences --------------------------------------------------------------------------------------------------------

_ROLE = re.compile(r":[a-zA-Z:+-]+:`~?\.?([^`<]+?)(?:\s*<[^`>]*>)?`")  # :func:`os.path.join`, :doc:`text <target>`
_LITERAL = re.compile(r"``([^`]+)``")
_REFERENCE = re.compile(r"`([^`<]+?)(?:\s*<[^`>]*>)?`_+")
_LINK = re.compile(r"\[?`~\.?([^`]+)`\]?")  # `~os.path.join`, [`~transformers.Trainer`]
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)[.!?](?=\s+[A-Z`\"'(]|$)")
_NOT_PROSE = re.compile(
    r">>>|::|https?:|\.\. |-{3,}|={3,}|\||->|<[a-z/]|@\w|^\w[\w.]*\(|\bTODO\b|: -|\b\w+:\s+\w+ \(|[\x00-\x1f]|…|\.\.\."
)
_STARTS_WELL = re.compile(
    r"(?!(?:Args?|Arguments|Parameters|Returns?|Raises|Examples?|Notes?|Input shape|Shape)\s*:)[A-Z`]"
)


def first_sentence(doc: str) -> str | None:
    """The first sentence of a docstring in plain words with `code` in single backticks; None where it has none."""
    paragraph = " ".join(doc.strip().split("\n\n", 1)[0].split())
    for pattern in (_ROLE, _LITERAL, _REFERENCE, _LINK):
        paragraph = pattern.sub(r"`\1`", paragraph)
    end = _SENTENCE_END.search(paragraph)
    sentence = paragraph[: end.end()] if end else f"{paragraph}."  # a summary line without its full stop
    return sentence if _is_sentence(sentence, paragraph) else None


def _is_sentence(sentence: str, paragraph: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in sentence)
    return (
        len(sentence) <= MAX_ANSWER
        and len(sentence.split()) >= _MIN_WORDS
        and letters >= _MIN_LETTERS * len(sentence)
        and _STARTS_WELL.match(sentence) is not None
        and _NOT_PROSE.search(sentence) is None
        and sentence.count("`") % 2 == 0
        and not paragraph.endswith((":", ",", ";"))
    )


def _squeezed(text: str) -> str:
    return " ".join(text.lower().split())


# --- files ------------------------------------------------------------------------------------------------------------


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """One JSON object per line: `id`, `subject`, `form`, `messages`."""
    write_json_lines(path, map(asdict, questions))


def read_questions(path: Path) -> list[Question]:
    """What `write_questions` wrote.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        return [Question(**entry) for entry in read_json_lines(path)]
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read: {error}; run `zen finetune` again") from None
