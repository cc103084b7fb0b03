"""What a row of a table is: recognised by its fields and what is in them, and put into the shape of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from zen_pipeline.corpus.kinds import chat_formats, instructions, preferences, question_answering, trees
from zen_pipeline.corpus.kinds.chat_turns import Message
from zen_pipeline.corpus.kinds.fields import Fields, NotLearnt, our_name
from zen_pipeline.corpus.kinds.kinds import Content, chat, language_code, pair, rendering
from zen_pipeline.corpus.records import Kind

LABELS = ("label", "labels", "class", "category", "gold_label", "is_duplicate")
_LABELLED = ("sentence", "tweet", "comment", "review", "content", "utterance", "question", "query", "title")
# Two texts that have one label together: natural language inference, paraphrases, relevance.
_LABELLED_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "passage"),
)
_TEXTS = ("content", "paragraphs", "lines", "sentences")  # of a document whose field is not called `text`
_TURNS = ("messages", "conversations")  # hold a conversation, whatever is in them
_REMEMBERED = 1000  # combinations of fields
_LONGEST_LABEL = 64  # characters; what is longer, or has several lines, is text
_SIDES = (("source", "target"), ("src", "tgt"))
KNOWN = (
    "text, label; messages; conversations; instruction, output; prompt, response; question, answer; "
    "question, context, answers; prompt, chosen, rejected; source, target; two columns named by languages"
)


class Form(NamedTuple):
    """One of the shapes that rows have.

    Attributes:
        kind: of the records that are made from them.
        needs: names of fields, one of which such a row has; None: any row may be one.
        claim: the fields that tell the form, or None for a row that has not got it.
        read: the contents of a row by these fields, or why one cannot be used; several for an article of SQuAD.
    """

    kind: Kind
    needs: frozenset[str] | None
    claim: Callable[[Fields], Sequence[str] | None]
    read: Callable[[Fields, Sequence[str]], Iterator[Content | str]]


class Recognised(NamedTuple):
    """What a row was taken for: the form, and the fields that told it."""

    form: Form
    names: Sequence[str]


class Recogniser:
    """Tells what rows are. The first form that fits counts.

    What holds structure comes before plain text, and plain text before what is told by the names of two fields alone:
    a conversation may have a rendered `text`, and anything a `source`. A field without a value is no field.

    Args:
        kind: what every row is; None to recognise it.
        text_column: the field that holds the text of a document.
        renamed: our names of fields and those in the data; the kinds they belong to come first.
    """

    def __init__(self, kind: Kind | None, text_column: str, renamed: Mapping[str, str]) -> None:
        self._renamed, self._kind = renamed, kind
        self._column = text_column
        forms = _forms(our_name(text_column))
        first = {_NAMED[name] for name in renamed if name in _NAMED}
        if text_column != "text":
            first |= {"document", "classification"}
        forms.sort(key=lambda form: form.kind not in first)
        self._forms = [form for form in forms if kind in (None, form.kind)]
        self._candidates: dict[tuple[str, ...], list[Form]] = {}  # by the names of a row's fields

    def fields(self, row: Mapping[str, Any]) -> Fields:
        """The row by our names."""
        return Fields(row, self._renamed)

    def recognise(self, fields: Fields) -> Recognised | str:
        """What the row is, or why that is not known."""
        found = self._first_claim(fields)
        if found is None:
            fields.count_blanks()
            found = self._first_claim(fields)
        if found is not None:
            return found
        if self._kind not in (None, "document", "classification"):
            return f"not a {self._kind}: its fields are {', '.join(fields.names()) or '(none)'}"
        return f"no field {self._column!r}" + (" with a value" if our_name(self._column) in fields.all_names() else "")

    def _first_claim(self, fields: Fields) -> Recognised | None:
        for form in self._possible(fields.names()):
            names = form.claim(fields)
            if names is not None:
                return Recognised(form, names)
        return None

    def _possible(self, names: tuple[str, ...]) -> list[Form]:
        """The forms that a row with these fields can have; remembered, since rows of a file resemble each other."""
        found = self._candidates.get(names)
        if found is None:
            if len(self._candidates) >= _REMEMBERED:
                self._candidates.clear()
            found = [form for form in self._forms if form.needs is None or not form.needs.isdisjoint(names)]
            self._candidates[names] = found
        return found

    def knows(self, names: Sequence[str]) -> bool:
        """True if columns of these names hold rows of a known kind, as far as names can tell."""
        return not isinstance(self.recognise(self.fields(dict.fromkeys(names, "0"))), str)


def _forms(text_column: str) -> list[Form]:
    """All forms in the order of precedence."""
    pairs = frozenset(name for pair in _LABELLED_PAIRS for name in pair)
    asked = frozenset((*instructions.QUESTIONS, "user", "human", "q"))
    return [
        Form("preference", preferences.FIELDS, preferences.claim, _preference),
        Form("chat", frozenset(chat_formats.TURNS), _claim_turns, _turns),
        Form("chat", frozenset(("prompt", "mapping")), trees.claim, _tree),
        Form("chat", asked, instructions.claim_turns, _prompt_in_turns),
        Form("chat", frozenset(("segments",)), _claim_segments, _segments),
        Form("translation", frozenset(("translation",)), _claim_languages_object, _languages_object),
        Form("qa", frozenset(("paragraphs", "qas")), question_answering.claim_articles, _articles),
        Form("qa", frozenset(("question", "query")), question_answering.claim_question, _question),
        Form("chat", asked, instructions.claim, _instruction),
        Form("classification", pairs, _claim_labelled_pair, _labelled),
        Form("classification", frozenset((text_column,)), partial(_claim_labelled, texts=(text_column,)), _labelled),
        Form("document", frozenset((text_column,)), partial(_claim_text, text_column=text_column), _document),
        Form("classification", frozenset(_LABELLED), partial(_claim_labelled, texts=_LABELLED), _labelled),
        Form("translation", frozenset(("source", "src")), _claim_sides, _sides),
        Form("translation", None, _claim_languages, _languages),
        Form("document", frozenset(_TEXTS), _claim_other_text, _document),
        Form("chat", frozenset(_TURNS), lambda fields: _one(fields.first(_TURNS)), _turns),
    ]


# The kind of record that a field belongs to, where only one has it.
_NAMED: Mapping[str, Kind] = {
    "label": "classification",
    "source": "translation",
    "target": "translation",
    "chosen": "preference",
    "rejected": "preference",
    "messages": "chat",
    "conversations": "chat",
    "context": "qa",
}


def _one(name: str | None) -> tuple[str] | None:
    return None if name is None else (name,)


# --- documents and labels ---------------------------------------------------------------------------------------------


def _claim_text(fields: Fields, text_column: str) -> tuple[str] | None:
    return (text_column,) if text_column in fields else None


def _claim_other_text(fields: Fields) -> tuple[str] | None:
    return _one(next((name for name in _TEXTS if _text_of(fields.get(name)) is not None), None))


def _document(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    value = fields.take(names[0])
    text = _text_of(value)
    yield (
        f"{names[0]!r} is not text but {type(value).__name__}" if text is None else Content("document", text, {}, text)
    )


def _text_of(value: Any) -> str | None:
    """A text, or the lines of a list of texts."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _label(fields: Fields) -> str | None:
    """The name of the label field: the first whose value is a whole number, or one line of at most 64 characters.

    Whatever the user calls the label is one.
    """
    return next((n for n in LABELS if n in fields and (n in fields.named or _is_label(fields.get(n)))), None)


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.strip()) > 0 and len(value) <= _LONGEST_LABEL and "\n" not in value
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _claim_labelled(fields: Fields, texts: Sequence[str]) -> Sequence[str] | None:
    label = _label(fields)
    text = None if label is None else next((name for name in texts if fields.text(name) is not None), None)
    return None if label is None or text is None else (text, label)


