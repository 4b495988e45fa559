"""Shows the places of passages: `GET /files/{id}/pages/{n}.png` and `/files/{id}/frames/{seconds}.jpg` are pictures,
`GET /files/{id}/text` is HTML with an anchor for each paragraph."""

import asyncio
import io
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
from PIL import Image, ImageDraw
from starlette.requests import Request
from starlette.responses import Response

from deployments.errors import InvalidRequest, NotFound
from deployments.frame_sampler.types import SampleTask
from deployments.media import Pixels
from deployments.places import Box
from serve_app.graph import DOCUMENT_PARSER, FRAME_SAMPLER, LIBRARY, TEXT_READER
from serve_app.marks import Marks, marks, parse_chars
from serve_app.openapi import BINARY, error_responses
from serve_app.paragraph_page import PARAGRAPH_PAGE_HEADERS, paragraph_page
from serve_app.request_info import context_of
from serve_app.routes.library.files import all_chunks

router = APIRouter()

MARK_COLOUR = (255, 214, 0)
MARK_OPACITY = 0.4
MAX_DPI = 300
MAX_PICTURE_SIDE_PX = 2000
"""An image file with a longer side is scaled down."""


@router.get(
    "/files/{file_id}/pages/{page}.png",
    summary="A page of a PDF, or a picture as page 1, with a passage marked",
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
    chars: Annotated[
        str | None,
        Query(
            max_length=30,
            pattern=r"^[0-9]+-[0-9]+$",
            description="Mark only these characters of the passage, from the first number to the second (exclusive), "
            "as in a citation's `chars`.",
            examples=["120-188"],
        ),
    ] = None,
    dpi: Annotated[int, Query(ge=36, le=MAX_DPI, description="Of a PDF's page.")] = 110,
) -> Response:
    """Without `chars`, the lines of the passage are marked. A large picture is scaled down to 2000 pixels a side."""
    context = context_of(request)
    deadline = context.deadline()
    library = context.service(LIBRARY)
    if chars is not None and chunk_id is None:
        raise InvalidRequest("chars needs chunk_id: it counts the characters of a passage.")
    record = await library.file(file_id, deadline=deadline)
    if record.file_format != "pdf" and record.file_type != "image":
        raise NotFound(f"File {file_id} has no pages; only a PDF has, and a picture is its own page 1.")
    if record.file_type == "image" and page != 1:
        raise NotFound(f"File {file_id} is a picture, which has page 1 only.")
    wanted = Marks()
    if chunk_id is not None:
        chunk = await library.chunk(chunk_id, deadline=deadline)
        if chunk.file_id != file_id:
            raise NotFound(f"Passage {chunk_id} is not in file {file_id}.")
        wanted = marks(chunk, None if record.file_type == "image" else page, parse_chars(chars, chunk))
    boxes = list(wanted.boxes)
    async with context.share(await library.original(file_id, deadline=deadline)) as media:
        if record.file_type == "image":
            pixels = await context.service(TEXT_READER).decode(media, MAX_PICTURE_SIDE_PX, deadline=deadline)
        else:
            parser = context.service(DOCUMENT_PARSER)
            if wanted.in_text_layer:
                boxes += await parser.find_words(media, page, list(wanted.in_text_layer), deadline=deadline)
            pixels = await parser.render_page(media, page, dpi, deadline=deadline)
    png = await asyncio.to_thread(_as_png, pixels, boxes)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@router.get(
    "/files/{file_id}/text",
    summary="The text of a document without pages, with an anchor for each paragraph",
    response_class=Response,
    responses={
        200: {"description": "A page of HTML.", "content": {"text/html": {"schema": {"type": "string"}}}},
        **error_responses(400, 403, 404, 500, 503),
    },
)
async def paragraphs(request: Request, file_id: int) -> Response:
    """`#paragraph-17` opens paragraph 17, as `source_info` counts them."""
    context = context_of(request)
    record = await context.service(LIBRARY).file(file_id, deadline=context.deadline())
    if record.file_type != "document" or record.file_format == "pdf":
        raise NotFound(f"File {file_id} has no paragraphs; only a document without pages has.")
    chunks = [chunk async for chunk in all_chunks(context, file_id)]
    return Response(paragraph_page(record.filename, chunks), media_type="text/html", headers=PARAGRAPH_PAGE_HEADERS)


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
