"""`POST /api/analyze/batch`."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.units import MEGABYTE
from serve_app.admission import AdmittedRequest
from serve_app.analysis import analyze_upload
from serve_app.context import AppContext
from serve_app.error_handlers import as_service_error, error_body
from serve_app.modalities import MODALITIES
from serve_app.openapi import describe_batch, error_responses
from serve_app.options import Options, parse_options
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
    responses=error_responses(),
    openapi_extra=describe_batch(MODALITIES, BatchOptions, MAX_FILES),
)
async def analyze_batch(request: Request) -> JSONResponse:
    """A file that fails does not affect the others: its `result` is the error that its own route would return."""
    context = context_of(request)
    deadline = context.deadline()
    with (
        context.explain_timeouts(TIMEOUT_ADVICE),
        context.admission.admit(client_address(request), "batch", deadline) as admitted,
    ):
        max_bytes = int(context.settings.limits.batch_body_mb * MEGABYTE)
        document = await read_json_object(request, max_bytes, admitted, deadline)
        stopwatch = Stopwatch()
        files = _files_of(document)
        slots = asyncio.Semaphore(MAX_PARALLEL_FILES if _options_of(document).parallel else 1)

        async def analyze_in_slot(file: dict[str, Any]) -> Analysis | ErrorBody:
            async with slots:
                return await _analyze_file(file, request, context, admitted, deadline)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(analyze_in_slot(file)) for file in files]
        results = [BatchResult(file_index=index, result=task.result()) for index, task in enumerate(tasks)]
        analysis = BatchAnalysis(results=results, total_processing_time_ms=stopwatch.milliseconds())
        return JSONResponse(body_of(analysis))


async def _analyze_file(
    file: dict[str, Any], request: Request, context: AppContext, admitted: AdmittedRequest, deadline: float
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
                await upload_from_json(fields, "data", max_file_bytes), modality, context, admitted, deadline
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
