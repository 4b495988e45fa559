"""`POST /v1/chat/completions`: a question about a picture, answered by the captioner."""

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.admission import AdmittedRequest
from serve_app.json_body import max_json_body_bytes
from serve_app.live import Event
from serve_app.modalities.image import IMAGE
from serve_app.openapi import describe_json, openai_error_responses
from serve_app.options import Options, parse_json_options
from serve_app.request_info import context_of
from serve_app.routes.openai.conversation import MESSAGES_SCHEMA, read_question
from serve_app.routes.openai.invalid import invalid
from serve_app.routes.openai.models import model_field, model_names, require_model
from serve_app.routes.openai.schemas import AnswerMessage, ChatCompletion, Choice, TokenUsage
from serve_app.routes.openai.streaming import Reading, analysis_of, start_analysis, stream_parts
from serve_app.schemas import ImageAnalysis
from serve_app.server_sent_events import format_event
from serve_app.uploads import read_json_object, upload_from_json

router = APIRouter()

MAX_ANSWER_TOKENS = 1024
DEFAULT_ANSWER_TOKENS = 200
MAX_TOKENS = (
    f"The most tokens the answer may have; {DEFAULT_ANSWER_TOKENS} by default. More than {MAX_ANSWER_TOKENS} means "
    f"{MAX_ANSWER_TOKENS}."
)
MaxTokens = Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1}), Field(ge=1)]
TIMEOUT_ADVICE = "Lower max_completion_tokens, send a smaller picture"
WITHOUT_EFFECT = "Accepted, but without effect."
GREEDY = f"{WITHOUT_EFFECT} The answer is always the most probable one, word by word."


class StreamOptions(Options):
    include_usage: bool = Field(False, description="Send a last chunk with `usage`.")
    include_obfuscation: bool = Field(False, description=WITHOUT_EFFECT)


class ChatOptions(Options):
    model: str = model_field("chat")
    messages: Annotated[list[Any], WithJsonSchema(MESSAGES_SCHEMA)]
    max_completion_tokens: Annotated[MaxTokens, Field(description=MAX_TOKENS)] = None
    max_tokens: Annotated[MaxTokens, Field(description="The older name of `max_completion_tokens`.")] = None
    stream: bool = Field(False, description="Send the answer in parts, as server-sent events.")
    stream_options: Annotated[StreamOptions, WithJsonSchema(StreamOptions.model_json_schema())] = StreamOptions()
    temperature: float = Field(1, ge=0, le=2, description=GREEDY)
    top_p: float = Field(1, ge=0, le=1, description=GREEDY)
    seed: int = Field(0, description=GREEDY)
    user: str = Field("", description=WITHOUT_EFFECT)
    safety_identifier: str = Field("", description=WITHOUT_EFFECT)
    prompt_cache_key: str = Field("", description=WITHOUT_EFFECT)
    metadata: dict[str, str] = Field({}, description=WITHOUT_EFFECT)
    service_tier: str = Field("", description=WITHOUT_EFFECT)

    @property
    def max_length(self) -> int:
        given = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        return min(MAX_ANSWER_TOKENS, *given) if given else DEFAULT_ANSWER_TOKENS


@dataclass(frozen=True)
class Unsupported:
    """A parameter of OpenAI's API that asks for what the model cannot do, unless its value is one of `harmless`."""

    advice: str
    harmless: tuple[Any, ...] = ()


_NO_TOOLS = Unsupported("This model calls no tools; leave them out.", ("none", "auto"))
_NO_PENALTIES = Unsupported("This model always writes the most probable words; leave this out.")
_NO_PROBABILITIES = Unsupported("This model gives no probabilities; leave this out.")
UNSUPPORTED: Mapping[str, Unsupported] = {
    "tools": _NO_TOOLS,
    "tool_choice": _NO_TOOLS,
    "parallel_tool_calls": Unsupported(_NO_TOOLS.advice, (True,)),
    "functions": _NO_TOOLS,
    "function_call": _NO_TOOLS,
    "response_format": Unsupported(
        "This model writes plain text only; leave this out, and ask for one fact at a time.", ({"type": "text"},)
    ),
    "n": Unsupported("This model always gives the same answer; ask for one.", (1,)),
    "logprobs": _NO_PROBABILITIES,
    "top_logprobs": _NO_PROBABILITIES,
    "logit_bias": _NO_PENALTIES,
    "presence_penalty": _NO_PENALTIES,
    "frequency_penalty": _NO_PENALTIES,
    "stop": Unsupported("This model's answers end by themselves or at max_completion_tokens; cut the text yourself."),
    "modalities": Unsupported("This model writes text and does not speak; leave this out.", (["text"],)),
    "audio": Unsupported("This model writes text and does not speak; leave this out."),
    "prediction": Unsupported("This model writes every word itself; leave this out."),
    "reasoning_effort": Unsupported("This model answers without reasoning; leave this out.", ("none",)),
    "web_search_options": Unsupported("This server fetches nothing from the network; leave this out."),
    "store": Unsupported("Nothing is stored here; leave this out."),
}


