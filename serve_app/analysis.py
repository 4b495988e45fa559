"""One file analysed, from upload to answer: what the three single routes and the items of a batch share."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic

from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.errors import DeadlineExceeded
from deployments.media import Media
from deployments.settings import LimitsConfig
from deployments.units import MEGABYTE
from serve_app.admission import Admission
from serve_app.options import O, parse_options
from serve_app.schemas import AudioAnalysis, ImageAnalysis, VideoAnalysis, body_of
from serve_app.services import Services
from serve_app.settings import AppConfig
from serve_app.sniffing import Kind, require_kind
from serve_app.uploads import Upload, json_body_limit, read_upload

Analysis = ImageAnalysis | VideoAnalysis | AudioAnalysis


class Edge:
    """What every route works with."""

    def __init__(self, services: Services, settings: AppConfig) -> None:
        self.services = services
        self.settings = settings
        image_bytes = limit_bytes(settings.limits.image_mb, settings.limits)
        self.admission = Admission(
            settings.serving,
            large_body_bytes=json_body_limit(image_bytes),
            available_memory_mb=services.system.available_memory_mb,
        )

    def deadline(self) -> float:
        """Return the deadline of a request that arrives now, in epoch seconds."""
        return time.time() + self.settings.serving.request_timeout_s

    @contextmanager
    def explain_timeouts(self, advice: str) -> Iterator[None]:
        """Turn how far the work got into a message for the client: what happened and what to lower or raise."""
        try:
            yield
        except DeadlineExceeded as error:
            reached = f": {error}" if str(error) else ""
            timeout_s = self.settings.serving.request_timeout_s
            raise DeadlineExceeded(
                f"The request ran out of its {timeout_s:g} s{reached}. {advice}, or raise REQUEST_TIMEOUT_SECONDS."
            ) from error


def edge_of(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge


def address_of(request: Request) -> str:
    """Return whom the rate limit counts a request for.

    Serve's proxy believes `X-Forwarded-For` and puts what it says in the place of the client's address; anybody can
    write that header, so all who do are counted as one.
    """
    if "x-forwarded-for" in request.headers:
        return "forwarded"
    return request.client.host if request.client else ""


def limit_bytes(type_limit_mb: float, limits: LimitsConfig) -> int:
    """Return the most bytes a file may have: the smaller of its type's limit and the one for all uploads."""
    return int(min(type_limit_mb, limits.max_upload_size_mb) * MEGABYTE)


@dataclass(frozen=True)
class Modality(Generic[O]):
    """How files of one kind are analysed."""

    kind: Kind
    """Also the name of the file's field, and the `type` of a batch item."""
    options: type[O]
    limit_mb: Callable[[LimitsConfig], float]
    analyze: Callable[[Media, O, Edge, float], Awaitable[Analysis]]
    """Takes the media, the options, the edge and the deadline."""
    timeout_advice: str

    def limit_bytes(self, edge: Edge) -> int:
        return limit_bytes(self.limit_mb(edge.settings.limits), edge.settings.limits)


async def answer(request: Request, modality: Modality[O]) -> JSONResponse:
    """Return the answer of a single route; raises ServiceErrors."""
    edge = edge_of(request)
    deadline = edge.deadline()
    with edge.explain_timeouts(modality.timeout_advice), edge.admission.admit(address_of(request)) as admitted:
        upload = await read_upload(request, modality.kind, modality.limit_bytes(edge), admitted, deadline)
        return JSONResponse(body_of(await analyze_upload(upload, modality, edge, deadline)))


async def analyze_upload(upload: Upload, modality: Modality[O], edge: Edge, deadline: float) -> Analysis:
    options = parse_options(modality.options, upload.fields, upload.options, flat_is_text=upload.is_form)
    # In a thread because a hostile file can make it look at thousands of boxes.
    await asyncio.to_thread(require_kind, upload.media.data, modality.kind)
    async with edge.admission.work_slot(deadline):
        return await modality.analyze(upload.media, options, edge, deadline)


def milliseconds_since(start_s: float) -> int:
    """Return the time since `start_s` on the monotonic clock."""
    return round((time.monotonic() - start_s) * 1000)
