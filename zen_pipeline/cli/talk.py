"""Commands that use a model: generate and chat."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common, completion
from zen_pipeline.cli.common import Json
from zen_pipeline.errors import ConfigError, ZenError

if TYPE_CHECKING:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.serving.registry import ResolvedModel

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="champion, zen-chat@champion, zen-base/3, or a folder.", autocompletion=completion.models
    ),
]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", "-n", min=1, help="Stop after so many tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", "-t", min=0.0, max=100.0, help="0: the likeliest token.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")]
TopP = Annotated[float, typer.Option(min=0.01, max=1.0, help="Sample from the likeliest tokens of this total mass.")]

# One thread decodes a model that fits in the cache faster than two: two spin for each other (docs/experiments.md).
_ONE_THREAD_BELOW_PARAMETERS = 50_000_000


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(rich_help_panel="Models")(generate)
    app.command(rich_help_panel="Models")(chat)


@dataclass
class Speaker:
    """A model with its tokenizer, ready to continue token ids."""

    source: ResolvedModel
    model: CausalModel
    tokenizer: Tokenizer
    stop_ids: frozenset[int]

    @classmethod
    def load(cls, name: str, kind: str | None = None) -> Speaker:
        """The model of this name, a champion of this kind; a registered one is looked up in the nearest workspace."""
        if sys.stderr.isatty():
            common.say(f"loading {name} …")
        from zen_pipeline.serving.registry import resolve_model

        source = resolve_model(name, kind=kind)
        if name == "champion" != source.alias:
            version = f"{source.name}/{source.version}"
            common.say(
                f"there is no champion yet, so {version} answers: `zen models show {version}` says why it is none"
            )
        from zen_pipeline.tasks import load_task

        task = load_task(source.task)
        if task.command not in ("generate", "chat"):
            raise ConfigError(
                f"{source.name or source.folder} continues no text: {task.help[0].lower()}{task.help[1:-1]}; "
                f"use `zen {task.command}`"
            )
        import torch

        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.models.folder import load_model
        from zen_pipeline.tasks.chat_markup import generation_ends

        model = load_model(source.folder)
        if sum(p.numel() for p in model.parameters()) < _ONE_THREAD_BELOW_PARAMETERS:
            torch.set_num_threads(1)
        tokenizer = Tokenizer.load(source.folder)
        return cls(source, model, tokenizer, tokenizer.stop_ids | generation_ends(source.folder))

    def speak(
        self, ids: list[int], *, max_new_tokens: int, temperature: float, top_p: float, seed: int
    ) -> Iterator[int]:
        """New token ids, until the model ends or `max_new_tokens` are made."""
        from zen_pipeline.inference.generate import generate as generate_tokens

        return generate_tokens(
            self.model,
            ids,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop_ids=self.stop_ids,
        )


class _Printer:
    """Decodes a growing list of ids and prints what is certain, so that no half character is shown."""

    def __init__(self, tokenizer: Tokenizer, *, show: bool) -> None:
        self._tokenizer, self._show = tokenizer, show
        self.ids: list[int] = []
        self.text = ""

    def add(self, token: int) -> None:
        """Take one more token."""
        self.ids.append(token)
        text = self._tokenizer.decode(self.ids)
        if not text.endswith("�"):
            self._print(text[len(self.text) :])
            self.text = text

    def end(self) -> str:
        """Print what is left; return the whole text."""
        text = self._tokenizer.decode(self.ids)
        self._print(text[len(self.text) :])
        self.text = text
        return text

    def _print(self, text: str) -> None:
        if self._show:
            common.show(text, end="")


def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    model: Model = "champion",
    max_new_tokens: MaxNewTokens = 100,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Continue a text with a released model."""
    speaker = Speaker.load(model)
    text = sys.stdin.read() if prompt == "-" else prompt
    ids = [speaker.tokenizer.start_id, *speaker.tokenizer.encode(_checked(text))]
    room = speaker.model.config.max_position_embeddings
    if len(ids) >= room:
        raise ConfigError(f"the prompt has {len(ids)} tokens, the model's context {room}: give a shorter one")
    printer = _Printer(speaker.tokenizer, show=not json)
    if not json:
        common.show(text, end="")
    started = time.monotonic()
    for token in speaker.speak(ids, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed):
        printer.add(token)
    completion = printer.end()
    seconds = time.monotonic() - started
    if not json:
        common.show()
        return
    common.print_json(
        {
            "model": speaker.source.name,
            "version": speaker.source.version,
            "prompt": text,
            "text": completion,
            "tokens": len(printer.ids),
            "seconds": round(seconds, 3),
            "tokens_per_second": round(len(printer.ids) / seconds, 1) if seconds > 0 else None,
        }
    )


