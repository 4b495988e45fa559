"""The tools of the MCP endpoint: what the routes do, with files that are named by their path on this machine.

Nothing here knows MCP. Each tool answers with the body of the route that does the same.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic

from pydantic import Field

from deployments.errors import InvalidFile
from deployments.media import as_media
from serve_app.admission import AdmittedRequest
from serve_app.allowed_folders import open_allowed
from serve_app.analysis import analyze_upload
from serve_app.context import AppContext
from serve_app.json_body import file_too_large
from serve_app.modalities.audio import AUDIO, AudioOptions
from serve_app.modalities.image import IMAGE
from serve_app.modalities.modality import Modality
from serve_app.modalities.video import VIDEO, VideoOptions
from serve_app.options import MaxLength, Options, OptionsT, parse_json_options
from serve_app.progress import Emit
from serve_app.routes.library.search import Query, SearchOptions, search_body, start_search
from serve_app.schemas import body_of
from serve_app.uploads import Upload


@dataclass(frozen=True)
class Caller:
    """Who calls a tool, and when the call must be over."""

    context: AppContext
    address: str
    """The address under which the rate limit counts."""
    deadline: float
    """In epoch seconds."""
    emit: Emit | None
    """Takes the events of an analysis, if the caller wants to follow it."""


Body = dict[str, Any]


@dataclass(frozen=True)
class Tool(Generic[OptionsT]):
    name: str
    description: str
    """For the language model that decides which tool to call."""
    arguments: type[OptionsT]
    run: Callable[[OptionsT, Caller], Awaitable[Body]]
    """Raises ServiceErrors."""

    async def call(self, arguments: Mapping[str, Any], caller: Caller) -> Body:
        """Return the body of the route that does the same; raises ServiceErrors."""
        return await self.run(parse_json_options(self.arguments, arguments), caller)


class OnFile(Options):
    path: str = Field(
        min_length=1,
        max_length=4096,
        description="The whole path of the file on this machine, in a folder that the user has allowed.",
        examples=["~/Pictures/dog.jpg"],
    )


class DescribeImage(OnFile):
    max_length: MaxLength = 200


class AskAboutImage(DescribeImage):
    question: str = Field(min_length=1, examples=["How many dogs are there?"])


SpokenLanguage = Annotated[str, Field(description="`auto`, or a language's code (`pt`) or English name.")]
"""The list of all languages, which the routes have in their schema, would cost a language model a thousand tokens."""


class AnalyzeVideo(OnFile, VideoOptions):
    language: SpokenLanguage = "auto"


class Transcribe(OnFile, AudioOptions):
    language: SpokenLanguage = "auto"


class Question(Options):
    question: str = Field(min_length=1, max_length=1000, examples=["What is the budget for travel?"])


async def describe_image(arguments: DescribeImage, caller: Caller) -> Body:
    return await _analyze_file(arguments, IMAGE, {"max_length": arguments.max_length}, caller)


async def ask_about_image(arguments: AskAboutImage, caller: Caller) -> Body:
    fields = {"prompt": arguments.question, "max_length": arguments.max_length}
    return await _analyze_file(arguments, IMAGE, fields, caller)


async def analyze_video(arguments: AnalyzeVideo, caller: Caller) -> Body:
    return await _analyze_file(arguments, VIDEO, arguments.model_dump(exclude={"path"}, exclude_unset=True), caller)


async def transcribe(arguments: Transcribe, caller: Caller) -> Body:
    return await _analyze_file(arguments, AUDIO, arguments.model_dump(exclude={"path"}, exclude_unset=True), caller)


async def search(arguments: Query, caller: Caller) -> Body:
    caller.context.admission.count(caller.address)
    query = SearchOptions(**arguments.model_dump(), answer=False)
    return await search_body(await start_search(caller.context, query, caller.deadline))


async def answer(arguments: Question, caller: Caller) -> Body:
    caller.context.admission.count(caller.address)
    query = SearchOptions(query=arguments.question)
    return await search_body(await start_search(caller.context, query, caller.deadline))


TOOLS: Sequence[Tool[Any]] = (
    Tool("describe_image", "Describe a picture file in words.", DescribeImage, describe_image),
    Tool("ask_about_image", "Answer a question about a picture file.", AskAboutImage, ask_about_image),
    Tool(
        "analyze_video",
        "Describe frames of a video file with their times, and summarize them; with include_audio also transcribe it.",
        AnalyzeVideo,
        analyze_video,
    ),
    Tool(
        "transcribe",
        "Transcribe a recording with the times of its segments, or translate it to English.",
        Transcribe,
        transcribe,
    ),
    Tool(
        "search",
        "Find passages in the user's library of documents, pictures, recordings and videos, by meaning and by word, "
        "each with its place.",
        Query,
        search,
    ),
    Tool(
        "answer",
        "Answer a question from the user's library, each sentence with the words in the files that back it.",
        Question,
        answer,
    ),
)


async def _analyze_file(arguments: OnFile, modality: Modality[Any], fields: dict[str, Any], caller: Caller) -> Body:
    context, deadline = caller.context, caller.deadline
    with (
        context.explain_timeouts(modality.timeout_advice),
        context.admission.admit(caller.address, modality.kind, deadline) as admitted,
    ):
        admitted.follow(caller.emit)
        # The upload is not kept in a variable, so that analyze_upload can free it once its media is shared.
        analysis = await analyze_upload(
            await _read_file(arguments.path, fields, modality, context, admitted),
            modality,
            context,
            admitted,
            deadline,
            caller.emit,
        )
        return body_of(analysis)


async def _read_file(
    path: str, fields: dict[str, Any], modality: Modality[Any], context: AppContext, admitted: AdmittedRequest
) -> Upload:
    """Return a file as if it was uploaded; takes a place in the queue. Raises ServiceErrors."""
    max_bytes = modality.max_file_bytes(context.settings.limits)
    with await asyncio.to_thread(open_allowed, path, context.settings.serving.mcp_folders) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes > max_bytes:
            raise file_too_large(max_bytes, num_bytes)
        admitted.will_hold(num_bytes)
        content = await asyncio.to_thread(file.read, max_bytes + 1)
    if len(content) > max_bytes:  # it has grown
        raise file_too_large(max_bytes)
    if not content:
        raise InvalidFile(f"{path} is empty.")
    admitted.has_received(len(content))
    admitted.enqueue()
    return Upload(as_media(content), fields, None, is_form=False)
