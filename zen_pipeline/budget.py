"""What a user wants to spend: time, tokens or parameters."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

_BUDGET = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(s|m|h|tokens|[kKMGB]?params)")


class Budget(BaseModel):
    """A budget in one unit: seconds of training, training tokens, or parameters."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["seconds", "tokens", "params"]
    amount: float


def parse_budget(text: str) -> Budget:
    """`90s`, `5m`, `2h`, `3e9tokens`, `30Mparams` as a `Budget`.

    Raises:
        ValueError: the text has another form, or the amount is zero.
    """
    match = _BUDGET.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < math.inf:
        raise ValueError(f"{text!r} is not a budget: write 90s, 5m, 2h, 3e9tokens or 30Mparams")
    amount, unit = float(match[1]), match[2]
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}
    if unit in seconds:
        return Budget(kind="seconds", amount=amount * seconds[unit])
    if unit == "tokens":
        return Budget(kind="tokens", amount=amount)
    scale = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}[unit.removesuffix("params")]
    return Budget(kind="params", amount=amount * scale)
