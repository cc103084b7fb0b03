"""Conversations as token ids: ChatML, or the template that a Hugging Face folder brings along.

A message is `{"role": "system" | "user" | "assistant", "content": text}`. Training learns the supervised ids only: each
answer and the `<|im_end|>` that closes it, but for answers with `"weight": 0`, which are context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from zen_pipeline.corpus.tokens.tokenizer import END_OF_TEXT as START
from zen_pipeline.corpus.tokens.tokenizer import MESSAGE_END as END
from zen_pipeline.corpus.tokens.tokenizer import MESSAGE_START as ROLE
from zen_pipeline.corpus.tokens.tokenizer import (
    MORE_TEMPLATES,
    OLD_TEMPLATE_FILE,
    SPECIAL_ROLES,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG,
    Tokenizer,
    special_tokens,
    token_text,
    tokenizer_files,
)
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.files import own_file, read_json_object
from zen_pipeline.limited import LimitExceeded, Refused
from zen_pipeline.tasks.template_process import render_template

Message = Mapping[str, Any]

# The same ids as `render` and `prompt`, for `apply_chat_template` of transformers and for every engine that reads
# tokenizer_config.json. Content loses the line ends on both sides, or one would merge with the role's; spaces stay,
# since they indent the first line of code.
CHAT_TEMPLATE = (
    "{{ '<|endoftext|>' }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'].strip('\\n') + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

ROLES = ("system", "user", "assistant")


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """A conversation and which of its ids are learnt.

    Args:
        tokenizer: with the ChatML special tokens.
        messages: in order.

    Returns:
        ids, and for each whether it is supervised (the answers of the assistant, each with its `<|im_end|>`).

    Raises:
        DataError: a message without a known role or without text.
    """
    ids, supervised = [tokenizer.token_id(START)], [False]
    for message in messages:
        role, content = _checked(message)
        said = tokenizer.encode(f"{role}\n{content}")
        head = 1 + _common_prefix(said, tokenizer.encode(f"{role}\n"))
        body = [tokenizer.token_id(ROLE), *said, tokenizer.token_id(END)]
        tail = tokenizer.encode("\n")
        ids += body + tail
        supervised += [False] * head + [_is_learnt(message)] * (len(body) - head) + [False] * len(tail)
    return ids, supervised


def _is_learnt(message: Message) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0


def prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The ids after which the assistant's next answer begins; it ends at `<|im_end|>` or `<|endoftext|>`.

    Raises:
        DataError: a message without a known role or without text.
    """
    ids, _ = render(tokenizer, messages)
    return [*ids, tokenizer.token_id(ROLE), *tokenizer.encode("assistant\n")]


def question_and_answer(question: str, answer: str) -> list[dict[str, str]]:
    """A conversation of one question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _checked(message: Message) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES or not isinstance(content, str):
        raise DataError(
            f"a message must have a role ({', '.join(ROLES)}) and a text as content, found role {str(role)[:40]!r} "
            f"with {type(content).__name__}: correct or leave out this conversation"
        )
    return role, content.strip("\n")


# --- formats of folders ---------------------------------------------------------------------------------------


class ChatFormat(Protocol):
    """How one model writes conversations."""

    stop_ids: frozenset[int]

    def render(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """As the function `render`."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """As the function `prompt`."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's ids, special tokens left out."""


class ChatML:
    """The project's own format.

    Raises:
        ConfigError: the tokenizer lacks one of ChatML's special tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.stop_ids = frozenset({tokenizer.token_id(START), tokenizer.token_id(END)})
        tokenizer.token_id(ROLE)

    def render(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """As the function `render`."""
        return render(self._tokenizer, messages)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """As the function `prompt`."""
        return prompt(self._tokenizer, messages)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's ids, special tokens left out."""
        return self._tokenizer.decode(ids)


