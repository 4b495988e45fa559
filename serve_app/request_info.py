"""What routes read from a request or a WebSocket, besides its body."""

from starlette.requests import HTTPConnection

from serve_app.context import AppContext


def context_of(connection: HTTPConnection) -> AppContext:
    """Return the app's context, which `create_api` put into the app's state."""
    context: AppContext = connection.app.state.context
    return context


def client_address(connection: HTTPConnection) -> str:
    """Return the address under which the rate limit counts a connection.

    Serve's proxy trusts `X-Forwarded-For` and replaces the client's address by the one in it. Anybody can send that
    header, so all requests that have it count as one client.
    """
    if "x-forwarded-for" in connection.headers:
        return "forwarded"
    return connection.client.host if connection.client else ""
