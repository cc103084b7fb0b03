"""What a row of a table is: recognised by the names of its fields, and put into one shape for each kind.

The structured fields of a record are in its `meta`; `text` is what a person reads, and what a base model learns from:

    document        the text
    chat            messages
    preference      prompt (messages), chosen, rejected; the text leaves the rejected answer out
    translation     source, target, source_language, target_language
    qa              question, context, answers, answer_starts, impossible
    classification  text, label
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from zen_pipeline.corpus import chat_formats, preferences, question_answering
from zen_pipeline.corpus.language import UNKNOWN, guess_language
from zen_pipeline.corpus.records import Kind

LABELS = ("label", "labels", "class", "category")
_LABELLED = ("sentence", "tweet", "comment", "review", "content", "utterance")
_LONGEST_LABEL = 64  # characters; what is longer, or has several lines, is text
KNOWN = (
    "text, label; messages; conversations; instruction, output; prompt, response; question, answer; "
    "question, context, answers; prompt, chosen, rejected; source, target; two columns named by languages"
)

# ISO 639-1 without `id` and `no`, which nearly always number the rows.
_CODES = """
    af am ar as az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy ig is it ja ka kk
    km kn ko ku ky lb lo lt lv mg mi mk ml mn mr ms mt my ne nl nn oc or pa pl ps pt ro ru rw sd si sk sl so sq sr sv
    sw ta te tg th tk tl tr tt ug uk ur uz vi xh yi yo zh zu
"""
_LONG_CODES = {"cmn": "zh", "zho": "zh", "eng": "en", "fra": "fr", "deu": "de", "spa": "es", "por": "pt", "rus": "ru"}
_LONG_CODES |= {"jpn": "ja", "kor": "ko", "ita": "it", "nld": "nl", "pol": "pl", "tur": "tr", "ara": "ar", "ukr": "uk"}
LANGUAGE_CODES = frozenset([*_CODES.split(), *_LONG_CODES])


class Content(NamedTuple):
    """What a record holds: its kind, rendering, structured fields, and what decides its group.

    Records whose `key` is the same must not be divided between training and test: the same text, the same context of
    several questions, the same sentence with several translations.
    """

    kind: Kind
    text: str
    meta: Mapping[str, Any]
    key: str
    language: str = UNKNOWN


def canonical(row: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The row with lower-case names, and the user's own names of fields exchanged for ours.

    Args:
        row: names and values.
        renamed: our name of a field and its name in the data.
    """
    fields: dict[str, Any] = {}
    for name, value in row.items():
        lower = name.lower()
        if lower not in fields or name == lower:
            fields[lower] = value
    for ours, theirs in renamed.items():
        if theirs in row:
            fields[ours] = row[theirs]
    return fields


def kind_of(row: Mapping[str, Any], text_column: str) -> Kind | None:
    """The kind of a canonical row, or None for one of no known kind.

    A row with the text column is a document, or classification when it has a label too: the first of `LABELS` whose
    value is a number, or one line of at most 64 characters.
    """
    if text_column in row:
        labelled = isinstance(row[text_column], str) and _label(row) is not None
        return "classification" if labelled else "document"
    if "chosen" in row and "rejected" in row:
        return "preference"
    if "translation" in row or ("source" in row and "target" in row) or _languages(row) is not None:
        return "translation"
    if question_answering.is_qa(row):
        return "qa"
    if chat_formats.is_chat(row):
        return "chat"
    if _label(row) is not None and _labelled_text(row, text_column) is not None:
        return "classification"
    return None


def contents(row: Mapping[str, Any], kind: Kind, text_column: str) -> Iterator[Content | str]:
    """What a canonical row of this kind holds, or why it cannot be used: several for an article of SQuAD."""
    if kind == "document":
        yield _document(row, text_column)
    elif kind == "classification":
        yield _classification(row, text_column)
    elif kind == "translation":
        yield _translation(row)
    elif kind == "preference":
        yield _preference(row)
    elif kind == "qa":
        for found in question_answering.questions(row):
            yield found if isinstance(found, str) else _question(found)
    else:
        for messages in chat_formats.to_conversations(row):
            yield f"not a usable conversation: {messages}" if isinstance(messages, str) else chat(messages)


