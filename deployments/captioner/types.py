"""Requests to the captioner and its answers; these values cross process boundaries."""

from dataclasses import dataclass
from typing import Literal

CaptionLength = Literal["short", "normal", "long"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class CaptionTask:
    """What to say about an image: the answer to `question` if there is one, else a caption of `length`."""

    max_new_tokens: int
    length: CaptionLength = "normal"
    question: str | None = None


Reused = Literal["nothing", "image", "answer"]
"""What an earlier request had cached: nothing, the image's KV cache, or the whole answer."""


@dataclass(frozen=True)
class Caption:
    """A generated text: a caption, the answer to a question, or a summary."""

    text: str
    finish_reason: FinishReason
    reused: Reused = "nothing"
    num_tokens: int = 0
    """Tokens of the text, without the one that ends it."""


@dataclass(frozen=True)
class FrameFailure:
    """One frame could not be captioned. The other frames of the same call are not affected."""

    message: str
    """Contains no internal details; may be returned to the client."""


@dataclass(frozen=True)
class CaptionProgress:
    """How far the answer about an image is."""

    fraction_read: float
    """Of the work until the first word: 1.0 once the text begins."""
    text: str = ""
    """The text so far, with which that of the answer begins."""


@dataclass(frozen=True)
class ImageCaption:
    """A caption, and the image's size in pixels after EXIF orientation."""

    caption: Caption
    width: int
    height: int
    num_prompt_tokens: int
    """Positions that image and prompt take in the model's context."""