class FolderTemplate:
    """The chat template of a Hugging Face folder.

    Templates that can think are asked not to. Control tokens that are written in a message stay text: a mark is put
    into each, and the text is cut at the marks before it is encoded.

    Args:
        folder: of the model.
        template: that it brings.

    Raises:
        ConfigError: the tokenizer cannot be used.
    """

    def __init__(self, folder: Path, template: str) -> None:
        self._folder, self._template, self._tokenizer = folder, template, Tokenizer.load(folder)
        names = special_tokens(folder)
        self._variables = {name: text for name in SPECIAL_ROLES if (text := token_text(names.get(name))) is not None}
        vocabulary = self._tokenizer.vocabulary
        ends = (vocabulary.get(self._variables.get(name, "")) for name in ("eos_token", "pad_token"))
        found = {i for i in (*ends, vocabulary.get(END)) if i is not None}
        self.stop_ids = frozenset(found) | generation_ends(folder)

    def render(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """As the function `render`: an answer goes from where its prompt ends to the first token that ends it.

        Templates write earlier answers in another way than the last one (Qwen3's leaves out the empty thoughts that its
        prompt ends with), so a prompt ends where the conversation differs from it. What an assistant says before
        anybody asked is not learnt: most templates have no prompt for it.

        Raises:
            DataError: also when the template refuses this order of roles.
        """
        checked = [dict(zip(("role", "content"), _checked(m), strict=True)) for m in messages]
        ids = self._apply(checked, ask=False)
        supervised = [False] * len(ids)
        for index, message in enumerate(messages):
            if index == 0 or not _is_learnt(message):
                continue
            begin = _common_prefix(ids, self._apply(checked[:index], ask=True))
            end = next((place for place in range(begin, len(ids)) if ids[place] in self.stop_ids), begin - 1) + 1
            supervised[begin:end] = [True] * (end - begin)
        return ids, supervised

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """As the function `prompt`."""
        return self._apply([dict(zip(("role", "content"), _checked(m), strict=True)) for m in messages], ask=True)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's ids, special tokens left out."""
        return self._tokenizer.decode(ids)

    def _apply(self, messages: list[dict[str, str]], *, ask: bool) -> list[int]:
        mark = next(m for m in map(chr, range(0xFDD0, 0xFDF0)) if not any(m in x["content"] for x in messages))
        marked = [{**m, "content": self._tokenizer.mark_special(m["content"], mark)} for m in messages]
        variables = {**self._variables, "enable_thinking": False}
        roles = ", ".join(m["role"] for m in messages)[:200]
        try:
            text = render_template(self._template, marked, ask=ask, variables=variables)
        except Refused as error:
            raise DataError(
                f"the chat template of {self._folder} refuses a conversation of {len(messages)} messages ({roles}): "
                f"{error}"
            ) from None
        except LimitExceeded as error:
            raise ConfigError(
                f"the chat template of {self._folder} cannot be used: {error}; write another one into {TEMPLATE_FILE}"
            ) from None
        return [i for part in text.split(mark) for i in self._tokenizer.encode_with_special(part)]


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def generation_ends(folder: Path) -> frozenset[int]:
    """The tokens at which generation_config.json lets an answer end: none, one, or a list."""
    if own_file(folder, "generation_config.json") is None:
        return frozenset()
    found = read_json_object(folder / "generation_config.json").get("eos_token_id")
    ends = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(end, int) for end in ends):
        raise ConfigError(f"{folder / 'generation_config.json'}: eos_token_id must be an id or a list of ids")
    return frozenset(ends)


def folder_template(folder: Path) -> str | None:
    """The chat template that a tokenizer's folder brings along, if any.

    It is the first of chat_template.jinja, `chat_template` in tokenizer_config.json, chat_template.json. Of several
    named ones, also those in additional_chat_templates/, the one that is called `default` counts, as in transformers,
    or the only one.

    Raises:
        ConfigError: there is one in another form, or several of which none is the default.
    """
    file = own_file(folder, TEMPLATE_FILE)
    if file is not None:
        return _text(file)
    more = {
        path.stem: _text(path)
        for name, path in tokenizer_files(folder).items()
        if name.startswith(f"{MORE_TEMPLATES}/")
    }
    for name in (TOKENIZER_CONFIG, OLD_TEMPLATE_FILE):
        if own_file(folder, name) is None:
            continue
        found = read_json_object(folder / name).get("chat_template")
        if isinstance(found, str) and found:
            return found
        if found not in (None, ""):
            return _chosen({**more, **_named(found, folder / name)}, folder / name)
    return _chosen(more, folder / MORE_TEMPLATES) if more else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise ConfigError(f"{path} is not UTF-8") from None


def _named(found: object, path: Path) -> dict[str, str]:
    """Templates by name, from a list of `{"name", "template"}` or from an object."""
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        found = {entry.get("name"): entry.get("template") for entry in found}
    if not isinstance(found, dict) or not all(isinstance(x, str) for pair in found.items() for x in pair):
        raise ConfigError(
            f"{path}: chat_template is a {type(found).__name__}, where a text is expected, or a list of objects with "
            f"`name` and `template`: write the template into {TEMPLATE_FILE}"
        )
    return {str(name): str(template) for name, template in found.items()}


def _chosen(named: Mapping[str, str], path: Path) -> str:
    if "default" in named or len(named) == 1:
        return named.get("default") or next(iter(named.values()))
    raise ConfigError(
        f"{path} holds the chat templates {', '.join(named) or '(none)'}, of which none is called default: copy the "
        f"one for conversations to {TEMPLATE_FILE}"
    )


def chat_format(folder: Path) -> ChatFormat:
    """How the model in a folder writes conversations: with the template that it brings, else ChatML.

    Raises:
        ConfigError: its template is in a form that is not known or cannot be used, or it brings none and its tokenizer
            lacks ChatML's special tokens.
    """
    template = folder_template(folder)
    if template is not None and template != CHAT_TEMPLATE:
        return FolderTemplate(folder, template)
    try:
        return ChatML(Tokenizer.load(folder))
    except ConfigError as error:
        raise ConfigError(
            f"{folder} brings no chat template, and ChatML cannot be used: {error}; "
            "name a folder with a chat template, or one whose tokenizer has <|im_start|> and <|im_end|>"
        ) from None


def write_template(folder: Path) -> None:
    """Put ChatML into a folder's tokenizer_config.json, with `<|im_end|>` as the end of what a model says.

    Raises:
        ConfigError: tokenizer_config.json cannot be read.
    """
    path = folder / TOKENIZER_CONFIG
    config = {} if own_file(folder, TOKENIZER_CONFIG) is None else read_json_object(path)
    config |= {"chat_template": CHAT_TEMPLATE, "eos_token": END}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
