"""Every failure a client may see.

    ServiceError                 safe to show: one message, a class-level `code`, nothing of HTTP
    ├─ InvalidRequest · NotFound · MethodNotAllowed                the request is wrong
    ├─ InvalidFileType · InvalidFile · FileTooLarge                the file is wrong
    ├─ RateLimited · ServerBusy · DeadlineExceeded                 come back later
    ├─ ModelNotLoaded ─ ModelLoading                               mend it, or wait
    └─ ProcessingFailed                                            ours

The modules that do the work raise them, the deployments let them pass, and `serve_app/error_handlers.py` alone knows
the HTTP status of each. They cross Ray by pickle, so a constructor takes exactly one positional message.
"""

from typing import ClassVar


class ServiceError(Exception):
    """A failure whose message tells the client what is wrong and what to do."""

    code: ClassVar[str]
    retry_after_s: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)


class InvalidRequest(ServiceError):
    code = "INVALID_REQUEST"


class NotFound(ServiceError):
    code = "NOT_FOUND"


class MethodNotAllowed(ServiceError):
    code = "METHOD_NOT_ALLOWED"


class InvalidFileType(ServiceError):
    """The content is of no supported type; the name does not count."""

    code = "INVALID_FILE_TYPE"


class InvalidFile(ServiceError):
    """The right type, but it cannot be decoded."""

    code = "INVALID_FILE"


class FileTooLarge(ServiceError):
    code = "FILE_TOO_LARGE"


class RateLimited(ServiceError):
    code = "RATE_LIMITED"
    retry_after_s = 60


class ModelNotLoaded(ServiceError):
    """The model is loading, or failed to load; the message says which, and the command that mends it."""

    code = "MODEL_NOT_LOADED"
    retry_after_s = 5


class ModelLoading(ModelNotLoaded):
    """It will be there without anybody's help; a failed load is a plain ModelNotLoaded."""


class ServerBusy(ServiceError):
    code = "SERVER_BUSY"
    retry_after_s = 5


class DeadlineExceeded(ServiceError):
    """Raised by the worker with how far it got; the route adds what to lower or raise."""

    code = "TIMEOUT"


class ProcessingFailed(ServiceError):
    code = "PROCESSING_FAILED"
