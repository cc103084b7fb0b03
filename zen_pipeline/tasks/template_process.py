"""Applies chat templates in a child process with bounded memory and time.

A template is a program: it may loop, call itself, or multiply strings, and no bound inside this process holds it. What
it may touch is up to transformers' sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zen_pipeline.limited import LimitedProcess, serve

_CPU_SECONDS, _MEMORY_BYTES = 2, 512 << 20

_process = LimitedProcess(__name__)


def render_template(
    template: str, messages: Sequence[Mapping[str, str]], *, ask: bool, variables: Mapping[str, Any]
) -> str:
    """The text that a template makes of a conversation.

    Args:
        template: Jinja, as in Hugging Face's folders.
        messages: in order.
        ask: whether the assistant's next answer is to follow.
        variables: what the template sees besides.

    Raises:
        Refused: the template fails, or says that it cannot write this conversation.
        LimitExceeded: it needs more memory or time than it may have.
    """
    request = {"chat_template": template, "conversations": [list(map(dict, messages))], "add_generation_prompt": ask}
    return str(_process.ask({**variables, **request}))


def _main() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    serve(lambda request: render_jinja_template(**request)[0][0], cpu_seconds=_CPU_SECONDS, memory_bytes=_MEMORY_BYTES)


if __name__ == "__main__":
    _main()
