"""Exact duplicates: what counts as equal, who stays, and that memory does not decide the result."""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zen_pipeline.corpus.duplicates.exact import equal_groups, exact_duplicates, text_keys
from zen_pipeline.corpus.duplicates.normal_form import Texts, compared_text, normal_form


def key(text: str, meta: str = "{}") -> list[int]:
    return text_keys(Texts.of([normal_form(compared_text(text, meta))]))[:, 0].tolist()  # type: ignore[no-any-return]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.text("a\u3000 \n\x1c中\u200b"), max_size=5))
def test_keys_are_those_of_the_words_with_one_space_between_them(texts: list[str]) -> None:
    digests = [blake2b(" ".join(text.split()).encode(), digest_size=16).digest() for text in texts]
    assert text_keys(Texts.of(texts)).T.tobytes() == b"".join(digests)


def test_texts_are_equal_across_case_spacing_and_unicode_form() -> None:
    assert key("Caf\u00e9  au lait") == key(" cafe\u0301 au\nLAIT ")
    assert key("tea") != key("te a")


def test_the_same_docstring_under_another_name_is_a_duplicate() -> None:
    meta = json.dumps({"object": "function"})
    assert key("a.f(x)\n\nDo it.", meta) == key("b.f(x)\n\nDo it.", meta)
    assert key("a.f(x)\n\nDo it.") != key("b.f(x)\n\nDo it.")


def test_the_first_in_the_given_order_stays_and_rows_outside_it_do_not_count() -> None:
    high = np.array([7, 7, 9, 7, 9, 7], np.uint64)
    low = np.array([1, 1, 1, 1, 1, 2], np.uint64)
    order = np.array([3, 4, 0, 2, 5])  # row 1 was set aside before
    assert exact_duplicates([high, low], order).tolist() == [3, -1, 4, -1, -1, -1]


@pytest.mark.parametrize("at_once", [7, 100, 10_000])
def test_sorting_in_pieces_finds_the_same_groups(at_once: int) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    distinct = random.integers(0, 2**64, 400, dtype=np.uint64)
    keys = distinct[random.integers(0, 400, 1000)]
    order = random.permutation(1000)
    found: dict[int, list[int]] = {}
    for members, firsts in equal_groups([keys], order, at_once=at_once):
        for first, end in pairwise(firsts):
            found[int(keys[members[first]])] = members[first:end].tolist()
    expected = {int(k): order[keys[order] == k].tolist() for k in np.unique(keys) if (keys == k).sum() > 1}
    assert found == expected
