"""`POST /api/analyze/batch`."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.units import MEGABYTE
from serve_app.analysis import (
    Analysis,
    Edge,
    Modality,
    address_of,
    analyze_upload,
    edge_of,
    milliseconds_since,
)
from serve_app.error_handlers import as_service_error, error_body
from serve_app.openapi import describe_batch, error_responses
from serve_app.options import BatchOptions, parse_options
from serve_app.routes.audio import AUDIO
from serve_app.routes.image import IMAGE
from serve_app.routes.video import VIDEO
from serve_app.schemas import BatchAnalysis, BatchResult, ErrorBody, body_of
from serve_app.uploads import read_json, take_upload

router = APIRouter()

MODALITIES: dict[str, Modality[Any]] = {modality.kind: modality for modality in (IMAGE, VIDEO, AUDIO)}
MAX_FILES = 16
FILES_AT_ONCE = 2
"""With `parallel: true`."""
TIMEOUT_ADVICE = "Send fewer or smaller files"


@router.post(
    "/api/analyze/batch",
    summary="Analyse up to 16 files",
    response_model=BatchAnalysis,
    responses=error_responses(),
    openapi_extra=describe_batch([(name, modality.options) for name, modality in MODALITIES.items()], MAX_FILES),
)
async def analyze_batch(request: Request) -> JSONResponse:
    """A file that fails harms no other: its `result` is the error that its own route would have answered."""
    edge = edge_of(request)
    deadline = edge.deadline()
    with edge.explain_timeouts(TIMEOUT_ADVICE), edge.admission.admit(address_of(request)) as admitted:
        max_bytes = int(edge.settings.limits.batch_body_mb * MEGABYTE)
        document = await read_json(request, max_bytes, admitted, deadline)
        started = time.monotonic()
        files = _files_of(document)
        turns = asyncio.Semaphore(FILES_AT_ONCE if _options_of(document).parallel else 1)

        async def analyze_in_turn(file: dict[str, Any]) -> Analysis | ErrorBody:
            async with turns:
                return await _analyze_file(file, request, edge, deadline)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(analyze_in_turn(file)) for file in files]
        results = [BatchResult(file_index=index, result=task.result()) for index, task in enumerate(tasks)]
        answer = BatchAnalysis(results=results, total_processing_time_ms=milliseconds_since(started))
        return JSONResponse(body_of(answer))


async def _analyze_file(file: dict[str, Any], request: Request, edge: Edge, deadline: float) -> Analysis | ErrorBody:
    """Return what the file's own route would have answered."""
    fields = dict(file)
    modality = MODALITIES[fields.pop("type")]
    try:
        with edge.explain_timeouts(modality.timeout_advice):
            if time.time() >= deadline:
                raise DeadlineExceeded("it was still waiting for its turn")
            upload = await take_upload(fields, "data", modality.limit_bytes(edge))
            return await analyze_upload(upload, modality, edge, deadline)
    except Exception as error:
        return error_body(as_service_error(error, request))


def _files_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    files = document.get("files")
    if not isinstance(files, list) or not files:
        raise InvalidRequest('Field \'files\' must be a list of at least one {"type": ..., "data": ...}.')
    if len(files) > MAX_FILES:
        raise InvalidRequest(f"Field 'files' holds {len(files)} files; at most {MAX_FILES} are allowed.")
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            raise InvalidRequest(f'files[{index}] must be an object, such as {{"type": "image", "data": "..."}}.')
        file_type = file.get("type")
        if not isinstance(file_type, str) or file_type not in MODALITIES:
            raise InvalidRequest(f"files[{index}].type must be one of {', '.join(MODALITIES)}, not {file_type!r:.40}.")
    return files


def _options_of(document: dict[str, Any]) -> BatchOptions:
    fields = {name: value for name, value in document.items() if name not in ("files", "options")}
    return parse_options(BatchOptions, fields, document.get("options"), flat_is_text=False)