END = "data: [DONE]\n\n"
_CHUNK = '{"id": "chatcmpl-3f2a", "object": "chat.completion.chunk", "created": 1764500000, "model": "moondream2", '
CHUNKS: dict[str, Any] = {
    "description": "JSON; with `stream`, chunks of it as server-sent events. A failure after the first is a chunk with "
    "`error`.",
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "examples": {
                "a stream": {
                    "value": f'data: {_CHUNK}"choices": [{{"index": 0, "delta": {{"role": "assistant", "content": '
                    f'"A brown dog"}}, "logprobs": null, "finish_reason": null}}]}}\n\n{END}'
                }
            },
        }
    },
}


@router.post(
    "/v1/chat/completions",
    summary="Answer a question about a picture",
    response_model=ChatCompletion,
    responses={200: CHUNKS, **openai_error_responses()},
    openapi_extra=describe_json(
        ChatOptions,
        {
            "model": "moondream2",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is in this image?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    ],
                }
            ],
        },
    ),
)
async def chat_completions(request: Request) -> Response:
    """One picture as a data URI, and the last message as the question about it.

    What the model cannot do is refused: several pictures, addresses of pictures, tools, other forms than plain text,
    system messages.
    """
    reading, events = await start_analysis(request, IMAGE, TIMEOUT_ADVICE, partial(_read, request))
    completion = _Completion(model_names(context_of(request).settings)["chat"])
    if reading.stream:
        chunks = partial(completion.chunks, include_usage=reading.options.stream_options.include_usage)
        return await stream_parts(events, "token", chunks, request)
    analysis = await analysis_of(events)
    assert isinstance(analysis, ImageAnalysis)
    return JSONResponse(completion.whole(analysis).model_dump(mode="json"))


async def _read(request: Request, admitted: AdmittedRequest, deadline: float) -> Reading[ChatOptions]:
    settings = context_of(request).settings
    max_file_bytes = IMAGE.max_file_bytes(settings.limits)
    body = await read_json_object(request, max_json_body_bytes(max_file_bytes), admitted, deadline)
    for name, unsupported in UNSUPPORTED.items():
        value = body.pop(name, None)
        if value and value not in unsupported.harmless:
            raise invalid(name, f"{unsupported.advice} ({name})")
    options = parse_json_options(ChatOptions, body)
    require_model(options.model, "chat", settings)
    question = read_question(options.messages)
    fields = {"image_url": question.image, "prompt": question.text, "max_length": options.max_length}
    upload = await upload_from_json(fields, "image_url", max_file_bytes)
    return Reading(options.model_copy(update={"messages": []}), options.stream, [upload])


class _Completion:
    """The answer of the model, as a whole or in chunks."""

    def __init__(self, model: str) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model
        self._has_begun = False

    def whole(self, analysis: ImageAnalysis) -> ChatCompletion:
        message = AnswerMessage(content=analysis.description)
        choice = Choice(message=message, finish_reason=analysis.metadata.finish_reason)
        return ChatCompletion(
            id=self._id, created=self._created, model=self._model, choices=[choice], usage=_usage(analysis)
        )

    def chunks(self, event: Event, *, include_usage: bool) -> Iterator[str]:
        """Yield what is sent for an event `token` or `result`."""
        name, data = event
        if name == "token":
            role = {} if self._has_begun else {"role": "assistant"}  # clients join what chunks repeat
            self._has_begun = True
            yield self._chunk({**role, "content": data["text"]})
            return
        analysis: ImageAnalysis = data["analysis"]
        yield self._chunk({}, analysis.metadata.finish_reason)
        if include_usage:
            yield format_event({**self._head, "choices": [], "usage": _usage(analysis).model_dump()})
        yield END

    def _chunk(self, delta: Mapping[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return format_event({**self._head, "choices": [choice]})

    @property
    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }


def _usage(analysis: ImageAnalysis) -> TokenUsage:
    read, written = analysis.metadata.prompt_tokens, analysis.metadata.generated_tokens
    return TokenUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
