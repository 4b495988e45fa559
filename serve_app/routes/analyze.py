"""`POST /api/analyze/image`, `/video` and `/audio`: one route for each modality."""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from serve_app.context import AppContext
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Analysis, Modality
from serve_app.openapi import describe_upload, error_responses
from serve_app.options import OptionsT, parse_options
from serve_app.request_info import client_address, context_of
from serve_app.schemas import body_of
from serve_app.sniffing import require_kind
from serve_app.uploads import Upload, read_upload

router = APIRouter()


def _add_route(modality: Modality[Any]) -> None:
    async def analyze(request: Request) -> JSONResponse:
        context = context_of(request)
        deadline = context.deadline()
        limit_bytes = modality.limit_bytes(context.settings.limits)
        with (
            context.explain_timeouts(modality.timeout_advice),
            context.admission.admit(client_address(request)) as admitted,
        ):
            # The upload is not kept in a variable, so that analyze_upload can free it once its media is shared.
            analysis = await analyze_upload(
                await read_upload(request, modality.kind, limit_bytes, admitted, deadline), modality, context, deadline
            )
            return JSONResponse(body_of(analysis))

    router.add_api_route(
        modality.path,
        analyze,
        methods=["POST"],
        name=f"analyze_{modality.kind}",
        summary=modality.summary,
        response_model=modality.analysis_type,
        responses=error_responses(),
        openapi_extra=describe_upload(modality),
    )


async def analyze_upload(
    upload: Upload, modality: Modality[OptionsT], context: AppContext, deadline: float
) -> Analysis:
    """Wait for a work slot and return the analysis of a file; raises ServiceErrors."""
    options = parse_options(modality.options, upload.fields, upload.options, flat_is_text=upload.is_form)
    # In a thread, because a malicious file can make it read thousands of headers.
    await asyncio.to_thread(require_kind, upload.media.data, modality.kind)
    async with context.admission.work_slot(deadline):
        media = await context.share(upload.media)
        del upload
        return await modality.analyze(media, options, context, deadline)


for _modality in MODALITIES:
    _add_route(_modality)
