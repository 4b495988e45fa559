"""Turns errors into HTTP responses. Only this module decides which status an error has; `openapi.py` documents them."""

import re
from collections.abc import Mapping, Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import (
    Conflict,
    DeadlineExceeded,
    FileTooLarge,
    Forbidden,
    InvalidFile,
    InvalidFileType,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotLoaded,
    NotFound,
    ProcessingFailed,
    RangeNotSatisfiable,
    RateLimited,
    ServerBusy,
    ServiceError,
    StorageFull,
)
from deployments.log import logger
from serve_app.openai_errors import is_openai_path, openai_error_body
from serve_app.schemas import ErrorBody, ErrorDetail

STATUSES: Mapping[type[ServiceError], int] = {
    InvalidRequest: 400,
    InvalidFileType: 400,
    InvalidFile: 400,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    FileTooLarge: 413,
    RangeNotSatisfiable: 416,
    RateLimited: 429,
    ProcessingFailed: 500,
    ModelNotLoaded: 503,
    ServerBusy: 503,
    DeadlineExceeded: 504,
    StorageFull: 507,
}

CLIENT_CLOSED_REQUEST = 499
"""The status that proxies log when the client has closed the connection; nobody receives it."""


_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_METHODS_OF_FILES = ("GET", "HEAD")
"""No route matches the path of a static file once its mount has refused a method: it has changed the path."""


def status_of(error: ServiceError) -> int:
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def error_body(error: ServiceError) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(code=error.code, message=str(error)))


def error_response(error: ServiceError, path: str) -> JSONResponse:
    """Return the response to a request for `path`, in the form that its clients expect."""
    status = status_of(error)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    body: BaseModel = error_body(error)
    if is_openai_path(path):
        body = openai_error_body(error, status)
        # Without this header, OpenAI's clients send a request again after any status from 500 on.
        headers["X-Should-Retry"] = str(error.retry_after_s is not None).lower()
    return JSONResponse(body.model_dump(mode="json"), status, headers)


def as_service_error(error: Exception, request: HTTPConnection) -> ServiceError:
    """Return `error` as the client may see it. A fault of the server is logged with its traceback."""
    if isinstance(error, ServiceError) and not isinstance(error, ProcessingFailed):
        return error
    request_id = _request_id(request)
    method = request.scope.get("method", "WebSocket")
    logger.error("%s %s failed (request %s)", method, request.url.path, request_id or "?", exc_info=error)
    reason = str(error) if isinstance(error, ProcessingFailed) else "Something went wrong."
    where = f" under request {request_id}" if request_id else ""
    return ProcessingFailed(f"{reason} The server's log has the details{where}.")


def add_error_handlers(api: FastAPI) -> None:
    api.add_exception_handler(ServiceError, _answer_service_error)
    api.add_exception_handler(HTTPException, _answer_http_exception)
    api.add_exception_handler(RequestValidationError, _answer_validation_error)
    api.add_exception_handler(ClientDisconnect, answer_disconnected_client)


class AnswerUnexpectedErrors:
    """Answers exceptions that have no handler with PROCESSING_FAILED.

    It is a middleware inside the CORS middleware. Starlette's own handler for Exception is outside of that, so a
    browser could not read its response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_and_note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_start)
        except Exception as error:
            if has_started or scope["type"] != "http":
                raise
            await error_response(as_service_error(error, Request(scope)), scope["path"])(scope, receive, send)


async def _answer_service_error(request: Request, error: Exception) -> Response:
    return error_response(as_service_error(error, request), request.url.path)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return error_response(NotFound(f"There is no route {path[:200]}; /docs lists all routes."), path)
    if error.status_code == 405:
        response = error_response(
            MethodNotAllowed(f"{path[:200]} does not accept {request.method}; /docs lists the methods of each route."),
            path,
        )
        response.headers["Allow"] = ", ".join(_allowed_methods(request))
        return response
    if error.status_code < 500:
        return error_response(InvalidRequest(error.detail), path)
    return error_response(as_service_error(error, request), path)


def _allowed_methods(request: Request) -> Sequence[str]:
    """Return all methods of the request's path; Starlette names those of the path's first route only."""
    routes = request.app.routes
    allowed = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return allowed or _METHODS_OF_FILES


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
    return error_response(InvalidRequest(problems), request.url.path)


async def answer_disconnected_client(request: Request, error: Exception) -> Response:
    """End a request whose client has disconnected, without logging an error."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _request_id(request: HTTPConnection) -> str:
    """Return the id that Serve gives the request and sends back in its response; empty if it is not safe to show."""
    request_id = request.headers.get("x-request-id", "")
    return request_id if re.fullmatch(r"[\w.:-]{1,128}", request_id, re.ASCII) else ""
