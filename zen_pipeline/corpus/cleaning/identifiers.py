"""Numbers that lead to a person: payment cards, bank accounts, social security numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zen_pipeline.corpus.cleaning.code import is_bare_code

Span = tuple[int, int]

# A pattern that begins with what it looks for, and looks behind that afterwards, is scanned for three times as fast as
# one that begins with looking behind. ASCII: Chinese has no space before a number.

# Runs of digits and what stands between the digits of one number: everything below except IBANs looks only there.
RUN = re.compile(r"[+(]{0,2}\d(?:[\d ().\-/\u00a0]{4,60})\d(?:[ ]?(?:x|ext\.?) ?\d{1,6})?", re.ASCII)
# There is a run where this is; it begins with what is rare.
RUN_INSIDE = re.compile(r"\d[\d ().\-/\u00a0]{4,60}\d", re.ASCII)

_CARD = re.compile(r"\d(?<![\w.].)(?<!\d[ -].)\d{3}(?:[ -]?\d){8,15}(?![ -]?\d)(?!\.\d|\w)", re.ASCII)
# Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay, Maestro from 13 digits.
_ISSUER = re.compile(r"4|5[0-9]|2[2-7]|3[0456789]|6|1800|2131")
_CARD_WORDS = re.compile(
    r"card|\bcc\b|karte|carte|tarjeta|visa\b|amex|american express|maestro|\bpay|卡", re.IGNORECASE
)
_CARD_GROUPS = re.compile(
    r"\d{4}(?P<one>[ -])\d{4}(?P=one)\d{4}(?P=one)\d{1,7}|\d{4}(?P<two>[ -])\d{6}(?P=two)\d{5}", re.ASCII
)
_SSN = re.compile(r"\d(?<![\d-].)\d\d-\d\d-\d{4}(?![\d-])", re.ASCII)
_SSN_LOOSE = re.compile(r"\d(?<![\d-].)\d\d[ .]?\d\d[ .]?\d{4}(?![\d-])", re.ASCII)
_NO_SSN = re.compile(r"000|666|\d{3}\D?00|.{0,20}0000$")  # never given out
_SSN_WORDS = re.compile(
    r"\bSSNs?\b|social[ -]sec|soc\.? sec|tax(?:payer)? id|\bitin\b|\bborn\b|birth|\bdob\b", re.IGNORECASE
)

# Length of an IBAN by country: ISO 13616 register, release 99.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
# Without the two letters of the country, which stand before it: digits are rarer, so there is less to look at.
_IBAN = re.compile(
    r"\d(?<=[A-Z]{2}\d)(?<!\w[A-Z]{2}\d)\d(?: ?[A-Z0-9]){11,29}(?!\w)"
    r"|\d(?<=[a-z]{2}\d)(?<!\w[a-z]{2}\d)\d[a-z0-9]{11,29}(?!\w)",
    re.ASCII,
)

_IBAN_WORDS = re.compile(
    r"iban|account|\bacct|konto|\bbank|compte|cuenta|transfer|\bwire|überweis|\bbic\b|swift|账户|账号|帐号",
    re.IGNORECASE,
)


def find_cards(text: str) -> Iterator[Span]:
    """Payment cards: 12 to 19 digits with the check digit (ISO/IEC 7812-1), after a word such as "card".

    Without such a word only where they stand in groups as on a card and begin as an issuer's do: of all numbers of
    that length every tenth passes the check.
    """
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if not _luhn(digits):
            continue
        certain = _ISSUER.match(digits) and _CARD_GROUPS.fullmatch(match[0]) and not is_bare_code(text, *match.span())
        if certain or _CARD_WORDS.search(text, max(match.start() - 40, 0), match.start()):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [sum(divmod(2 * int(d), 10)) for d in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0 and len(set(digits)) > 1


def find_ssns(text: str) -> Iterator[Span]:
    """Social security numbers of the USA, `123-45-6789`, where the words around say so; parts have such numbers too."""
    if not _SSN_WORDS.search(text):
        return
    for pattern in (_SSN, _SSN_LOOSE):
        for match in pattern.finditer(text):
            before, after = (max(match.start() - 60, 0), match.start()), (match.end(), match.end() + 30)
            announced = _SSN_WORDS.search(text, *before) or _SSN_WORDS.search(text, *after)
            if announced and not _NO_SSN.match(match[0]):
                yield match.span()


def find_ibans(text: str) -> Iterator[Span]:
    """Bank accounts: a country's IBAN of the right length whose remainder modulo 97 is 1 (ISO 13616).

    In groups of four, or after a word such as "account": other numbers of programs look the same.
    """
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        candidate = text[start : match.end()]
        length = _IBAN_LENGTHS.get(candidate[:2].upper())
        end = _end_of(candidate, length) if length else 0
        if not end or _remainder(candidate[:end].replace(" ", "")) != 1:
            continue
        if " " in candidate[:end] or _IBAN_WORDS.search(text, max(start - 60, 0), start):
            yield start, start + end


def _end_of(text: str, length: int) -> int:
    """Where `length` characters that are no spaces end; 0 when there are fewer."""
    places = [place for place, character in enumerate(text) if character != " "]
    return places[length - 1] + 1 if len(places) >= length else 0


def _remainder(iban: str) -> int:
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97
