"""Servers of this machine are asked directly, whatever proxy is set for the rest of the world."""

from __future__ import annotations

import os

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def except_loopback_from_proxies() -> None:
    """Add loopback to `NO_PROXY`, for this process and its children; what the user has set there stays.

    Libraries read either spelling, most of them the lower case first.
    """
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        listed = os.environ.get(name) or os.environ.get(other) or ""
        hosts = [host.strip() for host in listed.split(",") if host.strip()]
        missing = [] if "*" in hosts else [host for host in _LOOPBACK if host not in hosts]
        os.environ[name] = ",".join(hosts + missing)
