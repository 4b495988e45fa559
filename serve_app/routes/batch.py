"""`POST /api/analyze/batch`."""

import asyncio
import time
from functools import partial
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.units import MEGABYTE
from serve_app.admission import AdmittedRequest
from serve_app.analysis import analyze_upload
from serve_app.context import AppContext
from serve_app.error_handlers import as_service_error, error_body
from serve_app.live import event_response, wants_events
from serve_app.modalities import MODALITIES
from serve_app.openapi import describe_batch, describe_events, error_responses
from serve_app.options import Options, parse_options
from serve_app.progress import Emit
from serve_app.request_info import client_address, context_of
from serve_app.schemas import Analysis, BatchAnalysis, BatchResult, ErrorBody, body_of
from serve_app.stopwatch import Stopwatch
from serve_app.uploads import read_json_object, upload_from_json

router = APIRouter()

BATCH_PATH = "/api/analyze/batch"
MAX_FILES = 16
MAX_PARALLEL_FILES = 2
"""Files of one batch that are worked on at once with `parallel: true`."""
TIMEOUT_ADVICE = "Send fewer or smaller files"

_MODALITIES = {modality.kind: modality for modality in MODALITIES}


class BatchOptions(Options):
    parallel: bool = Field(False, description="Work on two files at once; by default one after another.")


@router.post(
    BATCH_PATH,
    summary="Analyse up to 16 files",
    response_model=BatchAnalysis,
    responses={200: describe_events("batch"), **error_responses()},
    openapi_extra=describe_batch(MODALITIES, BatchOptions, MAX_FILES),
)
async def analyze_batch(request: Request) -> Response:
    """A file that fails does not affect the others: its `result` is the error that its own route would return."""

    async def work(emit: Emit | None = None) -> dict[str, Any]:
        return await _analyze_batch(request, emit)

    return await event_response(work, request) if wants_events(request) else JSONResponse(await work())


async def _analyze_batch(request: Request, emit: Emit | None) -> dict[str, Any]:
    """Return the body of the response; `emit` gets the events, if the client asks for them."""
    context = context_of(request)
    deadline = context.deadline()
    with (
        context.explain_timeouts(TIMEOUT_ADVICE),
        context.admission.admit(client_address(request), "batch", deadline) as admitted,
    ):
        admitted.follow(emit)
        max_bytes = int(context.settings.limits.batch_body_mb * MEGABYTE)
        document = await read_json_object(request, max_bytes, admitted, deadline)
        stopwatch = Stopwatch()
        files = _files_of(document)
        slots = asyncio.Semaphore(MAX_PARALLEL_FILES if _options_of(document).parallel else 1)

        async def analyze_in_slot(index: int, file: dict[str, Any]) -> BatchResult:
            emit_of_file = None if emit is None else partial(_emit_of_file, emit, index)
            async with slots:
                analysis = await _analyze_file(file, request, context, admitted, deadline, emit_of_file)
            result = BatchResult(file_index=index, result=analysis)
            if emit is not None:
                emit("file", body_of(result))
            return result

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(analyze_in_slot(index, file)) for index, file in enumerate(files)]
        results = [task.result() for task in tasks]
        return body_of(BatchAnalysis(results=results, total_processing_time_ms=stopwatch.milliseconds()))


def _emit_of_file(emit: Emit, index: int, name: str, data: dict[str, Any]) -> None:
    emit(name, {"file_index": index, **data})


async def _analyze_file(
    file: dict[str, Any],
    request: Request,
    context: AppContext,
    admitted: AdmittedRequest,
    deadline: float,
    emit: Emit | None,
) -> Analysis | ErrorBody:
    """Return what the file's own route would have returned, a success or an error."""
    fields = dict(file)
    modality = _MODALITIES[fields.pop("type")]
    try:
        with context.explain_timeouts(modality.timeout_advice):
            if time.time() >= deadline:
                raise DeadlineExceeded("it was still waiting for its turn")
            max_file_bytes = modality.max_file_bytes(context.settings.limits)
            return await analyze_upload(
                await upload_from_json(fields, "data", max_file_bytes), modality, context, admitted, deadline, emit
            )
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
        if not isinstance(file_type, str) or file_type not in _MODALITIES:
            raise InvalidRequest(f"files[{index}].type must be one of {', '.join(_MODALITIES)}, not {file_type!r:.40}.")
    return files


def _options_of(document: dict[str, Any]) -> BatchOptions:
    fields = {name: value for name, value in document.items() if name not in ("files", "options")}
    return parse_options(BatchOptions, fields, document.get("options"), flat_is_text=False)
