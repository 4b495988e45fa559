"""`POST /api/analyze/image`, `/video` and `/audio`: one route for each modality."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.analysis import analyze_upload
from serve_app.live import event_response, wants_events
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Modality
from serve_app.openapi import describe_events, describe_upload, error_responses
from serve_app.progress import Emit
from serve_app.request_info import client_address, context_of
from serve_app.schemas import body_of
from serve_app.uploads import read_upload

router = APIRouter()


def _add_route(modality: Modality[Any]) -> None:
    async def analyze(request: Request) -> Response:
        async def work(emit: Emit | None = None) -> dict[str, Any]:
            return await _analyze(request, modality, emit)

        return await event_response(work, request) if wants_events(request) else JSONResponse(await work())

    router.add_api_route(
        modality.path,
        analyze,
        methods=["POST"],
        name=f"analyze_{modality.kind}",
        summary=modality.summary,
        response_model=modality.analysis_type,
        responses={200: describe_events(modality.kind), **error_responses()},
        openapi_extra=describe_upload(modality),
    )


async def _analyze(request: Request, modality: Modality[Any], emit: Emit | None) -> dict[str, Any]:
    """Return the body of the response; `emit` gets the events, if the client asks for them."""
    context = context_of(request)
    deadline = context.deadline()
    max_file_bytes = modality.max_file_bytes(context.settings.limits)
    with (
        context.explain_timeouts(modality.timeout_advice),
        context.admission.admit(client_address(request), modality.kind, deadline) as admitted,
    ):
        admitted.follow(emit)
        # The upload is not kept in a variable, so that analyze_upload can free it once its media is shared.
        analysis = await analyze_upload(
            await read_upload(request, modality.kind, max_file_bytes, admitted, deadline),
            modality,
            context,
            admitted,
            deadline,
            emit,
        )
        return body_of(analysis)


for _modality in MODALITIES:
    _add_route(_modality)
