"""The rules of Gopher and C4: what meets each, and what does not."""

from __future__ import annotations

import random

import pytest

from zen_pipeline.corpus.cleaning.quality import (
    c4_lines,
    failed_c4,
    failed_gopher_quality,
    failed_gopher_repetition,
)

SENTENCES = [
    "The old lighthouse keeper climbed the stairs with a lamp in his hand.",
    "Nobody in the village had seen such a storm for more than thirty years.",
    "Boats were pulled up the beach, and children watched from behind the windows.",
    "By morning the wind had turned, and a pale sun came out of the clouds.",
    "They found the keeper asleep beside his lamp, which was still burning.",
]
PAGE = "\n".join(SENTENCES)
CHINESE = (
    "今天的天气很好，我们在河边走了很久。孩子们在草地上玩，老人坐在树下说话。后来下起了小雨，大家都跑到桥下去。"
    "等到雨停的时候，天已经黑了，不过没有人觉得累，因为这是一个难得的假期。"
)


def test_ordinary_prose_meets_every_rule() -> None:
    assert failed_gopher_quality(PAGE, "en") == []
    assert failed_gopher_repetition(PAGE, "en") == []
    assert failed_c4(PAGE, "en") == []
    assert c4_lines(PAGE, "en") == (PAGE, 0)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("too few words", SENTENCES[0]),
        ("too many words", f"{PAGE}\n" * 1600),
        ("words too short", "a to of I be " * 30),
        ("words too long", "the of " + "internationalisation " * 60),
        ("too many hash signs", PAGE.replace(". ", " ").replace(" a ", " # # # ") + " #" * 12),
        ("too many ellipses", PAGE + " … " * 12),
        ("too many bullet points", "\n".join(f"- {sentence}" for sentence in SENTENCES)),
        ("too many lines ending in an ellipsis", PAGE.replace(".\n", "...\n")),
        ("too few alphabetic words", PAGE + " 12 34 56" * 10),
        ("too few stop words", "lighthouse keeper storm village beach window morning cloud lamp wind " * 6),
    ],
)
def test_each_quality_rule_of_gopher_is_broken_by_what_it_names(rule: str, text: str) -> None:
    assert f"gopher: {rule}" in failed_gopher_quality(text, "en")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("too many duplicate lines", PAGE + "\nRead more\n" * 4),
        ("too many characters in duplicate lines", PAGE + f"\n{SENTENCES[0]}" * 3),
        (
            "too many duplicate paragraphs",
            "\n\n".join([*SENTENCES, "Read more", "Read more", "Read more", "Read more"]),
        ),
        ("too many characters in duplicate paragraphs", "\n\n".join([*SENTENCES, *SENTENCES])),
        ("one 2-gram too often", SENTENCES[0] + " breaking news" * 8),
        ("one 3-gram too often", SENTENCES[0] + " click here now" * 8),
        ("one 4-gram too often", SENTENCES[0] + " all rights are reserved" * 8),
        *((f"too many duplicate {n}-grams", f"{PAGE} {PAGE}") for n in range(5, 11)),
    ],
)
def test_each_repetition_rule_of_gopher_is_broken_by_what_it_names(rule: str, text: str) -> None:
    assert f"gopher: {rule}" in failed_gopher_repetition(text, "en")


def test_an_n_gram_that_occurs_once_is_no_repetition() -> None:
    assert failed_gopher_repetition("four short words here", "en") == []
    assert failed_gopher_repetition("", "en") == []


def test_duplicate_n_grams_are_those_that_a_plain_count_finds() -> None:
    """The search that narrows from n to n + 1 finds what looking at every n-gram finds."""
    draw = random.Random(0)
    limits = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    kinds = set()
    for _ in range(300):
        words = draw.choices(["ab", "cd", "ef", "gh", "ij", "kl"][: draw.randint(2, 6)], k=draw.randint(2, 80))
        words += draw.choices(words, k=3) + [f"w{n}" for n in range(draw.randint(0, 60))]
        expected = []
        for n, limit in limits.items():
            seen, characters, place = set(), 0, 0
            while place <= len(words) - n:
                n_gram = tuple(words[place : place + n])
                if n_gram in seen:
                    characters += sum(map(len, n_gram))
                    place += n
                else:
                    seen.add(n_gram)
                    place += 1
            if characters > limit * sum(map(len, words)):
                expected.append(f"gopher: too many duplicate {n}-grams")
        found = [rule for rule in failed_gopher_repetition(" ".join(words), "en") if "duplicate" in rule]
        assert found == expected
        kinds.add(len(expected))
    assert len(kinds) > 2  # some texts break none, some break several


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("curly bracket", PAGE + "\nfunction main() { return the answer to everything. }"),
        ("lorem ipsum", PAGE + "\nLorem ipsum dolor sit amet, and so on."),
        ("too few sentences", "\n".join(SENTENCES[:2])),
    ],
)
def test_each_page_rule_of_c4_is_broken_by_what_it_names(rule: str, text: str) -> None:
    assert failed_c4(text, "en") == [f"c4: {rule}"]


@pytest.mark.parametrize(
    "line",
    [
        "A line without a full stop at its end",
        "A line that is going to be continued...",
        "Only four words here.",
        "Please enable JavaScript to see the whole of this page.",
        "By staying here you agree to our privacy policy and cookies.",
        f"A word of {'x' * 1001} letters is no word.",
    ],
)
def test_c4_removes_lines_that_are_no_prose(line: str) -> None:
    assert c4_lines(f"{PAGE}\n{line}", "en") == (PAGE, 1)


def test_c4_removes_citation_marks() -> None:
    assert (
        c4_lines("Storms were rare in those years.[12][citation needed]", "en")[0] == "Storms were rare in those years."
    )


def test_chinese_prose_meets_the_rules_in_its_own_units() -> None:
    assert failed_gopher_quality(CHINESE, "zh") == []
    assert failed_gopher_repetition(CHINESE, "zh") == []
    assert failed_c4(CHINESE, "zh") == []
    assert c4_lines(CHINESE, "zh") == (CHINESE, 0)


def test_chinese_that_says_little_or_repeats_itself_does_not() -> None:
    assert "gopher: too few words" in failed_gopher_quality("今天的天气很好，我们在河边走了很久。", "zh")
    assert "gopher: too few stop words" in failed_gopher_quality(
        "灯塔守夜老人爬楼提灯村庄风暴船只海滩孩子窗户" * 3, "zh"
    )
    assert "gopher: too many duplicate 5-grams" in failed_gopher_repetition(CHINESE * 2, "zh")


def test_stop_words_are_asked_for_only_in_languages_that_have_a_list() -> None:
    polish = "Latarnik wszedł po schodach z lampą w ręku, podczas gdy wiatr wiał od morza coraz mocniej. " * 5
    assert "gopher: too few stop words" not in failed_gopher_quality(polish, "pl")
    assert "gopher: too few stop words" in failed_gopher_quality(polish, "en")
