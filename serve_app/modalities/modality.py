"""What the module of each kind of media declares."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal

from deployments.media import Media
from deployments.settings import LimitsConfig
from serve_app.context import AppContext
from serve_app.options import OptionsT
from serve_app.scheduling import Length
from serve_app.schemas import Analysis

Kind = Literal["image", "video", "audio"]


@dataclass(frozen=True)
class FileFormat:
    """A supported type of file. `serve_app/sniffing.py` recognizes it by its content."""

    name: str
    """As messages list it: `JPG`."""
    description: str
    """As in "The content looks like a JPG image"."""
    mime_type: str
    extensions: tuple[str, ...]
    """File name extensions, by which the samples' client chooses the route; the server never uses names."""
    signatures: tuple[bytes, ...] = ()
    """Bytes that such a file begins with; empty if it takes more than that to recognize the format."""
    riff_form: bytes | None = None
    """The form type in its header, if its container is RIFF."""


@dataclass(frozen=True)
class Modality(Generic[OptionsT]):
    """A kind of media whose analysis takes one file and returns one result, within the deadline.

    Sniffing, the routes, the batch, health, OpenAPI and the samples' client read this.
    """

    kind: Kind
    """Also the name of the file's field in a request, and the `type` of a batch item."""
    summary: str
    """One line about the route, for OpenAPI."""
    formats: tuple[FileFormat, ...]
    """The supported formats, in the order in which messages list them."""
    options: type[OptionsT]
    example_options: Mapping[str, Any]
    """For OpenAPI."""
    sample_options: Mapping[str, str]
    """What `prism samples` asks for besides the defaults."""
    limit_mb: Callable[[LimitsConfig], float]
    """The size limit for this kind, in MB; the limit for all uploads also applies (`max_file_bytes`)."""
    analysis_type: type[Analysis]
    """What `analyze` returns."""
    analyze: Callable[[Media, OptionsT, AppContext, float], Awaitable[Analysis]]
    """Takes the media (as `AppContext.share` returns it), the options, the context and the deadline (epoch seconds);
    raises ServiceErrors."""
    length: Callable[[OptionsT, int], Length]
    """How long the analysis of a file of that many bytes may take."""
    timeout_advice: str
    """What to change in a request that ran out of time; the message continues ", or raise REQUEST_TIMEOUT_SECONDS."."""

    @property
    def path(self) -> str:
        """The path of the route."""
        return f"/api/analyze/{self.kind}"

    def max_file_bytes(self, limits: LimitsConfig) -> int:
        return limits.max_file_bytes(self.limit_mb(limits))
