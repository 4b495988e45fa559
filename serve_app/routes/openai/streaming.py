"""Answers about a file that are sent as a whole, or in parts while they are made."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse

from serve_app.admission import AdmittedRequest
from serve_app.analysis import analyze_upload
from serve_app.error_handlers import as_service_error, status_of
from serve_app.live import Event, live_events
from serve_app.modalities.modality import Modality
from serve_app.openai_errors import openai_error_body
from serve_app.progress import Emit
from serve_app.request_info import client_address, context_of
from serve_app.schemas import Analysis
from serve_app.server_sent_events import event_stream, format_event
from serve_app.uploads import Upload

OptionsT = TypeVar("OptionsT")


@dataclass
class Reading(Generic[OptionsT]):
    """What a request asks for."""

    options: OptionsT
    stream: bool
    uploads: list[Upload]
    """Its file, with the options of its analysis. It is taken out of the list, so that nothing keeps it once it is
    shared with the deployments."""


Read = Callable[[AdmittedRequest, float], Awaitable[Reading[OptionsT]]]
"""Reads a request until its deadline; raises ServiceErrors."""


async def start_analysis(
    request: Request, modality: Modality[Any], timeout_advice: str, read: Read[OptionsT]
) -> tuple[Reading[OptionsT], AsyncGenerator[Event, None]]:
    """Return what a request asks for, once its file is there, and the events of the file's analysis.

    The events end with `result`, whose data has the `analysis`; there are no others without `stream`. This and the
    events raise ServiceErrors. Closing the events cancels the work.
    """

    async def work(emit: Emit) -> dict[str, Any]:
        context = context_of(request)
        deadline = context.deadline()
        with (
            context.explain_timeouts(timeout_advice),
            context.admission.admit(client_address(request), modality.kind, deadline) as admitted,
        ):
            reading = await read(admitted, deadline)
            emit("reading", {"reading": reading})
            analysis = await analyze_upload(
                reading.uploads.pop(), modality, context, admitted, deadline, emit if reading.stream else None
            )
            return {"analysis": analysis}

    events = live_events(work)
    _, data = await anext(events)
    return data["reading"], events


async def analysis_of(events: AsyncGenerator[Event, None]) -> Analysis:
    """Return the analysis at the end of events that nobody follows."""
    async with aclosing(events):
        [(_, data)] = [event async for event in events]
    analysis: Analysis = data["analysis"]
    return analysis


async def stream_parts(
    events: AsyncGenerator[Event, None], name: str, parts_of: Callable[[Event], Iterator[str]], request: Request
) -> StreamingResponse:
    """Return the response that sends what `parts_of` makes of the events of this name, and of `result`.

    Waits for the first of these, because an error until then has its status. A later one is sent as OpenAI's clients
    expect it: as a part with `error`.
    """
    wanted = (event async for event in events if event[0] in (name, "result"))
    first = await anext(wanted)

    async def parts() -> AsyncGenerator[str, None]:
        try:
            async with aclosing(events):
                for part in parts_of(first):
                    yield part
                async for event in wanted:
                    for part in parts_of(event):
                        yield part
        except Exception as error:
            shown = as_service_error(error, request)
            yield format_event(openai_error_body(shown, status_of(shown)).model_dump(mode="json"))

    return event_stream(parts())