def language_code(name: str) -> str:
    """The two letters of a language that a column or file is named by (`en`, `zh-cn`, `fra`), or the empty string."""
    code = name.lower().replace("_", "-").partition("-")[0]
    return _LONG_CODES.get(code, code) if code in LANGUAGE_CODES else ""


def rendering(kind: Kind, meta: Mapping[str, Any]) -> str:
    """The text of a record of this kind, by its structured fields; `document` has none.

    Raises:
        KeyError, TypeError: the fields are not those of the kind.
    """
    if kind == "chat":
        return chat_formats.as_text(meta["messages"])
    if kind == "preference":
        return chat_formats.as_text([*meta["prompt"], {"role": "assistant", "content": meta["chosen"]}])
    if kind == "qa":
        answer = "(not in the text)" if meta["impossible"] else meta["answers"][0]
        return f"{meta['context']}\n\nQuestion: {meta['question']}\n\nAnswer: {answer}"
    if kind == "classification":
        return f"{meta['text']}\n\nLabel: {meta['label']}"
    sides = [
        f"{side if (language := meta[f'{side}_language']) == 'und' else language}: {meta[side]}"
        for side in ("source", "target")
    ]
    return "\n".join(sides)


def chat(messages: list[chat_formats.Message]) -> Content:
    """The content of a conversation."""
    meta = {"messages": messages}
    text = rendering("chat", meta)
    return Content("chat", text, meta, text)


def pair(source: str, target: str, source_language: str, target_language: str) -> Content | str:
    """The content of a translation pair; languages that are not named are guessed."""
    if not source.strip() or not target.strip():
        return "one side of the pair is empty"
    languages = source_language or guess_language(source), target_language or guess_language(target)
    meta = {
        "source": source,
        "target": target,
        "source_language": languages[0],
        "target_language": languages[1],
    }
    return Content("translation", rendering("translation", meta), meta, source, languages[0])


def _document(row: Mapping[str, Any], text_column: str) -> Content | str:
    text = row.get(text_column)
    if not isinstance(text, str):
        return f"{text_column!r} is not text but {type(text).__name__}"
    return Content("document", text, {}, text)


def _label(row: Mapping[str, Any]) -> str | None:
    """The name of the label field."""
    return next((name for name in LABELS if name in row and _is_label(row[name])), None)


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.strip()) > 0 and len(value) <= _LONGEST_LABEL and "\n" not in value
    return isinstance(value, int)


def _labelled_text(row: Mapping[str, Any], text_column: str) -> str | None:
    return next((name for name in (text_column, *_LABELLED) if isinstance(row.get(name), str)), None)


def _classification(row: Mapping[str, Any], text_column: str) -> Content | str:
    name, label = _labelled_text(row, text_column), _label(row)
    if name is None or label is None:
        return f"no text with a label ({', '.join(LABELS)})"
    text, value = str(row[name]), row[label]
    value = value.strip() if isinstance(value, str) else value
    meta = {"text": text, "label": value}
    return Content("classification", rendering("classification", meta), meta, text)


def _languages(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The two fields that are named by languages, such as `en` and `zh-cn`, when there are exactly two."""
    found = [name for name, value in row.items() if isinstance(value, str) and language_code(name)]
    return (found[0], found[1]) if len(found) == 2 else None


def _translation(row: Mapping[str, Any]) -> Content | str:
    sides = row.get("translation", row)
    if not isinstance(sides, Mapping):
        return "'translation' is not an object of two languages"
    names = None if "source" in sides and "target" in sides else _languages(sides)
    first, second = names or ("source", "target")
    source, target = sides.get(first), sides.get(second)
    if not isinstance(source, str) or not isinstance(target, str):
        return "not a pair of texts"
    if names is not None:
        return pair(source, target, language_code(first), language_code(second))
    return pair(source, target, _text(row, "source_language"), _text(row, "target_language"))


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _preference(row: Mapping[str, Any]) -> Content | str:
    found = preferences.preference(row)
    if isinstance(found, str):
        return found
    meta = found._asdict()
    text = rendering("preference", meta)
    return Content("preference", text, meta, chat_formats.as_text(found.prompt))


def _question(found: question_answering.Question) -> Content:
    meta = found._asdict()
    text = rendering("qa", meta)
    return Content("qa", text, meta, found.context)
