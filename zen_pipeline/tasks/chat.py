"""Conversations as token ids: ChatML, or the template that a Hugging Face folder brings along.

A message is `{"role": "system" | "user" | "assistant", "content": text}`. Training learns the supervised ids only: each
answer and the `<|im_end|>` that closes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from zen_pipeline.errors import DataError

Message = Mapping[str, str]

START, ROLE, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

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


class ChatTokenizer(Protocol):
    """What ChatML needs of a tokenizer; `encode` takes plain text and never makes special tokens of it."""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text."""

    def token_id(self, token: str) -> int:
        """Id of a special token."""


def render(tokenizer: ChatTokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
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


def prompt(tokenizer: ChatTokenizer, messages: Sequence[Message]) -> list[int]:
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


# --- templates of other folders ---------------------------------------------------------------------------------------


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
    """The project's own format."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.stop_ids = frozenset({tokenizer.token_id(START), tokenizer.token_id(END)})

    def render(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """As the function `render`."""
        return render(self._tokenizer, messages)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """As the function `prompt`."""
        return prompt(self._tokenizer, messages)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's ids, special tokens left out."""
        text: str = self._tokenizer.decode([i for i in ids if i not in self.stop_ids])
        return text


class FolderTemplate:
    """The chat template of a Hugging Face folder, applied by transformers."""

    def __init__(self, tokenizer: Any) -> None:
        """Args: tokenizer: of transformers, with a chat template."""
        self._tokenizer = tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        ends.add(tokenizer.get_vocab().get(END))
        self.stop_ids = frozenset(i for i in ends if i is not None)

    def render(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """As the function `render`: an answer is what its message adds to the prompt before it."""
        checked = [dict(zip(("role", "content"), _checked(m), strict=True)) for m in messages]
        ids = self._apply(checked, ask=False)
        supervised = [False] * len(ids)
        for index, message in enumerate(checked):
            if message["role"] != "assistant":
                continue
            begin = len(self._apply(checked[:index], ask=True))
            end = len(self._apply(checked[: index + 1], ask=False))
            while end > begin and ids[end - 1] not in self.stop_ids:  # the line break after the end token
                end -= 1
            supervised[begin:end] = [True] * (end - begin)
        return ids, supervised

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """As the function `prompt`."""
        return self._apply([dict(zip(("role", "content"), _checked(m), strict=True)) for m in messages], ask=True)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _apply(self, messages: list[dict[str, str]], *, ask: bool) -> list[int]:
        encoded = self._tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=ask, return_dict=True
        )
        return [int(i) for i in encoded["input_ids"]]
