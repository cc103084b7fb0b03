"""Conversations as token ids: ChatML, or the template that a Hugging Face folder brings along.

A message is `{"role": "system" | "user" | "assistant", "content": text}`. Training learns the supervised ids only: each
answer and the `<|im_end|>` that closes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zen_pipeline.corpus.tokenizer import END_OF_TEXT as START
from zen_pipeline.corpus.tokenizer import MESSAGE_END as END
from zen_pipeline.corpus.tokenizer import MESSAGE_START as ROLE
from zen_pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokenizer import Tokenizer

Message = Mapping[str, str]

# The same ids as `render` and `prompt`, for `apply_chat_template` of transformers and for every engine that reads
# tokenizer_config.json. Content is stripped on both sides, or a leading line break would merge with the role's.
CHAT_TEMPLATE = (
    "{{ '<|endoftext|>' }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] | trim) + '<|im_end|>\\n' }}"
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
        head = [tokenizer.token_id(ROLE), *tokenizer.encode(f"{role}\n")]
        body = [*tokenizer.encode(content), tokenizer.token_id(END)]
        tail = tokenizer.encode("\n")
        ids += head + body + tail
        supervised += [False] * len(head) + [role == "assistant"] * len(body) + [False] * len(tail)
    return ids, supervised


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
    return role, content.strip()


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
    """The chat template of a Hugging Face folder, applied by transformers.

    Templates that can think are asked not to. Control tokens that are written in a message stay text.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Args: tokenizer: of transformers, with a chat template."""
        self._tokenizer = tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        ends.add(tokenizer.get_vocab().get(END))
        self.stop_ids = frozenset(i for i in ends if i is not None)

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
        for index, message in enumerate(checked):
            if index == 0 or message["role"] != "assistant":
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
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _apply(self, messages: list[dict[str, str]], *, ask: bool) -> list[int]:
        from jinja2 import TemplateError

        options = {"enable_thinking": False, "sanitize_control_tokens": True}
        try:
            encoded = self._tokenizer.apply_chat_template(
                messages, tokenize=True, add_generation_prompt=ask, return_dict=True, **options
            )
        except (TemplateError, ValueError) as error:  # a ValueError for no messages, and for what cannot be made text
            roles = ", ".join(m["role"] for m in messages)
            raise DataError(
                f"the model's chat template refuses a conversation of {len(messages)} messages ({roles[:200]}): {error}"
            ) from None
        return [int(i) for i in encoded["input_ids"]]


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def folder_template(folder: Path) -> str | None:
    """The chat template that a tokenizer's folder brings along, if any."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    try:
        template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / 'tokenizer_config.json'} cannot be read: {error}") from None
    return template if isinstance(template, str) else None


def chat_format(folder: Path) -> ChatFormat:
    """How the model in a folder writes conversations: with the template that it brings, else ChatML.

    Raises:
        ConfigError: it brings no template, and its tokenizer lacks ChatML's special tokens.
    """
    from zen_pipeline.corpus.tokenizer import Tokenizer

    template = folder_template(folder)
    if template not in (None, CHAT_TEMPLATE):
        from transformers import AutoTokenizer

        return FolderTemplate(AutoTokenizer.from_pretrained(str(folder), local_files_only=True))
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
    path = folder / "tokenizer_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from None
    config |= {"chat_template": CHAT_TEMPLATE, "eos_token": END}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