def _claim_labelled_pair(fields: Fields) -> Sequence[str] | None:
    label = _label(fields)
    if label is None:
        return None
    found = next((pair for pair in _LABELLED_PAIRS if all(fields.text(name) is not None for name in pair)), None)
    return None if found is None else (*found, label)


def _labelled(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    text, value = "\n\n".join(fields.take(name) for name in names[:-1]), fields.take(names[-1])
    if isinstance(value, str):
        value = value.strip()
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        yield f"the label is not one value but {type(value).__name__}"
        return
    meta = {"text": text, "label": value}
    yield Content("classification", rendering("classification", meta), meta, text)


# --- translations -----------------------------------------------------------------------------------------------------


def _claim_languages_object(fields: Fields) -> tuple[str] | None:
    sides = fields.get("translation")
    return ("translation",) if isinstance(sides, Mapping) and len(sides) > 1 else None


def _languages_object(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    sides = fields.take(names[0])
    if isinstance(sides.get("language"), list) and isinstance(sides.get("translation"), list):
        sides = dict(zip(sides["language"], sides["translation"], strict=False))
    inner = Fields(sides, {})
    found = _claim_languages(inner) or _claim_sides(inner)
    if found is None:
        yield "'translation' is not an object of two languages"
    else:
        yield from (_languages if found not in _SIDES else _sides)(inner, found)


def _claim_languages(fields: Fields) -> Sequence[str] | None:
    """The fields that are named by languages, such as `en` and `zh-cn`, when there are at least two."""
    found = [name for name in fields.names() if language_code(name) and fields.text(name) is not None]
    return tuple(found) if len(found) > 1 else None


def _languages(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    if len(names) > 2:
        yield f"the same in {len(names)} languages ({', '.join(names)}): name two of them, as source and as target"
        return
    first, second = names
    yield pair(fields.take(first), fields.take(second), language_code(first), language_code(second))


def _claim_sides(fields: Fields) -> Sequence[str] | None:
    return next((both for both in _SIDES if all(fields.text(side) is not None for side in both)), None)


def _sides(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    source, target = names
    texts = fields.take(source), fields.take(target)
    yield pair(*texts, _side_language(fields, source), _side_language(fields, target))


def _side_language(fields: Fields, side: str) -> str:
    """The language that a field next to it names, or the name of its own field: `--source en --target zh`."""
    named = fields.first((f"{side}_language", f"{side}_lang"))
    return language_code(fields.called(side)) if named is None else str(fields.take(named))


# --- conversations ----------------------------------------------------------------------------------------------------


def _chat(messages: list[Message] | str, fields: Fields) -> Content | str:
    if isinstance(messages, str):
        return messages if isinstance(messages, NotLearnt) else f"not a usable conversation: {messages}"
    content = chat(messages)
    tools = fields.get("tools")
    if tools is None:
        return content
    return content._replace(meta={**content.meta, "tools": tools if isinstance(tools, str) else str(tools)})


def _claim_turns(fields: Fields) -> tuple[str] | None:
    return _one(chat_formats.turns_field(fields))


def _turns(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    yield _chat(chat_formats.conversation(chat_formats.from_field(names[0], fields), fields), fields)


def _tree(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    yield _chat(chat_formats.conversation(trees.read(fields, names), fields), fields)


def _claim_segments(fields: Fields) -> tuple[str] | None:
    segments = fields.get("segments")
    fits = isinstance(segments, list) and all(isinstance(s, Mapping) and "text" in s for s in segments)
    return ("segments",) if fits else None


def _segments(_fields: Fields, _names: Sequence[str]) -> Iterator[Content | str]:
    yield NotLearnt("segments in one model's template (Axolotl's input_output: give messages, with weight 0 or 1)")


def _prompt_in_turns(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    yield _chat(instructions.read_turns(fields, names), fields)


def _instruction(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    for messages in instructions.read(fields, names):
        yield _chat(messages, fields)


def _preference(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    found = preferences.read(fields, names)
    if isinstance(found, str):
        yield found
        return
    meta = found._asdict()
    yield Content("preference", rendering("preference", meta), meta, chat_formats.as_text(found.prompt))


# --- questions --------------------------------------------------------------------------------------------------------


def _articles(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    for found in question_answering.read_articles(fields, names):
        yield found if isinstance(found, str) else _asked(found)


def _question(fields: Fields, names: Sequence[str]) -> Iterator[Content | str]:
    found = question_answering.read_question(fields, names)
    yield found if isinstance(found, str) else _asked(found)


def _asked(found: question_answering.Question) -> Content:
    meta = found._asdict()
    return Content("qa", rendering("qa", meta), meta, found.context)
