"""What the captioner is asked and what it answers; these values cross process borders."""

from dataclasses import dataclass
from typing import Literal

CaptionLength = Literal["short", "normal", "long"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class CaptionTask:
    """What to say about a picture: a caption of `length`, or the answer to `question` where there is one."""

    max_new_tokens: int
    length: CaptionLength = "normal"
    question: str | None = None


Reused = Literal["nothing", "image", "answer"]
"""What was known from earlier requests: how the model sees the image, or the whole answer."""


@dataclass(frozen=True)
class Caption:
    text: str
    finish_reason: FinishReason
    reused: Reused = "nothing"


@dataclass(frozen=True)
class FrameFailure:
    """One frame could not be captioned; those that travelled with it are not harmed."""

    message: str
    """Safe to show."""


@dataclass(frozen=True)
class ImageCaption:
    """A caption and the size of its picture as a person sees it, in pixels."""

    caption: Caption
    width: int
    height: int
