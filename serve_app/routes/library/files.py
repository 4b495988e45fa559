"""`POST /upload`, and the routes of `/files` for what the library holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.errors import InvalidRequest, ServiceError
from deployments.library.types import ChunkRecord, FileFilter, FileRecord, FileStatus, FileType
from deployments.log import logger
from serve_app.byte_range import ByteRange, parse_range
from serve_app.context import AppContext
from serve_app.file_types import identify
from serve_app.graph import INDEXING, LIBRARY
from serve_app.library_schemas import (
    DeletedFile,
    FileList,
    LibraryFile,
    LibraryFileWithContent,
    UploadedFile,
    file_body,
)
from serve_app.metrics import UPLOADS
from serve_app.openapi import BINARY, describe_library_upload, error_responses
from serve_app.request_info import client_address, context_of
from serve_app.uploads import read_form

router = APIRouter()

CHUNKS_PER_CALL = 500
CONTENT_PART_BYTES = 2**20
"""How much of an original is in memory while it is sent."""

_INLINE = {"application/pdf", "text/plain"}
"""Types besides pictures, sound and video that a browser shows without running anything in them."""


@router.post(
    "/upload",
    summary="Put a file into the library",
    response_model=UploadedFile,
    responses=error_responses(400, 403, 413, 429, 500, 503, 504, 507),
    openapi_extra=describe_library_upload(),
)
async def upload(request: Request) -> JSONResponse:
    """Answers once the file is stored durably; it is indexed afterwards. The same content again is a duplicate."""
    context = context_of(request)
    context.file_events.start()  # /metrics measures by them
    deadline = context.deadline()
    limit_bytes = context.settings.limits.max_file_bytes(context.settings.limits.max_upload_size_mb)
    with (
        context.explain_timeouts("Send the file over a faster connection"),
        context.admission.admit(client_address(request), "upload", deadline) as admitted,
    ):
        body = await read_form(request, "file", limit_bytes, admitted, deadline)
        unknown = sorted(body.fields.keys() - {"path"})
        if unknown or body.options is not None:
            name = unknown[0] if unknown else "options"
            raise InvalidRequest(f"There is no field {name[:60]!r}; an upload has 'file' and, if you like, 'path'.")
        new_file = await identify(body.media, body.filename, body.fields.get("path", ""))
        async with context.share(body.media, free_after_failure=False) as media:
            added = await context.service(LIBRARY).add_file(media, new_file, deadline=deadline)
    UPLOADS.inc()
    asyncio.get_running_loop().create_task(_wake_indexing(context))
    answer = UploadedFile(
        file_id=added.file.file_id,
        filename=added.file.filename,
        status=added.file.status if added.duplicate else "processing",
        message="File already exists" if added.duplicate else "File uploaded successfully",
        checksum=added.file.checksum,
        duplicate=added.duplicate,
    )
    return JSONResponse(answer.model_dump(mode="json"))


@router.get("/files", summary="List the files", response_model=FileList, responses=error_responses(400, 403, 500, 503))
async def files(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    file_type: Annotated[FileType | None, Query(alias="type")] = None,
    status: FileStatus | None = None,
    q: Annotated[str | None, Query(max_length=1000, description="A part of the name or its folders.")] = None,
    checksum: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the content.")] = None,
) -> JSONResponse:
    context = context_of(request)
    wanted = FileFilter(file_type, status, q or None, checksum)
    page = await context.service(LIBRARY).files(wanted, limit, offset, deadline=context.deadline())
    answer = FileList(files=[_listed(record) for record in page.files], total=page.total, limit=limit, offset=offset)
    return JSONResponse(answer.model_dump(mode="json"))


@router.get(
    "/files/{file_id}",
    summary="A file's state, with its text if asked for",
    response_model=LibraryFileWithContent,
    responses=error_responses(400, 403, 404, 500, 503),
)
async def file(request: Request, file_id: int, include_content: bool = False) -> JSONResponse:
    context = context_of(request)
    record = await _record(context, file_id)
    content = [chunk async for chunk in all_chunks(context, file_id)] if include_content else None
    body = file_body(record, content).model_dump(mode="json", exclude=None if include_content else {"content"})
    return JSONResponse(body)


@router.delete(
    "/files/{file_id}",
    summary="Remove a file",
    response_model=DeletedFile,
    responses=error_responses(400, 403, 404, 500, 503),
)
async def delete(request: Request, file_id: int) -> JSONResponse:
    """When this returns, the file is in no answer, and its original and its text are deleted."""
    context = context_of(request)
    await context.service(LIBRARY).delete_file(file_id, deadline=context.deadline())
    return JSONResponse(DeletedFile(file_id=file_id, message="File deleted").model_dump(mode="json"))


@router.post(
    "/files/{file_id}/retry",
    summary="Index a failed file again",
    response_model=LibraryFile,
    responses=error_responses(400, 403, 404, 409, 500, 503),
)
async def retry(request: Request, file_id: int) -> JSONResponse:
    context = context_of(request)
    record = await context.service(LIBRARY).retry_file(file_id, deadline=context.deadline())
    asyncio.get_running_loop().create_task(_wake_indexing(context))
    return JSONResponse(_listed(record).model_dump(mode="json"))


@router.head("/files/{file_id}/content", include_in_schema=False)
@router.get(
    "/files/{file_id}/content",
    summary="The file as it was uploaded",
    response_class=Response,
    responses={
        200: {"description": "The whole file.", "content": {"*/*": {"schema": BINARY}}},
        206: {
            "description": "The part that `Range` asks for.",
            "content": {"*/*": {"schema": BINARY}},
        },
        304: {"description": "The file is the one that `If-None-Match` names."},
        **error_responses(400, 403, 404, 416, 500, 503),
    },
)
async def content(request: Request, file_id: int) -> Response:
    context = context_of(request)
    record = await _record(context, file_id)
    headers = _content_headers(record)
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    wanted = parse_range(request.headers, record.file_size, headers["ETag"])
    part = wanted or ByteRange(0, record.file_size)
    headers["Content-Length"] = str(part.end - part.start)
    if wanted:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{record.file_size}"
    if request.method == "HEAD":
        return Response(status_code=206 if wanted else 200, headers=headers)
    body = _original_parts(context, file_id, part)
    first = await anext(body, b"")  # so that a fault is answered in JSON
    return StreamingResponse(
        _prepend(first, body), status_code=206 if wanted else 200, headers=headers, media_type=record.mime_type
    )


def _content_headers(record: FileRecord) -> dict[str, str]:
    """Return headers under which nothing in the file can act in the name of this server's pages."""
    kind = record.mime_type.partition("/")[0]
    disposition = "inline" if kind in ("image", "audio", "video") or record.mime_type in _INLINE else "attachment"
    return {
        "Content-Type": record.mime_type,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(record.filename, safe='')}",
        "Accept-Ranges": "bytes",
        "ETag": f'"{record.checksum}"',
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; media-src 'self'",
    }


