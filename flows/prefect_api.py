"""Requests to a Prefect server on loopback, for processes that do without Prefect.

This module must not import Prefect.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from zen_pipeline.errors import ZenError

_ANSWER_SECONDS = 30
_BUSY_SECONDS = 30  # how long a server may say that its database is locked
_PAUSE = 0.5


def ask(address: str, method: str, path: str, body: object = None) -> Any:
    """The server's answer; None where there is nothing of that name, or nothing to say.

    A server whose database is locked answers 503, and is asked again, as Prefect's own client does.

    Args:
        address: of the API, such as `http://127.0.0.1:4200/api`.
        method: of HTTP.
        path: below the address, such as `/automations/filter`.
        body: sent as JSON; None sends none.

    Raises:
        ZenError: the server refuses, does not answer, or is busy for too long.
    """
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, {"Content-Type": "application/json"}, method=method)
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                content = answer.read()
            return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code != 503 or time.monotonic() > deadline:
                said = error.read()[:300].decode(errors="replace")
                raise ZenError(f"the Prefect server refuses {method} {path} ({error.code}): {said}") from error
        except OSError as error:
            raise ZenError(f"the Prefect server does not answer {method} {path}: {error}") from error
        time.sleep(_PAUSE)
