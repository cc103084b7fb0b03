"""Numbers as people write them, and nested figures as rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{40,}")
_SHOWN_OF_DIGEST = 12


def number(value: float) -> str:
    """A number as people write it: grouped when large, at most four significant digits when small."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (math.isfinite(value) and (value == int(value) or abs(value) >= 10_000)):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def megabytes(count: float) -> str:
    """Bytes in MB or GB (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text) pairs; what is empty is left out, digests are shortened."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        pairs += _flattened(f"{prefix}{key}", value)
    return pairs


def _flattened(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return flattened(value, f"{name}.")
    if isinstance(value, bool | int | float):
        return [(name, number(value))]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping | list | tuple) for item in value):
            return flattened({str(i): item for i, item in enumerate(value)}, f"{name}.")
        value = ", ".join(map(str, value))
    shown = _DIGEST.sub(lambda digest: digest[0][:_SHOWN_OF_DIGEST], str(value or ""))
    return [(name, shown)] if shown else []
