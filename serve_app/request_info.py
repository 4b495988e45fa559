"""What routes read from a Starlette request, besides its body."""

from starlette.requests import Request

from serve_app.context import AppContext


def context_of(request: Request) -> AppContext:
    """Return the app's context, which `create_api` put into the app's state."""
    context: AppContext = request.app.state.context
    return context


def client_address(request: Request) -> str:
    """Return the address under which the rate limit counts a request.

    Serve's proxy trusts `X-Forwarded-For` and replaces the client's address by the one in it. Anybody can send that
    header, so all requests that have it count as one client.
    """
    if "x-forwarded-for" in request.headers:
        return "forwarded"
    return request.client.host if request.client else ""
