"""What routes ask of a request."""

from starlette.requests import Request

from serve_app.context import AppContext


def context_of(request: Request) -> AppContext:
    """Return the app's context, which `create_api` has put into its state."""
    context: AppContext = request.app.state.context
    return context


def client_address(request: Request) -> str:
    """Return the client that the rate limit counts a request for.

    Serve's proxy believes `X-Forwarded-For` and puts what it says in the place of the client's address. Anybody can
    write that header, so all requests that have it count as one client.
    """
    if "x-forwarded-for" in request.headers:
        return "forwarded"
    return request.client.host if request.client else ""
