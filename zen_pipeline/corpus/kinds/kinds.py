"""What a record of each kind holds.

The structured fields of a record are in its `meta`; `text` is what a person reads, and what a base model learns from:

    document        the text
    chat            messages, and `tools` where the row has them
    preference      prompt (messages), chosen, rejected; the text leaves the rejected answer out
    translation     source, target, source_language, target_language
    qa              question, context, answers, answer_starts, impossible
    classification  text, label
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from zen_pipeline.corpus.kinds import chat_formats
from zen_pipeline.corpus.kinds.chat_turns import Message
from zen_pipeline.corpus.language.identify import UNKNOWN, guess_language
from zen_pipeline.corpus.records import Kind

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


def chat(messages: list[Message]) -> Content:
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
