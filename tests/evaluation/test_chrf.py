"""chrF as sums over sentences, against sacrebleu."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu import corpus_chrf

from zen_pipeline.evaluation.chrf import chrf, chrf_sums

PAIRS = [
    ("The cat sat on the mat.", "A cat is on the mat."),
    ("Je vois.", "Je vois, je vois, je vois."),
    ("嗨。", "你好。"),
    ("", "Nothing was said."),
    ("a", "ab"),
    ("exactly the same", "exactly the same"),
]


def test_the_sums_of_a_corpus_give_sacrebleus_figure() -> None:
    sums = np.stack([chrf_sums(*pair) for pair in PAIRS])
    said, meant = [list(side) for side in zip(*PAIRS, strict=True)]
    assert float(chrf(sums.sum(axis=0))) == pytest.approx(corpus_chrf(said, [meant]).score, abs=1e-9)


@pytest.mark.parametrize(("said", "meant"), PAIRS)
def test_single_sentences_agree_with_sacrebleu(said: str, meant: str) -> None:
    assert float(chrf(chrf_sums(said, meant))) == pytest.approx(corpus_chrf([said], [[meant]]).score, abs=1e-9)


def test_leaving_sentences_out_is_done_for_all_at_once() -> None:
    sums = np.stack([chrf_sums(*pair) for pair in PAIRS])
    left_out = chrf(sums.sum(axis=0) - sums)
    assert left_out.shape == (len(PAIRS),)
    assert left_out[0] == pytest.approx(float(chrf(sums[1:].sum(axis=0))))