async def _original_parts(context: AppContext, file_id: int, part: ByteRange) -> AsyncIterator[bytes]:
    library = context.service(LIBRARY)
    for start in range(part.start, part.end, CONTENT_PART_BYTES):
        end = min(start + CONTENT_PART_BYTES, part.end)
        yield await library.original_part(file_id, start, end, deadline=context.deadline())


async def _prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


async def all_chunks(context: AppContext, file_id: int) -> AsyncIterator[ChunkRecord]:
    """Yield all chunks of a file, in order."""
    first = 0
    while True:
        chunks = await context.service(LIBRARY).chunks(file_id, first, CHUNKS_PER_CALL, deadline=context.deadline())
        for chunk in chunks:
            yield chunk
        if len(chunks) < CHUNKS_PER_CALL:
            return
        first += len(chunks)


async def _record(context: AppContext, file_id: int) -> FileRecord:
    return await context.service(LIBRARY).file(file_id, deadline=context.deadline())


def _listed(record: FileRecord) -> LibraryFile:
    return LibraryFile(**file_body(record).model_dump(exclude={"content"}))


async def _wake_indexing(context: AppContext) -> None:
    try:
        await context.service(INDEXING).look_for_work(deadline=context.deadline())
    except ServiceError as error:
        # It looks by itself within seconds, too.
        logger.info("Indexing could not be woken: %s", error)
