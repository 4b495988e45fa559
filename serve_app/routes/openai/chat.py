"""`POST /v1/chat/completions`: a question about a picture, answered by the captioner."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.admission import AdmittedRequest
from serve_app.analysis import analyze_upload
from serve_app.json_body import max_json_body_bytes
from serve_app.modalities.image import IMAGE
from serve_app.openapi import describe_json, openai_error_responses
from serve_app.options import Options, parse_json_options
from serve_app.request_info import client_address, context_of
from serve_app.routes.openai.conversation import MESSAGES_SCHEMA, read_question
from serve_app.routes.openai.invalid import invalid
from serve_app.routes.openai.models import model_field, require_model
from serve_app.routes.openai.schemas import AnswerMessage, ChatCompletion, Choice, TokenUsage
from serve_app.schemas import ImageAnalysis
from serve_app.uploads import Upload, read_json_object, upload_from_json

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
    messages: Annotated[list[Any], WithJsonSchema(dict(MESSAGES_SCHEMA))]
    max_completion_tokens: Annotated[MaxTokens, Field(description=MAX_TOKENS)] = None
    max_tokens: Annotated[MaxTokens, Field(description="The older name of `max_completion_tokens`.")] = None
    stream: bool = Field(False, description="Send the answer in parts, as server-sent events.")
    stream_options: StreamOptions = StreamOptions()
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


@router.post(
    "/v1/chat/completions",
    summary="Answer a question about a picture",
    response_model=ChatCompletion,
    responses=openai_error_responses(),
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
    context = context_of(request)
    deadline = context.deadline()
    max_file_bytes = IMAGE.max_file_bytes(context.settings.limits)
    with (
        context.explain_timeouts(TIMEOUT_ADVICE),
        context.admission.admit(client_address(request), IMAGE.kind, deadline) as admitted,
    ):
        options, uploads = await _read(request, max_file_bytes, admitted, deadline)
        model = require_model(options.model, "chat", context.settings)
        # The list does not keep the picture, so that analyze_upload can free it once it is shared.
        analysis = await analyze_upload(uploads.pop(), IMAGE, context, admitted, deadline)
    assert isinstance(analysis, ImageAnalysis)
    return JSONResponse(_completion(analysis, model).model_dump(mode="json"))


async def _read(
    request: Request, max_file_bytes: int, admitted: AdmittedRequest, deadline: float
) -> tuple[ChatOptions, list[Upload]]:
    """Return the options of a request without its messages, and the picture with its question; raises ServiceErrors."""
    body = await read_json_object(request, max_json_body_bytes(max_file_bytes), admitted, deadline)
    for name, unsupported in UNSUPPORTED.items():
        value = body.pop(name, None)
        if value and value not in unsupported.harmless:
            raise invalid(name, f"{unsupported.advice} ({name})")
    options = parse_json_options(ChatOptions, body)
    question = read_question(options.messages)
    fields = {"image_url": question.image, "prompt": question.text, "max_length": options.max_length}
    return options.model_copy(update={"messages": []}), [await upload_from_json(fields, "image_url", max_file_bytes)]


def _completion(analysis: ImageAnalysis, model: str) -> ChatCompletion:
    return ChatCompletion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=model,
        choices=[
            Choice(
                message=AnswerMessage(content=analysis.description),
                finish_reason=analysis.metadata.finish_reason,
            )
        ],
        usage=_usage(analysis),
    )


def _usage(analysis: ImageAnalysis) -> TokenUsage:
    read, written = analysis.metadata.prompt_tokens, analysis.metadata.generated_tokens
    return TokenUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
