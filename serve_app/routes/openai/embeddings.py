"""`POST /v1/embeddings`: vectors of texts, by the model that the library searches with."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from deployments.embedder.types import VECTOR_DIM, Vectors
from serve_app.context import AppContext
from serve_app.graph import EMBEDDER
from serve_app.json_body import MAX_SKELETON_BYTES, LongString
from serve_app.openapi import describe_json, openai_error_responses
from serve_app.options import Options, parse_json_options
from serve_app.request_info import client_address, context_of
from serve_app.routes.openai.invalid import invalid
from serve_app.routes.openai.models import model_field, require_model
from serve_app.routes.openai.schemas import Embedding, EmbeddingList, EmbeddingUsage
from serve_app.scheduling import Length
from serve_app.uploads import read_json_object

router = APIRouter()

MAX_TEXTS = 2048
MAX_TOKENS = 254
"""Word pieces that the model reads of a text, without its two special ones."""
TEXTS_PER_STEP = 64
"""Other requests may have their turn after so many."""
MAX_SHORT_TEXTS = 8
TIMEOUT_ADVICE = "Send fewer texts"

Encoding = Literal["float", "base64"]

INPUT_SCHEMA = {
    "description": f"A text, or up to {MAX_TEXTS}, of at most {MAX_TOKENS} tokens each. Token ids are not taken.",
    "anyOf": [
        {"type": "string", "pattern": r"\S"},
        {
            "type": "array",
            "items": {"type": "string", "pattern": r"\S"},
            "minItems": 1,
            "maxItems": MAX_TEXTS,
        },
    ],
}


class EmbeddingOptions(Options):
    model: str = model_field("embedding")
    input: Annotated[Any, WithJsonSchema(INPUT_SCHEMA)]
    encoding_format: Encoding = "float"
    dimensions: Literal[384] = Field(384, description="The model has no other vectors.")
    user: str = Field("", description="Accepted, but without effect.")


@router.post(
    "/v1/embeddings",
    summary="Turn texts into vectors",
    response_model=EmbeddingList,
    responses=openai_error_responses(),
    openapi_extra=describe_json(
        EmbeddingOptions, {"model": "all-MiniLM-L6-v2", "input": ["A brown dog", "A sleeping animal"]}
    ),
)
async def embeddings(request: Request) -> Response:
    """Each vector has length 1, so that the dot product of two is their cosine."""
    context = context_of(request)
    deadline = context.deadline()
    with (
        context.explain_timeouts(TIMEOUT_ADVICE),
        context.admission.admit(client_address(request), "embeddings", deadline) as admitted,
    ):
        body = await read_json_object(request, MAX_SKELETON_BYTES, admitted, deadline)
        options = parse_json_options(EmbeddingOptions, body)
        model = require_model(options.model, "embedding", context.settings)
        texts = _texts(options.input)
        length: Length = "short" if len(texts) <= MAX_SHORT_TEXTS else "long"
        async with context.analysis(admitted, length, 0, deadline, None) as analysis_context:
            num_tokens = await _count_tokens(texts, analysis_context, deadline)
            vectors = await _embed(texts, analysis_context, deadline)
        usage = EmbeddingUsage(prompt_tokens=num_tokens, total_tokens=num_tokens)
        body_text = await asyncio.to_thread(_body, vectors, options.encoding_format, model, usage)
    return Response(body_text, media_type="application/json")


def _texts(given: Any) -> list[str]:
    texts = given if isinstance(given, list) else [given]
    if not texts:
        raise invalid("input", "'input' is an empty list; send at least one text.")
    if len(texts) > MAX_TEXTS:
        raise invalid(
            "input", f"'input' has {len(texts)} texts; at most {MAX_TEXTS} are allowed. Send several requests."
        )
    for number, text in enumerate(texts):
        if isinstance(text, LongString):
            raise invalid("input", _too_long(number, "far more"))
        if isinstance(text, int | list):
            raise invalid(
                "input",
                "'input' has token ids, which belong to another model; send text. (In LangChain: "
                "OpenAIEmbeddings(check_embedding_ctx_length=False).)",
            )
        if not isinstance(text, str) or not text.strip():
            raise invalid("input", f"Text {number} of 'input' must be text that is not empty, not {text!r:.40}.")
    return texts


async def _count_tokens(texts: list[str], context: AppContext, deadline: float) -> int:
    """Return the number of all texts' tokens; raises InvalidRequest for one of which the model would not read all."""
    counts = await context.service(EMBEDDER).count_tokens(texts, deadline=deadline)
    for number, count in enumerate(counts):
        if count > MAX_TOKENS:
            raise invalid("input", _too_long(number, str(count)))
    return sum(counts)


def _too_long(number: int, num_tokens: str) -> str:
    return f"Text {number} of 'input' has {num_tokens} tokens; the model reads {MAX_TOKENS}. Divide it."


async def _embed(texts: list[str], context: AppContext, deadline: float) -> Vectors:
    embedder = context.service(EMBEDDER)
    if len(texts) == 1:  # probably a query, for which somebody waits
        return await embedder.embed_query(texts[0], deadline=deadline)
    parts = [
        await embedder.embed_passages(texts[first : first + TEXTS_PER_STEP], deadline=deadline)
        for first in range(0, len(texts), TEXTS_PER_STEP)
    ]
    return np.concatenate(parts)


def _body(vectors: Vectors, encoding: Encoding, model: str, usage: EmbeddingUsage) -> str:
    """Return an EmbeddingList as JSON, made of small parts: one call for all of it would hold the GIL for too long."""
    data = (
        Embedding(index=index, embedding=_encoded(vector, encoding)).model_dump_json()
        for index, vector in enumerate(vectors)
    )
    rest = EmbeddingList(data=[], model=model, usage=usage).model_dump_json(exclude={"data"})
    return f'{rest[:-1]},"data":[{",".join(data)}]}}'


def _encoded(vector: Sequence[float], encoding: Encoding) -> list[float] | str:
    values = np.asarray(vector, np.dtype("<f4"))
    assert values.shape == (VECTOR_DIM,)
    if encoding == "base64":
        return base64.b64encode(values.tobytes()).decode("ascii")
    floats: list[float] = values.tolist()
    return floats
