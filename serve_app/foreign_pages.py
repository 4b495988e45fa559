"""Refuses what foreign web pages send through a browser on this machine.

CORS only keeps a page from reading an answer. It stops neither a form that the page posts, nor a WebSocket, nor a page
whose own name resolves to this machine (DNS rebinding). But a browser always says in `Origin` which page sends such a
request, and in `Host` under which name it reached the server. Other clients send no `Origin`, and are let through.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import Forbidden
from serve_app.error_handlers import error_response
from serve_app.settings import ServingConfig

_DEFAULT_PORTS = {"http": 80, "https": 443}


class RefuseForeignPages:
    """A middleware that answers requests and WebSocket handshakes of foreign pages with FORBIDDEN, on every route.

    It goes around the CORS middleware, whose own answer to a foreign preflight is plain text.
    """

    def __init__(self, app: ASGIApp, config: ServingConfig) -> None:
        self._app = app
        self._allowed_hosts = frozenset(config.allowed_hosts)
        self._allowed_origins = frozenset(config.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            error = self._error(_values(scope, b"host"), _values(scope, b"origin"))
            if error is not None:
                await self._refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _error(self, hosts: Sequence[str], origins: Sequence[str]) -> Forbidden | None:
        for host in hosts:
            if _name_of(host) not in self._allowed_hosts:
                return Forbidden(
                    f"This server is not called {host[:100]!r}; serving.allowed_hosts lists the names under which it "
                    "may be called."
                )
        for origin in origins:
            if not self._is_allowed(origin, hosts):
                return Forbidden(
                    f"Pages of {origin[:100]} may not call this API; serving.cors_origins (CORS_ORIGINS) lists those "
                    "that may."
                )
        return None

    def _is_allowed(self, origin: str, hosts: Sequence[str]) -> bool:
        if "*" in self._allowed_origins or origin in self._allowed_origins:
            return True
        return len(hosts) == 1 and _is_origin_of(origin, hosts[0])

    async def _refuse(self, error: Forbidden, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
            return
        response: Response = error_response(error, scope["path"])
        origins = _values(scope, b"origin")
        if len(origins) == 1 and origins[0] in self._allowed_origins:
            # A page that may call the API under another name can read why it may not under this one.
            response.headers.update({"Access-Control-Allow-Origin": origins[0], "Vary": "Origin"})
        await response(scope, receive, send)


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _name_of(host: str) -> str:
    """Return the name in a Host header, in lower case and without the port."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdecimal() or not port) else host


def _is_origin_of(origin: str, host: str) -> bool:
    """Return whether pages of `origin` come from the server that was called by this Host header."""
    try:
        page = urlsplit(origin)
        server = urlsplit(f"{page.scheme}://{host.strip()}")
        return page.scheme in _DEFAULT_PORTS and page.hostname is not None and _address(page) == _address(server)
    except ValueError:
        return False


def _address(url: SplitResult) -> tuple[str | None, int]:
    return url.hostname, url.port or _DEFAULT_PORTS[url.scheme]
