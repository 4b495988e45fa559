"""`GET /api/health`, and the probes `/livez` and `/readyz`."""

from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.commands import FETCH_COMMAND, SERVE_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.model_loader import ModelStatus
from serve_app.openapi import error_responses
from serve_app.request_info import context_of
from serve_app.schemas import DeploymentReport, Health, ModelReport, Probe, QueueReport, SystemInfo
from serve_app.system import DeploymentStatus

router = APIRouter()

MINIATURE_DETAIL = (
    "A miniature, for trying and testing: it only knows a small synthetic world. For the real model run "
    f"`{FETCH_COMMAND}`, then `{SERVE_COMMAND}`."
)


@router.head("/api/health", include_in_schema=False)
@router.get(
    "/api/health",
    summary="The state of the models and the machine",
    response_model=Health,
    responses=error_responses(403),
)
async def health(request: Request) -> JSONResponse:
    """Always 200. The figures are the last ones measured, so it never waits for a busy model."""
    context = context_of(request)
    system = context.system
    models, deployments = system.models(), system.deployments()
    report = Health(
        status=_status(models, deployments),
        models_loaded=all(model.is_available for model in models),
        models=[_report(model) for model in models],
        deployments=[
            DeploymentReport(name=status.name, state=status.state, deaths=status.num_deaths, detail=status.detail)
            for status in deployments
        ],
        available_endpoints=request.app.state.endpoints,
        queue=QueueReport(requests=context.admission.num_queued, places=context.admission.capacity),
        system_info=SystemInfo(
            memory_usage_mb=round(system.memory_usage_mb(), 1),
            available_memory_mb=round(system.available_memory_mb(), 1),
            cpu_usage_percent=round(system.cpu_usage_percent(), 1),
        ),
        usage_stats_enabled=system.usage_stats_enabled(),
    )
    return JSONResponse(report.model_dump(mode="json"))


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Whether the API is up", response_model=Probe, responses=error_responses(403))
async def livez() -> JSONResponse:
    return JSONResponse(Probe(status="alive").model_dump(mode="json"))


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz", summary="Whether the models are loaded", response_model=Probe, responses=error_responses(403, 503)
)
async def readyz(request: Request) -> JSONResponse:
    """503 until the models that are loaded at the start are loaded; and 503 while a deployment keeps crashing."""
    context = context_of(request)
    failing = [status.detail for status in context.system.deployments() if status.state == "failing"]
    if failing:
        raise ModelNotLoaded(" ".join(failing))
    waiting = [_describe(model) for model in context.system.models() if not model.is_lazy and model.state != "loaded"]
    if waiting:
        raise ModelNotLoaded(" ".join(waiting))
    return JSONResponse(Probe(status="ready").model_dump(mode="json"))


def _status(
    models: list[ModelStatus], deployments: list[DeploymentStatus]
) -> Literal["healthy", "loading", "degraded"]:
    if any(model.state == "failed" for model in models) or any(status.state == "failing" for status in deployments):
        return "degraded"
    if not all(model.is_available for model in models):
        return "loading"
    return "degraded" if any(model.is_miniature for model in models) else "healthy"


def _report(model: ModelStatus) -> ModelReport:
    return ModelReport(
        name=model.name,
        state=model.state,
        detail=model.detail or (MINIATURE_DETAIL if model.state == "loaded" and model.is_miniature else ""),
        revision=model.revision,
        load_seconds=model.load_seconds,
        threads=model.threads,
        weight_bytes=model.weight_bytes,
        is_miniature=model.is_miniature,
    )


def _describe(model: ModelStatus) -> str:
    if model.state == "failed":
        return f"{model.name} could not be loaded: {model.detail}"
    progress = f" ({model.detail})" if model.detail else ""
    return f"{model.name} is loading{progress}."
