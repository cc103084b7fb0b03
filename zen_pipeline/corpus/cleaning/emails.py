"""E-mail addresses, also with letters outside ASCII (RFC 6531) and in internationalized domains (RFC 5890).

What has the shape alone is no address: `x@self.weight.mean(0)` is a product of matrices, `icon@2x.png` a file,
`ssh deploy@build.internal.lan` a login. So the last label must be a top-level domain that exists, and the place must
not be a command or an operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zen_pipeline.corpus.cleaning.code import is_bare_code

Span = tuple[int, int]

# Scripts that write no spaces, or attach endings to foreign words: a Latin address ends where they begin.
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\U00020000-\U0003ffff"
)
_MARKS = "\u0300-\u036f\u0900-\u0dff"  # vowel signs and accents, which are no letters for `\\w`
_LETTER = rf"(?![{_DENSE}])[^\W_]"
_LOCAL = re.compile(rf"(?:(?![{_DENSE}])[\w.+%'{_MARKS}-]){{1,64}}$")
_DENSE_LOCAL = re.compile(rf"[{_DENSE}A-Za-z0-9._-]{{1,64}}$")
_LABEL = rf"(?:{_LETTER})(?:(?![{_DENSE}])[^\W_]|[{_MARKS}-]){{0,62}}"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,8}}{_LABEL}")
_DENSE_DOMAIN = re.compile(
    rf"(?:[{_DENSE}A-Za-z0-9-]{{1,63}}\.){{1,8}}"
    r"(?:中国|中國|公司|网络|網絡|网址|在线|商城|集团|香港|台湾|台灣|澳門|한국|みんな|ไทย|[a-z]{2,24}(?![A-Za-z0-9-]))"
)
_LITERAL = re.compile(r"\[(?:IPv6:)?[0-9A-Fa-f:.]{7,45}\]")
_VEILED = re.compile(
    r"(?<![\w.+-])([\w.+-]{1,64})\s?[(\[{]\s?at\s?[)\]}]\s?"
    r"((?:[\w-]{1,63}(?:\.|\s?[(\[{]\s?(?:dot|punkt)\s?[)\]}]\s?)){1,8}[A-Za-z]{2,24})(?![\w-])",
    re.IGNORECASE,
)
_DOT = re.compile(r"\s?[(\[{]\s?(?:dot|punkt)\s?[)\]}]\s?", re.IGNORECASE)
# RFC 2606 and 6761: names that belong to nobody, used in documentation.
_NOBODY = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)$", re.IGNORECASE)
_COMMAND = re.compile(r"\b(?:ssh|scp|sftp|rsync|mosh|ssh-copy-id|ssh-keygen|git clone|svn)\b[^\n]{0,120}$")
_MESSAGE = re.compile(r"\b(?:message-id|references|in-reply-to)\b.{0,30}<$", re.IGNORECASE | re.DOTALL)
_NEXT_SENTENCE = re.compile(r"\.[A-Z][a-z]{0,20}(?=[\s,])")
_OPERANDS = frozenset({"self", "cls", "this", "np", "torch", "tf", "jnp"})

_COUNTRIES = """
ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd cf cg
ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge gf gg gh gi
gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw
ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng
ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn
so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws
ye yt za zm zw
"""
_GENERIC = """
com org net edu gov mil int arpa info biz name pro aero coop museum mobi jobs travel tel cat asia post xxx app dev page
online site website web shop store blog cloud tech space xyz top club live life world today news media email mail
company firm group team work works agency studio design digital global international solutions services systems support
software network center academy education school university college institute foundation charity church health care
clinic dental doctor hospital law legal attorney lawyer consulting finance financial bank insurance capital fund money
tax accountants estate house land properties rent homes hotel holiday tours vacations restaurant cafe bar pub beer wine
pizza food farm garden auto cars bike taxi fashion clothing shoes jewelry beauty salon fitness yoga run football golf
games game fun art gallery photo photos photography video film movie music band radio theater events tickets wedding
family baby kids dog pet green energy solar eco bio organic science engineering construction build tools repair market
marketing sale deals discount cheap express delivery berlin hamburg koeln cologne bayern ruhr saarland wien tirol swiss
zuerich paris bzh alsace london wales scot cymru irish amsterdam brussels vlaanderen gent madrid barcelona gal eus nrw
frl quebec nyc boston miami vegas istanbul moscow tokyo osaka kyoto nagoya okinawa ryukyu sydney melbourne africa joburg
capetown durban lat ngo ong vip plus one zone link click digital chat social community reise haus gmbh ltd llc inc
immo versicherung kaufen jetzt gratis moda tienda abogado viajes futbol ooo wang ink bot aaa abb bmw google microsoft
"""
_INTERNATIONAL = """
рф рус бел укр срб мкд бг мон қаз онлайн сайт орг ком дети москва ею ευ ελ հայ გე امارات السعودية مصر ایران ايران عمان
قطر سورية تونس الجزائر المغرب فلسطين الاردن اليمن عراق السودان بھارت پاکستان ישראל קום भारत भारोत ভারত বাংলা இந்தியா
சிங்கப்பூர் இலங்கை భారత్ ଭାରତ ಭಾರತ ഭാരതം ලංකා ਭਾਰਤ ભારત
"""
_TOP_LEVEL = frozenset(f"{_COUNTRIES} {_GENERIC} {_INTERNATIONAL}".split())


def find_emails(text: str) -> Iterator[Span]:
    """Where e-mail addresses stand, without those of domains that are reserved for examples."""
    at = text.find("@")
    while at >= 0:
        start, end = _start(text, at), _end(text, at + 1)
        if 0 <= start < at and end and not _is_something_else(text, start, at, end):
            yield start, end
        at = text.find("@", at + 1)
    for match in _VEILED.finditer(text):
        domain = _DOT.sub(".", match[2])
        if _is_top_level(domain) and not _NOBODY.search(domain):
            yield match.span()


def _start(text: str, at: int) -> int:
    """Where the local part begins; `at` when there is none."""
    before = text[max(at - 64, 0) : at]
    local = _LOCAL.search(before)
    if local is None and _DENSE_DOMAIN.match(text, at + 1):
        local = _DENSE_LOCAL.search(before)
    return at if local is None else at - len(local[0].lstrip(".'+-%"))


def _end(text: str, start: int) -> int:
    """Where the domain ends; 0 when there is none."""
    if literal := _LITERAL.match(text, start):
        return literal.end()
    found = _DOMAIN.match(text, start) or _DENSE_DOMAIN.match(text, start)
    if found is None:
        return 0
    domain = found[0].rstrip("-")
    if not _is_top_level(domain) and _NEXT_SENTENCE.match(text, start + domain.rfind(".")):
        domain = domain[: domain.rfind(".")]
    if not _is_top_level(domain) or _NOBODY.search(domain):
        return 0
    return start + len(domain)


def _is_top_level(domain: str) -> bool:
    last = domain.rpartition(".")[2]
    written_alike = last.islower() or last.isupper() or last.istitle() or not last.isascii()
    if not last.isascii() and _DENSE_DOMAIN.fullmatch(domain):
        return True
    return "." in domain and (last.lower().startswith("xn--") or (written_alike and last.lower() in _TOP_LEVEL))


def _is_something_else(text: str, start: int, at: int, end: int) -> bool:
    """A name on a social network, a file, a login of a command, the id of a message, or a product of matrices."""
    local, domain = text[start:at], text[at + 1 : end]
    behind = text[end : end + 2]
    if local == "git" or text[max(start - 1, 0) : start] in ("@", "\\") or re.match(r"\d{1,2}x\.", domain):
        return True
    if behind[:1] in ("(", "[", "_", "@") or re.match(r":[/~\w]", behind):
        return True
    if _COMMAND.search(text[max(start - 140, 0) : start]) or _MESSAGE.search(text[max(start - 40, 0) : start]):
        return True
    operand = len(local) <= 2 or domain.partition(".")[0] in _OPERANDS
    return operand and is_bare_code(text, start, end)
