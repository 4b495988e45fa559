"""What is declared of each kind of media."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal

from deployments.media import Media
from deployments.settings import LimitsConfig
from serve_app.context import AppContext
from serve_app.options import O
from serve_app.schemas import AudioAnalysis, ImageAnalysis, VideoAnalysis

Kind = Literal["image", "video", "audio"]
Analysis = ImageAnalysis | VideoAnalysis | AudioAnalysis


@dataclass(frozen=True)
class FileFormat:
    """A supported type of file. `serve_app/sniffing.py` recognizes it by its content."""

    name: str
    """As messages list it: `JPG`."""
    description: str
    """As in "The content looks like a JPG image"."""
    endings: tuple[str, ...]
    """File endings, for clients that choose the route by a file's name; the server never looks at names."""
    signatures: tuple[bytes, ...] = ()
    """Bytes that such a file begins with. Formats without any are told apart by the parts of their container."""
    riff_form: bytes | None = None
    """The form type in its header, where its container is RIFF."""


@dataclass(frozen=True)
class Modality(Generic[O]):
    """A kind of media whose files are analysed one at a time: one file in, one answer out, within the deadline.

    Sniffing, the routes, the batch, health, OpenAPI and the samples read this.
    """

    kind: Kind
    """Also the name of the file's field, and the `type` of a batch item."""
    summary: str
    """Of the route, for OpenAPI."""
    formats: tuple[FileFormat, ...]
    options: type[O]
    example_options: Mapping[str, Any]
    """For OpenAPI."""
    limit_mb: Callable[[LimitsConfig], float]
    """The most that a file of this kind may have, in MB, before the limit for all uploads."""
    answer: type[Analysis]
    analyze: Callable[[Media, O, AppContext, float], Awaitable[Analysis]]
    """Takes the media (as `AppContext.share` returns it), the options, the context and the deadline."""
    timeout_advice: str
    """What to change in a request that ran out of time."""

    @property
    def path(self) -> str:
        """The path of the route."""
        return f"/api/analyze/{self.kind}"

    def limit_bytes(self, limits: LimitsConfig) -> int:
        return limits.file_bytes(self.limit_mb(limits))
