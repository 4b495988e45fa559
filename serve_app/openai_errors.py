"""Errors as clients of OpenAI's API expect them: https://platform.openai.com/docs/guides/error-codes."""

from pydantic import BaseModel, Field

from deployments.errors import Forbidden, RateLimited, ServiceError

PREFIX = "/v1"
"""All routes that are compatible with OpenAI's API are below it."""


class OpenAIErrorDetail(BaseModel):
    message: str = Field(description="What is wrong and what to do, for a person to read.")
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(None, description="The parameter that is wrong, if it is a single one.")
    code: str = Field(
        description="That of the other routes, in lower case; and `model_not_found`.", examples=["model_not_found"]
    )


class OpenAIErrorBody(BaseModel):
    error: OpenAIErrorDetail


def is_openai_path(path: str) -> bool:
    """Return whether what is sent to this path gets its errors in OpenAI's form, whether or not there is a route."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def openai_error_body(error: ServiceError, status: int) -> OpenAIErrorBody:
    return OpenAIErrorBody(
        error=OpenAIErrorDetail(
            message=str(error), type=_type_of(error, status), param=error.param, code=error.code.lower()
        )
    )


def _type_of(error: ServiceError, status: int) -> str:
    if isinstance(error, RateLimited):
        return "rate_limit_error"
    if isinstance(error, Forbidden):
        return "permission_error"
    return "server_error" if status >= 500 else "invalid_request_error"
