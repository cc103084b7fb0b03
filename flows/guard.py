"""Who may talk to a Prefect server on loopback: programs that know its secret, and pages that it served itself.

Any web page can send requests to 127.0.0.1, under any name that its author lets point there. So a request must be
addressed to this server by its own name (else it is DNS rebinding), come from no other origin, and know the secret.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class Guard:
    """An ASGI application that lets through to another one what is meant for it."""

    def __init__(self, app: App, port: int, secret: str | None) -> None:
        """Guard `app`.

        Args:
            app: what is served.
            port: the port on loopback at which it is served.
            secret: `user:password` that programs send by HTTP's basic authentication, and that a browser brings
                once as `?token=`; None asks for nothing.
        """
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"zen-{port}"  # cookies are shared between the ports of a host
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        if headers.get("host") not in self._hosts:
            await _refuse(scope, send, 421, "this server is asked for under another name")
        elif headers.get("origin", f"http://{headers['host']}") not in {f"http://{host}" for host in self._hosts}:
            await _refuse(scope, send, 403, "requests of other sites are not answered")
        elif self._brings_token(scope):
            cookie = f"{self._cookie}={self._encoded()}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 303, b"", [(b"location", scope["path"].encode()), (b"set-cookie", cookie.encode())])
        elif self._knows_secret(headers):
            await self._app(scope, receive, send)
        else:
            await _refuse(scope, send, 401, "open the address with the token that was printed at the start")

    def _brings_token(self, scope: Scope) -> bool:
        if self._secret is None or scope["type"] != "http" or scope["method"] != "GET":
            return False
        [token, *_] = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return hmac.compare_digest(token.encode(), self._secret.partition(":")[2].encode())

    def _knows_secret(self, headers: dict[str, str]) -> bool:
        if self._secret is None:
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        known = [sent if scheme.lower() == "basic" else "", cookie.value if cookie else ""]
        return any(hmac.compare_digest(each.encode(), self._encoded().encode()) for each in known)

    def _encoded(self) -> str:
        return b64encode((self._secret or "").encode()).decode()


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by name; one that comes twice counts as both together, which equals nothing that is expected."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
    else:
        await _answer(send, status, f"{reason}\n".encode(), [(b"content-type", b"text/plain")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
