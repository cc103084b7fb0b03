"""Network addresses that lead to a person's machine, told from versions, section numbers and object identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

Span = tuple[int, int]

_IPV4 = re.compile(r"\d(?<![\w.].)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?!\w|\.\d|-\w|/\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,7}:?[0-9A-Fa-f]{0,4}(?![\w:.]|/\d)", re.ASCII)
_COLONS = re.compile(r":(?:[0-9A-Fa-f]{0,4}:){2}")  # in every address of version 6 that counts; quickly looked for

# Words in whose company four numbers with dots are a version, a section or a name of SNMP.
_VERSION = re.compile(
    r"(?:[-_]|(?<!:/)/|==|[<>~^!]=|\bv|\bver\.?)\s?$"
    r"|\b(?:versions?|releases?|builds?|patch\w{0,4}|upgrad\w{1,4}|updat\w{1,4}|downgrad\w{1,4}|firmware|driver|kernel|"
    r"package|install\w{0,6}|sections?|chapters?|clauses?|paragraphs?|oids?|object identifiers?|snmp|schema|sdk|jdk|"
    r"api)\b[^.!?\n]{0,24}$",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"(?:\bip(?:v4|v6)?s?\b|(?<=_)ip\b|\baddress\w{0,2}\b|\bgateway\b|\bdns\b|\bping\b|\bssh\b|\btelnet\b|\btraceroute\b|"
    r"\bwhois\b|\badresse\b|地址)[^.\n]{0,30}$|(?:@\[?|://)$",
    re.IGNORECASE,
)
_LIKELY = re.compile(  # products are called so, too
    r"\b(?:hosts?|hostname|servers?|clients?|remote|peers?|proxy|router|firewall|nodes?|machine|endpoint|connect\w{0,6}|"
    r"log(?:ged|in|gin)?|rechner)\b[^.\n]{0,30}$|\b(?:from|at|by|von|to)\s$|(?:服务器|主机)[^.\n]{0,30}$",
    re.IGNORECASE,
)
_PORT = re.compile(r":\d{2,5}\b|\s-\s\S{1,40} \[|\]|\s?port \d", re.ASCII)
# Resolvers that everybody may use (Google, Cloudflare, Quad9, OpenDNS, Level 3, 114DNS, AliDNS, DNSPod, Baidu).
_RESOLVERS = """
8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 4.2.2.1 4.2.2.2 4.2.2.3 4.2.2.4
4.2.2.5 4.2.2.6 114.114.114.114 114.114.115.115 223.5.5.5 223.6.6.6 119.29.29.29 180.76.76.76
2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111 2606:4700:4700::1001 2620:fe::fe 2620:fe::9
"""
_WELL_KNOWN = frozenset(_RESOLVERS.split())


def find_addresses(text: str) -> Iterator[Span]:
    """IP addresses of version 4 and 6 that lead to one machine.

    Left alone: private, local and reserved networks, masks, networks with their length behind, those for documents,
    public resolvers, and what by its words or its small numbers is a version.
    """
    for match in _IPV4.finditer(text):
        before = text[max(match.start() - 48, 0) : match.start()]
        if _leads_somewhere(match[0]) and not _VERSION.search(before) and _is_address(text, match, before):
            yield match.span()
    if _COLONS.search(text):
        for match in _IPV6.finditer(text):
            # Short forms such as `a::b` are also slices and names of C++.
            if len(match[0]) < 10 or match[0].count(":") < 3 or not _leads_somewhere(match[0]):
                continue
            announced = _ANNOUNCED.search(text[max(match.start() - 48, 0) : match.start()])
            if announced or not IPv6Address(match[0]).is_reserved:
                yield match.span()


def _is_address(text: str, match: re.Match[str], before: str) -> bool:
    """By the words around it; without any by its numbers, which are larger than those of versions."""
    if _ANNOUNCED.search(before) or _PORT.match(text, match.end(), match.end() + 50):
        return True
    octets = [int(number) for number in match[0].split(".")]
    large = sum(octet >= 100 for octet in octets)
    return large >= 1 if _LIKELY.search(before) else large >= 2 and min(octets[1:3]) >= 10


def _leads_somewhere(text: str) -> bool:
    try:
        address = IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        return False
    return address.is_global and not address.is_multicast and str(address) not in _WELL_KNOWN
