"""`GET /v1/models`, and the names by which a request may call a model."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.errors import ModelNotFound
from serve_app.openapi import openai_error_responses
from serve_app.request_info import context_of
from serve_app.routes.openai.schemas import Model, ModelList
from serve_app.settings import AppConfig

router = APIRouter()

Use = Literal["chat", "transcription", "embedding"]

ALIASES: Mapping[Use, tuple[str, ...]] = {
    "chat": ("moondream2", "gpt-4o", "gpt-4o-mini"),
    "transcription": ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    "embedding": ("all-MiniLM-L6-v2", "text-embedding-3-small", "text-embedding-ada-002"),
}
"""Names that stand for the model here, because many clients have one built in. Answers name the model itself."""


def model_field(use: Use) -> Any:
    """Return the Field of the option `model` of a route."""
    aliases = ", ".join(f"`{alias}`" for alias in ALIASES[use])
    return Field(description=f"As `/v1/models` lists it; {aliases} stand for it.", examples=[ALIASES[use][0]])


def model_names(settings: AppConfig) -> Mapping[Use, str]:
    """Return the name of the model for each use."""
    return {
        "chat": settings.captioner.name,
        "transcription": settings.transcriber.name,
        "embedding": settings.embedder.name,
    }


def require_model(requested: str, use: Use, settings: AppConfig) -> str:
    """Return the name of the model that a request gets; raises ModelNotFound, which lists the names."""
    name = model_names(settings)[use]
    if requested not in (name, *ALIASES[use]):
        others = ", ".join(alias for alias in ALIASES[use] if alias != name)
        raise _not_found(requested, f"for {use} there is {name}, which may also be called {others}.")
    return name


@router.get(
    "/v1/models", summary="List the models", response_model=ModelList, responses=openai_error_responses(400, 403)
)
async def list_models(request: Request) -> JSONResponse:
    """One for pictures, one for recordings, one for vectors."""
    context = context_of(request)
    models = [_model(name, context.started_at) for name in model_names(context.settings).values()]
    return JSONResponse(ModelList(data=models).model_dump(mode="json"))


@router.get(
    "/v1/models/{model}",
    summary="A model",
    response_model=Model,
    responses=openai_error_responses(400, 403, 404),
)
async def get_model(request: Request, model: str) -> JSONResponse:
    """Also by a name that stands for it."""
    context = context_of(request)
    names = model_names(context.settings)
    for use, name in names.items():
        if model in (name, *ALIASES[use]):
            return JSONResponse(_model(name, context.started_at).model_dump(mode="json"))
    raise _not_found(model, f"there are {', '.join(names.values())}.")


def _model(name: str, started_at: int) -> Model:
    return Model(id=name, created=started_at)


def _not_found(requested: str, advice: str) -> ModelNotFound:
    error = ModelNotFound(f"There is no model {requested[:60]!r} here; {advice}")
    error.param = "model"
    return error
