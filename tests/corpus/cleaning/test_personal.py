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

from zen_pipeline.corpus.cleaning import addresses, code, emails, identifiers, keys, personal, phones
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
        ("email", "von ", "maria.müller@firma.de", " schreibt"),
        ("email", "an ", "jörg.groß@mühle.de", "."),
        ("email", "", "info@пример.рф", " пишет"),
        ("email", "联系", "zhang.san@公司.cn", "谢谢"),
        ("email", "", "用户@例子.中国", ""),
        ("email", "mail：", "wang@163.com", "。谢谢"),
        ("email", "", "ANNA(at)mill.ch", ""),
        ("email", "", "bob [at] firm [dot] com", " please"),
        ("email", "", "user@[85.214.132.117]", " direct"),
        ("email", "an ", "ｂｏｂ＠ｆｉｒｍ．ｃｏｍ", ""),
        ("email", 'EMAIL = "', "bob@firm.com", '"'),
        ("login", "git clone https://", "bob:hunter2", "@git.firm.com/repo"),
        ("card", "card ", "4111 1111 1111 1111", ", valid to 12/29"),
        ("card", "Nr. ", "5500-0000-0000-0004", " "),
        ("card", "amex ", "378282246310005", ""),
        ("iban", "IBAN: ", "DE89 3704 0044 0532 0130 00", " please"),
        ("iban", "account ", "GB82WEST12345698765432", "."),
        ("ssn", "born 1970, ", "078-05-1120", ""),
        ("ssn", "My SSN is ", "078 05 1120", ""),
        ("ip", "from ", "93.184.216.34", ":443"),
        ("ip", "Server at ", "85.214.132.117", " answers"),
        ("ip", "his IP address is ", "4.31.198.44", ""),
        ("ip", "", "5.9.43.210", ' - - [10/Oct/2000:13:55:36 -0700] "GET /"'),
        ("ip", "host ", "2606:2800:220:1:248:1893:25c8:1946", " up"),
        ("phone", "reach us: ", "+41 44 668 18 00", " or by mail"),
        ("phone", "or ", "(212) 736-5000", "."),
        ("phone", "or ", "212-736-5000 x123", ""),
        ("phone", "Tel. ", "030 901820", ""),
        ("phone", "我的手机号是", "13812345678", "。"),
        ("phone", "Téléphone : ", "01 42 68 53 00", ""),
        ("phone", "", "0431 35 06 90", " office"),
        ("phone", "", "+49 (0)30 901820", ""),
        ("phone", "", "0049 30 901820", ""),
        ("phone", "", "+8613812345678", ""),
        ("phone", "call me: ", "０１７１ ２３４５６７８", ""),
        ("phone", "电话：", "010-62781234", " 转 5"),
        ("phone", "тел. ", "495 123-45-67", ""),
        ("phone", "Reach me at ", "0171-2345678", " today"),
    ],
)
def test_each_type_is_found_exactly(kind: str, before: str, value: str, after: str) -> None:
    assert found(before + value + after) == [(kind, value)]


UNTOUCHED = """\
Upgrade to 3.12.0.1 before you continue with the migration.
Chrome 119.0.60.105 and Firefox 3.6.1.2 were both tested; Oracle 19.3.0.0 needs the patch set.
1.2.3.4 Handling of timeouts (see also 4.2.1.3)
The object identifier 1.3.6.1 stands for internet in SNMP; node 18.17.1.2 is fine.
libfoo-1.2.3.4.tar.gz and libbar_2.0.1.9_amd64.deb are on the mirror.
The server runs 10.4.20.1 of the agent; update it from 12.4.0.1 to 13.2.0.3.
dns: use 8.8.8.8 or 1.1.1.1, the gateway is 192.168.0.1, the mask 255.255.255.0
The nets are 10.0.0.0/8, 172.16.0.0/12, 100.64.3.4, 169.254.10.20, 85.214.0.0/16,
224.0.0.251 and fe80::1ff:fe23:4567:890a
h = x@self.weight.mean(axis=0) + b; y = q@k.transpose(-2, -1); z = A@x.in + 1
import icon from './icon@2x.png', ![](assets/logo@2x.ai), npm install lodash@latest.tgz and react@next.js
Follow us at @mill@social.firm.org on the network.
scp build.zip deploy@build.internal.lan:/srv; ssh ubuntu@ec2-1.compute.amazonaws.com
Message-ID: <142480216486.20800.16526@nightshade.mastaler.com>
The status id 4539578763621486100 was archived at 1748503543012; seed = 4111111111111111
Call the function 1234567 times, then call it 10000000 times, and call(1234567) again.
The RFC says: reach 1000000 connections; we reached 5000000 users.
The handy formula 2 000 000 / 365 gives 5479; a mobile 12345678 pixel sensor is large, as are 1080 2400 pixels.
We called 2012-2013 the dry years, 1914 1918 1939 1945 the wet ones.
The sum of +12 34 56 78 90 must be zero; the difference was +10.5-20.25 and +3.14/2.71.
200-300-4000 and 123-456-7890 are part codes of the lathe, ticket 555.123.4567 refers to the torque table.
Order 415-555-0132 has shipped; Art.-Nr. 212-555-0199; lot 650-253-0000; Part no. 123-45-6789 fits
The interval was 2024-05-01T12:00:00+0200 to 2024-05-02.
Dial 1 2 3 4 5 6 7 8 9; the phone has 12000000 pixels; 电话机销量达到1200000台
x = 212-736-5000
tokenizer: Qwen2TokenizerFast-v2.5b7, token_type: bearer_v2_alpha99, keyboard: IBM-ModelM-1391401-x2y3z4
The commit DE89370400440532013000 is a bank number in tests.""".splitlines()


@pytest.mark.parametrize(
    "text",
    [
        *UNTOUCHED,
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
    values = [
        value
        for module in (addresses, code, emails, identifiers, keys, personal, phones)
        for value in vars(module).values()
    ]
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
        missed = [value for _, value in score.missed if not (kind == "ip" and value.startswith("10."))]  # private
        assert not missed, kind
        assert score.precision >= 0.98, (kind, score.wrong)
