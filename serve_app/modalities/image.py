"""The analysis of images: a caption, or the answer to a question."""

from contextlib import aclosing

from deployments.captioner.protocol import CaptionerService
from deployments.captioner.types import CaptionProgress, CaptionTask, ImageCaption
from deployments.media import Media
from serve_app.context import AppContext
from serve_app.graph import CAPTIONER
from serve_app.modalities.modality import FileFormat, Modality
from serve_app.options import MaxLength, Options, Prompt, question_of
from serve_app.progress import Stage
from serve_app.schemas import ImageAnalysis, ImageMetadata
from serve_app.stopwatch import Stopwatch

FORMATS = (
    FileFormat("JPG", "a JPG image", "image/jpeg", (".jpg", ".jpeg"), (b"\xff\xd8\xff",)),
    FileFormat("PNG", "a PNG image", "image/png", (".png",), (b"\x89PNG\r\n\x1a\n",)),
    FileFormat("WEBP", "a WEBP image", "image/webp", (".webp",), riff_form=b"WEBP"),
    FileFormat("BMP", "a BMP image", "image/bmp", (".bmp",)),
    FileFormat("GIF", "a GIF image", "image/gif", (".gif",), (b"GIF87a", b"GIF89a")),
    FileFormat("TIFF", "a TIFF image", "image/tiff", (".tiff", ".tif")),
    FileFormat("HEIC", "a HEIC image", "image/heic", (".heic", ".heif", ".hif")),
    FileFormat("AVIF", "an AVIF image", "image/avif", (".avif",)),
)


MAX_SHORT_LENGTH = 256
"""A request for more tokens than this may take long."""


class ImageOptions(Options):
    prompt: Prompt = ""
    max_length: MaxLength = 200


async def analyze(media: Media, options: ImageOptions, context: AppContext, deadline: float) -> ImageAnalysis:
    stopwatch = Stopwatch()
    task = CaptionTask(max_new_tokens=options.max_length, length="normal", question=question_of(options.prompt))
    captioner = context.service(CAPTIONER)
    if context.progress.is_live:
        image = await _follow(captioner, media, task, context, deadline)
    else:
        image = await captioner.caption_image(media, task, deadline=deadline)
    return ImageAnalysis(
        description=image.caption.text,
        metadata=ImageMetadata(
            processing_time_ms=stopwatch.milliseconds(),
            model=context.settings.captioner.name,
            image_size=(image.width, image.height),
            finish_reason=image.caption.finish_reason,
            reused=image.caption.reused,
            prompt_tokens=image.num_prompt_tokens,
            generated_tokens=image.caption.num_tokens,
        ),
    )


async def _follow(
    captioner: CaptionerService, media: Media, task: CaptionTask, context: AppContext, deadline: float
) -> ImageCaption:
    """Return what `caption_image` does; the text is sent as it is written."""
    progress = context.progress
    model = context.settings.captioner.name
    answer = "a description" if task.question is None else "an answer"
    track = progress.track(
        Stage("read", f"{model}: reading an image", 1), Stage("write", f"{model}: writing {answer}", 1)
    )
    sent = ""
    async with aclosing(captioner.stream_image_caption(media, task, deadline=deadline)) as items:
        async for item in items:
            text = item.caption.text if isinstance(item, ImageCaption) else item.text
            if isinstance(item, CaptionProgress):
                track.advance("write" if text else "read", None if text else item.fraction_read)
            if len(text) > len(sent):  # it is shorter after a replay
                progress.emit("token", text=text[len(sent) :])
                sent = text
    assert isinstance(item, ImageCaption)
    track.done(is_typical=item.caption.reused == "nothing")
    return item


IMAGE = Modality(
    kind="image",
    summary="Describe an image, or answer a question about it",
    formats=FORMATS,
    options=ImageOptions,
    example_options={"prompt": "What is in this image?"},
    sample_options={},
    limit_mb=lambda limits: limits.image_mb,
    analysis_type=ImageAnalysis,
    analyze=analyze,
    length=lambda options, num_bytes: "short" if options.max_length <= MAX_SHORT_LENGTH else "long_call",
    timeout_advice="Lower max_length, send a smaller image",
)
