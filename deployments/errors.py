"""All errors that a client may see.

    ServiceError                 safe to show: a message and a class-level `code`, nothing about HTTP
    ├─ InvalidRequest · NotFound ─ ModelNotFound · MethodNotAllowed · Conflict · RangeNotSatisfiable
    │                                                              the request is wrong
    ├─ Forbidden                                                   it comes from a web page that may not call the API
    ├─ InvalidFileType · InvalidFile · FileTooLarge                the file is wrong
    ├─ RateLimited · ServerBusy · DeadlineExceeded                 try again later
    ├─ ModelNotLoaded ─ ModelLoading                               fix the model, or wait
    ├─ StorageFull                                                 make room on the server
    └─ ProcessingFailed                                            our bug

The modules that do the work raise them, and deployments let them through. Only `serve_app/error_handlers.py` knows
their HTTP statuses. Ray pickles them, so a constructor takes exactly one positional argument, the message.
"""

from typing import ClassVar


class ServiceError(Exception):
    """An error whose message tells the client what is wrong and what to do."""

    code: ClassVar[str]
    retry_after_s: int | None = None
    param: str | None = None
    """The option or field that is wrong, if it is a single one; the routes below /v1 show it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class InvalidRequest(ServiceError):
    code = "INVALID_REQUEST"


class Forbidden(ServiceError):
    """The request comes from a web page that is not allowed to call the API."""

    code = "FORBIDDEN"


class NotFound(ServiceError):
    code = "NOT_FOUND"


class ModelNotFound(NotFound):
    """The request names a model that this server does not have."""

    code = "MODEL_NOT_FOUND"


class Conflict(ServiceError):
    """What the request wants does not fit the present state, such as a retry of a file that has not failed."""

    code = "CONFLICT"


class MethodNotAllowed(ServiceError):
    code = "METHOD_NOT_ALLOWED"


class InvalidFileType(ServiceError):
    """The content is not of a supported type; the file's name does not matter."""

    code = "INVALID_FILE_TYPE"


class InvalidFile(ServiceError):
    """A file of the right type that cannot be decoded."""

    code = "INVALID_FILE"


class FileTooLarge(ServiceError):
    code = "FILE_TOO_LARGE"


class RangeNotSatisfiable(ServiceError):
    """The part of a file that a `Range` header asks for is not there."""

    code = "RANGE_NOT_SATISFIABLE"


class RateLimited(ServiceError):
    code = "RATE_LIMITED"
    retry_after_s = 60


class ModelNotLoaded(ServiceError):
    """The model failed to load, and the message names the command that fixes it; or it is loading (ModelLoading)."""

    code = "MODEL_NOT_LOADED"
    retry_after_s = 5


class ModelLoading(ModelNotLoaded):
    """The model is still loading, and nothing is wrong."""


class ServerBusy(ServiceError):
    code = "SERVER_BUSY"
    retry_after_s = 5


class DeadlineExceeded(ServiceError):
    """The worker's message says how far it got; the route adds which option to change."""

    code = "TIMEOUT"


class StorageFull(ServiceError):
    """The server's memory for files, or its disk, is full; trying again does not help until somebody makes room."""

    code = "STORAGE_FULL"


class ProcessingFailed(ServiceError):
    code = "PROCESSING_FAILED"
