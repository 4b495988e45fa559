"""Results of the text reader; these values cross process boundaries."""

from dataclasses import dataclass

from deployments.media import Pixels
from deployments.places import TextLine


@dataclass(frozen=True)
class ReadImage:
    """The text in a picture, and the picture's size in pixels after EXIF orientation."""

    width: int
    height: int
    lines: list[TextLine]
    """In reading order, column by column."""


@dataclass(frozen=True)
class DecodedPicture:
    """What the decoder's process returns. It is here because the replica imports nothing that decodes."""

    width: int
    """In pixels, after EXIF orientation, before it was scaled down."""
    height: int
    pixels: Pixels


@dataclass(frozen=True)
class ReaderFacts:
    """What the process with the networks says when it has loaded them."""

    weight_bytes: int
    threads: int
    """For one step of a network."""
