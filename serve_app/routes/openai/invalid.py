"""The error of a parameter that is wrong."""

from deployments.errors import InvalidRequest


def invalid(param: str, message: str) -> InvalidRequest:
    error = InvalidRequest(message)
    error.param = param
    return error
