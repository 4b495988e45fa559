"""Decodes an image file to at most the size that the text reader can use. Needs no model.

Replicas run these functions in a process of its own (deployments/sandbox).
"""

import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from deployments.cancellation import Cancellation
from deployments.images.decoding import decode_file
from deployments.media import Pixels
from deployments.text_reader.types import DecodedPicture

MAX_READ_PIXELS = 12_000_000
"""A larger picture is scaled down to this: a page photographed with 12 megapixels has 350 dots per inch."""


def decode_for_reading(file: io.RawIOBase, max_pixels: int, cancellation: Cancellation) -> Iterator[DecodedPicture]:
    """Yield the one picture of `file`; raises InvalidFile if it cannot be decoded or has more than `max_pixels`."""
    cancellation.check()
    image = decode_file(file, max_pixels)
    width, height = image.size
    yield DecodedPicture(width, height, _scaled_down(image, math.sqrt(MAX_READ_PIXELS / (width * height))))


def decode_for_display(
    file: io.RawIOBase, max_pixels: int, max_side_px: int, cancellation: Cancellation
) -> Iterator[DecodedPicture]:
    """Yield the one picture of `file` at most `max_side_px` a side; raises as `decode_for_reading` does."""
    cancellation.check()
    image = decode_file(file, max_pixels)
    yield DecodedPicture(*image.size, _scaled_down(image, max_side_px / max(image.size)))


def _scaled_down(image: Image.Image, scale: float) -> Pixels:
    """Return the pixels of a picture, scaled if that makes it smaller."""
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)
