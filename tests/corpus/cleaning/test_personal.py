"""Personal data: each type where it stands, and what only looks like it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from re import _parser as sre_parser  # type: ignore[attr-defined]  # knows how much a pattern can match

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.corpus.cleaning import identifiers, keys, personal, phones
from zen_pipeline.corpus.cleaning.personal import DETECTORS, PLACEHOLDERS, Finding, find_personal, replace_personal
from zen_pipeline.corpus.cleaning.personal_eval import evaluate
from zen_pipeline.errors import DataError

# Put together here, so that this file holds nothing that looks like a key.
RANDOM = "a8Xk29QmZp31Lt07VbNw54RsYc66HdJe81Gf"
KEYS = {
    "AWS": "AKIA" + "IOSFODNN7ABCDEFG",
    "GitHub": "ghp" + "_" + RANDOM,
    "GitLab": "glpat" + "-" + RANDOM[:20],
    "Slack": "xoxb" + "-" + "123456789012-" + RANDOM[:24],
    "Stripe": "sk" + "_live_" + RANDOM[:24],
    "Google": "AIza" + RANDOM[:35],
    "OpenAI": "sk" + "-proj-" + RANDOM,
    "Hugging Face": "hf" + "_" + RANDOM,
    "JWT": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0In0." + RANDOM[:30],
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----\n" + f"{RANDOM}\n" * 3 + "-----END " + "RSA PRIVATE KEY-----",
}


def found(text: str) -> list[tuple[str, str]]:
    return [(f.type, text[f.start : f.end]) for f in find_personal(text, DETECTORS)]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_keys_are_found_by_their_form(key: str) -> None:
    assert found(f"Use this one:\n{key}\nand tell nobody.") == [("key", key)]


@pytest.mark.parametrize("form", ["password = '{}'", 'API_KEY="{}"', '"access_token": "{}",', "secret: {}"])
def test_random_values_of_a_telling_name_are_found(form: str) -> None:
    assert found(form.format("x7Gq2Lw9ZrT4")) == [("key", "x7Gq2Lw9ZrT4")]


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass.getpass()",
        'token = os.environ["API_TOKEN"]',
        "secret: the value that nobody knows",
        "token: 12345678",
        "def login(password: str = None, token: Optional[str] = None):",
        "sk-learn and sk-image are libraries; hf_hub_download loads a file",
    ],
)
def test_code_that_speaks_of_keys_holds_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("kind", "before", "value", "after"),
    [
        ("email", "write to ", "jane.o'neil+news@mail.my-firm.co.uk", "."),
        ("email", "邮箱是", "zhang_wei@qq.com", "，请联系"),
        ("email", "<", "Müller@firma.de"[2:], ">"),
        ("login", "git clone https://", "bob:hunter2", "@git.firm.com/repo"),
        ("card", "card ", "4111 1111 1111 1111", ", valid to 12/29"),
        ("card", "Nr. ", "5500-0000-0000-0004", " "),
        ("card", "amex ", "378282246310005", ""),
        ("iban", "IBAN: ", "DE89 3704 0044 0532 0130 00", " please"),
        ("iban", "an ", "GB82WEST12345698765432", "."),
        ("ssn", "born 1970, ", "078-05-1120", ""),
        ("ssn", "My SSN is ", "078 05 1120", ""),
        ("ip", "from ", "93.184.216.34", ":443"),
        ("ip", "host ", "2606:2800:220:1:248:1893:25c8:1946", " up"),
        ("phone", "reach us: ", "+41 44 668 18 00", " or by mail"),
        ("phone", "or ", "(212) 736-5000", "."),
        ("phone", "or ", "212-736-5000 x123", ""),
        ("phone", "Tel. ", "030 901820", ""),
        ("phone", "我的手机号是", "13812345678", "。"),
        ("phone", "Téléphone : ", "01 42 68 53 00", ""),
        ("phone", "", "0431 35 06 90", " office"),
    ],
)
def test_each_type_is_found_exactly(kind: str, before: str, value: str, after: str) -> None:
    assert found(before + value + after) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and root@localhost and @decorator and a @ b",
        "git clone git@github.com:firm/repo.git",
        "https://host:8080/path and postgresql://localhost:5432/db",
        "card 4111 1111 1111 1112",  # the check digit is wrong
        "0000 0000 0000 0000",
        "GB82 WEST 1234 5698 7654 33",  # the remainder is wrong
        "ZZ82WEST12345698765432",
        "666-05-1120, 000-12-3456, 123-00-4567",
        "127.0.0.1, 0.0.0.0, 255.255.255.0, 192.0.2.7, 2001:db8::1, ::1, a::b, x[::2], std::vector",
        "version 2.7.2.2, v1.2.3.4, numpy==1.2.3.4, 1.2.3.4.5, section 300.1.2.3",
        "2024-01-15, 15.01.2024, 10:30:00, 1914-1918 and 3.14159265358979",
        "ISBN 978-3-16-148410-0 costs +3.140000 or +000000120",
        "1234567 rows, 3 141 592 653 digits, 100 000 000 times",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_placeholders_take_the_place_of_what_was_found() -> None:
    text = "Mail bob@firm.com or call +41 44 668 18 00 from 93.184.216.34"
    replaced = replace_personal(text, find_personal(text, DETECTORS))
    assert replaced == "Mail <EMAIL> or call <PHONE> from <IP>"
    assert found(replaced) == []


def test_only_the_types_that_are_asked_for_are_found() -> None:
    assert find_personal("bob@firm.com, 93.184.216.34", ["ip"]) == [Finding(14, 27, "ip")]


def test_names_of_a_model_give_way_to_what_is_certain() -> None:
    text = "Bob bob@firm.com"
    names = [Finding(0, 3, "person"), Finding(4, 7, "person")]
    assert find_personal(text, DETECTORS, names) == [Finding(0, 3, "person"), Finding(4, 16, "email")]


@given(st.text(max_size=80) | st.text("0123456789 +-().x@:/aA=\n", max_size=80))
def test_findings_are_in_order_and_apart(text: str) -> None:
    findings = find_personal(text, DETECTORS)
    assert all(0 <= f.start < f.end <= len(text) for f in findings)
    assert all(first.end <= second.start for first, second in pairwise(findings))
    assert {f.type for f in findings} <= set(PLACEHOLDERS)


def test_from_each_place_a_pattern_reads_a_bounded_stretch() -> None:
    """So the time is linear in the length of the text, whatever it is: what is repeated has a largest number."""
    values = [value for module in (identifiers, keys, personal, phones) for value in vars(module).values()]
    patterns = [value for value in values if isinstance(value, re.Pattern)] + [form for _, form in keys._FORMS]
    assert len(patterns) > 35
    for pattern in patterns:
        _, longest = sre_parser.parse(pattern.pattern, pattern.flags).getwidth()
        assert longest < 25_000, pattern.pattern


@pytest.mark.parametrize(
    "piece",
    [
        *("1 ", "1-", "(1) ", "a.", "a@", "a:", "A1 ", "password=", "1.", "::", "http://a:", "phone ", "00 1 "),
        *("eyJ", "eyJ-", "sk-", "xoxa-", "a@b.co ", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_text_of_nothing_but_beginnings_is_read_to_its_end(piece: str) -> None:
    """Where nearly everything matches and fails: what grows exponentially or with the square would not come back."""
    count = 100_000 // len(piece)
    assert len(find_personal(piece * count, DETECTORS)) <= count


def test_labelled_texts_are_scored(tmp_path: Path) -> None:
    spans = [
        {"entity_type": "EMAIL_ADDRESS", "start_position": 5, "end_position": 17},
        {"entity_type": "PHONE_NUMBER", "start_position": 21, "end_position": 27},
        {"entity_type": "PERSON", "start_position": 0, "end_position": 4},
    ]
    entries = [{"full_text": "Mail bob@firm.com or 123456 now from 93.184.216.34", "spans": spans}]
    path = tmp_path / "labelled.json"
    path.write_text(json.dumps(entries))
    scores = evaluate(path)
    assert (scores["email"].recall, scores["email"].precision) == (1, 1)
    assert (scores["phone"].recall, scores["phone"].missed) == (0, [("Mail bob@firm.com or ", "123456")])
    assert (scores["ip"].precision, scores["ip"].wrong[0][1:]) == (0, ("93.184.216.34", "no label"))


@pytest.mark.parametrize("content", ["{}", "[{}]", "[1]", "not JSON", '[{"full_text": "a", "spans": [{}]}]'])
def test_a_file_in_another_format_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "labelled.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"labelled\.json"):
        evaluate(path)


@pytest.mark.parametrize("name", ["generated_large.json", "generated_small.json", "synth_dataset_v2.json"])
def test_personal_data_of_the_presidio_set_is_found(name: str, shared_data: Callable[[str], Path]) -> None:
    for kind, score in evaluate(shared_data("presidio-pii") / name).items():
        assert score.recall >= (0.98 if kind == "phone" else 1.0), (kind, score.missed)
        assert score.precision >= 0.98, (kind, score.wrong)
