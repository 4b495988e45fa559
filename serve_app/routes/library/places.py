"""The places of passages as pictures: `GET /files/{id}/pages/{n}.png` and `/files/{id}/frames/{seconds}.jpg`."""

import asyncio
import io
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
from PIL import Image, ImageDraw
from starlette.requests import Request
from starlette.responses import Response

from deployments.errors import NotFound
from deployments.frame_sampler.types import SampleTask
from deployments.media import Pixels
from deployments.places import Box
from serve_app.graph import DOCUMENT_PARSER, FRAME_SAMPLER, LIBRARY
from serve_app.openapi import BINARY, error_responses
from serve_app.request_info import context_of

router = APIRouter()

MARK_COLOUR = (255, 214, 0)
MARK_OPACITY = 0.4
MAX_DPI = 300


@router.get(
    "/files/{file_id}/pages/{page}.png",
    summary="A page of a PDF as a picture, with a passage marked",
    response_class=Response,
    responses={
        200: {"description": "The page.", "content": {"image/png": {"schema": BINARY}}},
        **error_responses(400, 403, 404, 500, 503, 504),
    },
)
async def page_picture(
    request: Request,
    file_id: int,
    page: int,
    chunk_id: Annotated[str | None, Query(max_length=100, description="The passage whose lines are marked.")] = None,
    dpi: Annotated[int, Query(ge=36, le=MAX_DPI)] = 110,
) -> Response:
    context = context_of(request)
    deadline = context.deadline()
    library = context.service(LIBRARY)
    record = await library.file(file_id, deadline=deadline)
    if record.file_format != "pdf":
        raise NotFound(f"File {file_id} has no pages; only a PDF has.")
    boxes: list[Box] = []
    if chunk_id is not None:
        chunk = await library.chunk(chunk_id, deadline=deadline)
        if chunk.file_id != file_id:
            raise NotFound(f"Passage {chunk_id} is not in file {file_id}.")
        boxes = [tuple(part.place["box"]) for part in chunk.parts if part.place.get("page") == page]
    async with context.share(await library.original(file_id, deadline=deadline)) as media:
        pixels = await context.service(DOCUMENT_PARSER).render_page(media, page, dpi, deadline=deadline)
    png = await asyncio.to_thread(_as_png, pixels, boxes)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@router.get(
    "/files/{file_id}/frames/{seconds}.jpg",
    summary="The frame of a video at a time",
    response_class=Response,
    responses={
        200: {"description": "The frame on screen at that time.", "content": {"image/jpeg": {"schema": BINARY}}},
        **error_responses(400, 403, 404, 500, 503, 504),
    },
)
async def frame_picture(
    request: Request, file_id: int, seconds: Annotated[float, Path(ge=0, le=10**6, allow_inf_nan=False)]
) -> Response:
    context = context_of(request)
    deadline = context.deadline()
    library = context.service(LIBRARY)
    record = await library.file(file_id, deadline=deadline)
    if record.file_type != "video":
        raise NotFound(f"File {file_id} has no frames; only a video has.")
    task = SampleTask(num_frames=1, sampling="uniform", at_s=seconds)
    async with context.share(await library.original(file_id, deadline=deadline)) as media:
        sampled = await context.service(FRAME_SAMPLER).sample(media, task, deadline=deadline)
    jpeg = await asyncio.to_thread(_as_jpeg, sampled.frames[0].pixels)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})


def _as_jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def _as_png(pixels: Pixels, boxes: Sequence[Box]) -> bytes:
    picture = Image.fromarray(pixels)
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    for x0, y0, x1, y1 in boxes:
        corners = (x0 * picture.width, y0 * picture.height, x1 * picture.width, y1 * picture.height)
        draw.rectangle(corners, fill=MARK_COLOUR)
    file = io.BytesIO()
    Image.blend(picture, marked, MARK_OPACITY).save(file, "PNG")
    return file.getvalue()
