"""`POST /api/analyze/image`."""

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.captioner.types import CaptionTask
from deployments.media import Media
from serve_app.analysis import Edge, Modality, answer, milliseconds_since
from serve_app.openapi import describe_upload, error_responses
from serve_app.options import ImageOptions, question_of
from serve_app.schemas import ImageAnalysis, ImageMetadata

router = APIRouter()


async def analyze(media: Media, options: ImageOptions, edge: Edge, deadline: float) -> ImageAnalysis:
    started = time.monotonic()
    task = CaptionTask(options.max_length, "normal", question_of(options.prompt))
    image = await edge.services.captioner.caption_image(media, task, deadline)
    return ImageAnalysis(
        description=image.caption.text,
        metadata=ImageMetadata(
            processing_time_ms=milliseconds_since(started),
            model=edge.settings.captioner.name,
            image_size=(image.width, image.height),
            finish_reason=image.caption.finish_reason,
            reused=image.caption.reused,
        ),
    )


IMAGE = Modality(
    kind="image",
    options=ImageOptions,
    limit_mb=lambda limits: limits.image_mb,
    analyze=analyze,
    timeout_advice="Lower max_length, send a smaller picture",
)


@router.post(
    "/api/analyze/image",
    summary="Describe a picture, or answer a question about it",
    response_model=ImageAnalysis,
    responses=error_responses(),
    openapi_extra=describe_upload("image", ImageOptions, {"prompt": "What is in this image?"}),
)
async def analyze_image(request: Request) -> JSONResponse:
    return await answer(request, IMAGE)