def chat(
    message: Annotated[str | None, typer.Argument(help="One question; without it a conversation starts.")] = None,
    model: Model = "champion",
    max_new_tokens: MaxNewTokens = 200,
    temperature: Temperature = 0.0,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Talk with a released chat model; /help lists what else can be said, an empty line or Ctrl-D ends it."""
    speaker = Speaker.load(model, "chat")
    if speaker.source.task != "chat":
        raise ConfigError(
            f"{speaker.source.name or speaker.source.folder} is not a chat model: "
            "name one with --model, or use `zen generate`"
        )
    options: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "seed": seed}
    talk = Conversation(speaker, max_new_tokens, options)
    if message is not None:
        answer = talk.answer(message, show=not json)
        if json:
            common.print_json({"model": speaker.source.name, "version": speaker.source.version, "answer": answer})
        return
    if json:
        raise ConfigError("--json answers one question: zen chat --json 'What does pathlib.Path.exists do?'")
    named = speaker.source.name and f"{speaker.source.name}/{speaker.source.version}"
    common.say(f"{named or speaker.source.folder}; an empty line ends the conversation, /help lists the commands")
    while (line := _read_line()) not in ("", "/exit", "/quit"):
        if line in ("/new", "/help"):
            talk.messages.clear() if line == "/new" else common.say(_HELP)
        elif line.startswith("/") and line[1:].isalpha():
            common.say(f"there is no command {line}\n{_HELP}")
        else:
            try:
                talk.answer(line, show=True)
            except ZenError as error:  # said, and the conversation goes on
                common.say(str(error))


_HELP = "/new    forget what was said so far\n/help   this list\n/exit   end, as an empty line and Ctrl-D do"


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("the text is not valid UTF-8") from None
    return text


def _read_line() -> str:
    try:
        return input("you> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


class Conversation:
    """Turns with a model, in the form that it was taught."""

    def __init__(self, speaker: Speaker, limit: int, options: dict[str, Any]) -> None:
        from zen_pipeline.tasks.chat_markup import chat_format

        self._speaker, self._limit, self._options = speaker, limit, options
        self._format = chat_format(speaker.source.folder)
        self.messages: list[dict[str, str]] = []

    def answer(self, question: str, *, show: bool) -> str:
        """Answer token by token, and keep the turn; the oldest turns are forgotten when the context is full.

        Raises:
            ConfigError: the question alone fills the context.
        """
        speaker, messages = self._speaker, [*self.messages, {"role": "user", "content": _checked(question)}]
        room = speaker.model.config.max_position_embeddings
        while len(ids := self._format.prompt(messages)) > room // 2 and len(messages) > 2:
            del messages[:2]
        if len(ids) >= room:
            raise ConfigError(f"the question has {len(ids)} tokens, the model's context {room}: ask a shorter one")
        printer = _Printer(speaker.tokenizer, show=show)
        for token in speaker.speak(ids, max_new_tokens=self._limit, **self._options):
            printer.add(token)
        answer = printer.end().strip()
        if show:
            common.show()
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        return answer
