"""How much fine-tuning learns from each record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zen_pipeline.corpus.records import Kind, Record
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.tasks.chat_markup import ChatML, question_and_answer
from zen_pipeline.tasks.supervision import fitting_context, supervised_tokens, too_short

TOKENIZER = train_tokenizer(["Who is there? Nobody is there, and nobody was.\n"] * 20, 320)


def record(name: str, kind: Kind, meta: dict[str, Any]) -> Record:
    return Record(name, name, "", "a file", "en", kind=kind, meta=json.dumps(meta))


def test_what_does_not_fit_is_left_out_whole_and_what_comes_after_the_last_answer_does_not_count() -> None:
    short, asked_again = question_and_answer("Who?", "Nobody"), {"role": "user", "content": "Who? " * 50}
    long = [*short, *question_and_answer("Who? " * 50, "Nobody")]
    qa = {"context": "Nobody is there.", "question": "Who?", "answers": ["Nobody"], "impossible": False}
    records = [
        record("fits", "chat", {"messages": short}),
        record("ends with a question", "chat", {"messages": [*short, asked_again]}),
        record("too long", "chat", {"messages": long}),
        record("preference", "preference", {"prompt": short[:1], "chosen": "Nobody", "rejected": "no"}),
        record("question", "qa", qa),
        record("no answer", "qa", {**qa, "impossible": True}),
        record("text", "document", {}),
    ]
    learnt = len(TOKENIZER.encode("Nobody")) + 1  # and the end of the message
    found = {name: count for name, count, _ in supervised_tokens(records, ChatML(TOKENIZER), 60)}
    answers = ("fits", "ends with a question", "preference", "question")
    assert found == {**dict.fromkeys(answers, learnt), "too long": 0}


@pytest.mark.parametrize(
    ("lengths", "context", "share"),
    [([], 0, ""), ([100] * 95 + [900] * 5, 128, "95.0%"), ([300] * 100, 512, "100.0%"), ([1], 1, "")],
)
def test_a_context_holds_nearly_all_conversations(lengths: list[int], context: int, share: str) -> None:
    assert fitting_context(lengths) == context
    said = too_short(lengths, 64)
    assert (
        said is None
        if max(lengths, default=0) <= 64
        else said is not None and f"={context}, which holds {share}" in said
    )
