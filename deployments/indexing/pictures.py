"""The pipeline of pictures: what the captioner says about one, and the text in it."""

from collections.abc import AsyncGenerator

from deployments.captioner.types import CaptionTask
from deployments.indexing.documents import line_place
from deployments.indexing.line_layout import separators
from deployments.indexing.pieces import Break, Piece
from deployments.indexing.reading import Reading, as_stream
from deployments.library.types import NewChunk
from deployments.text_reader.types import ReadImage

CAPTION_TASK = CaptionTask(max_new_tokens=200)
"""As `POST /api/analyze/image` asks for by default, so that the captioner answers from its cache what it has described
already."""


async def read_picture(reading: Reading) -> AsyncGenerator[NewChunk, None]:
    """Yield the chunks of the caption, then those of the text; raises InvalidFile if it cannot be decoded."""
    pieces: list[Piece] = []
    if reading.config.caption_images:
        await reading.report("describing", 0.0, "")
        described = await reading.services.caption_image(reading.media, CAPTION_TASK)
        pieces.append(Piece(described.caption.text, {"origin": "caption"}, {"type": "image"}))
    await reading.report("reading", 0.5, "")
    pieces += _line_pieces(await reading.services.read_image(reading.media))
    async for chunk in reading.chunks(as_stream(pieces)):
        yield chunk


def _line_pieces(image: ReadImage) -> list[Piece]:
    joints = [(" ", Break.SENTENCE), *separators(image.lines)]
    pieces = []
    for index, line in enumerate(image.lines):
        x0, y0, x1, y1 = line.box
        left, top = round(x0 * image.width), round(y0 * image.height)
        region = {
            "x": left,
            "y": top,
            "width": round(x1 * image.width) - left,
            "height": round(y1 * image.height) - top,
        }
        place = {**line_place(line), "image_region": region}
        common = {"type": "image", "extraction": "ocr"}
        pieces.append(Piece(line.text, place, common, *joints[index], is_border=index == 0))
    return pieces
