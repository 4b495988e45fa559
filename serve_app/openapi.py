"""The parts of `/openapi.json` that FastAPI cannot derive: request bodies that it does not read itself, and errors."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from deployments.errors import ModelNotFound, ServiceError
from serve_app.error_handlers import STATUSES
from serve_app.modalities.image import IMAGE
from serve_app.modalities.modality import Modality
from serve_app.openai_errors import OpenAIErrorBody, openai_error_body
from serve_app.schemas import ErrorBody

Schema = dict[str, Any]

BINARY: Schema = {"type": "string", "format": "binary"}
"""The schema of a body that is a file."""

EXAMPLE_TIMESTAMP = "2025-10-17T12:34:56Z"
EXAMPLE_BASE64 = "iVBORw0KGgo="

_ERRORS: Mapping[int, tuple[str, Mapping[str, str]]] = {
    400: (
        "The request or its file is wrong.",
        {
            "INVALID_REQUEST": "Option 'max_length' should be less than or equal to 1024, not 5000.",
            "INVALID_FILE_TYPE": "The content looks like text, which is not supported here. Supported image types: "
            f"{', '.join(file_format.name for file_format in IMAGE.formats)}.",
            "INVALID_FILE": "The image cannot be decoded: it is damaged or incomplete. Open it in an image editor, "
            "save it again as JPG or PNG, and send that.",
        },
    ),
    403: (
        "The request comes from a web page that may not call the API.",
        {
            "FORBIDDEN": "Pages of http://elsewhere.example may not call this API; serving.cors_origins (CORS_ORIGINS) "
            "lists those that may."
        },
    ),
    404: ("There is no such file, page or passage.", {"NOT_FOUND": "There is no file 12 in the library."}),
    409: (
        "The request does not fit the file's state.",
        {"CONFLICT": "File 12 is completed; only a failed file can be tried again."},
    ),
    416: (
        "The file has no such part.",
        {"RANGE_NOT_SATISFIABLE": "The file has 1000 bytes; bytes=2000- is not in it."},
    ),
    413: ("The file is too large.", {"FILE_TOO_LARGE": "File size 15.0 MB exceeds maximum allowed size of 10 MB."}),
    429: (
        "Too many requests from this client; `Retry-After` says how long to wait.",
        {"RATE_LIMITED": "More than 100 requests in an hour; try again in 36 s."},
    ),
    500: (
        "The server failed; its log has the details under the request's id.",
        {"PROCESSING_FAILED": "Something went wrong. The server's log has the details under request 3f2a."},
    ),
    503: (
        "Try again later; `Retry-After` says when.",
        {
            "MODEL_NOT_LOADED": "moondream2 is loading (reading weights, 300 of 700 tensors); try again in a moment.",
            "SERVER_BUSY": "The server's queue is full; try again in a moment.",
        },
    ),
    504: (
        "The request ran out of time, and its work was stopped.",
        {
            "TIMEOUT": "The request ran out of its 60 s: captioned 3 of 5 frames. Lower num_frames or max_length, or "
            "raise REQUEST_TIMEOUT_SECONDS."
        },
    ),
    507: (
        "The server's memory for files, or its disk, is full.",
        {"STORAGE_FULL": "The server has no room for the file. Free some space below /tmp/ray, then try again."},
    ),
}


_UNKNOWN_MODEL = (
    "There is no such model.",
    {"MODEL_NOT_FOUND": "There is no model 'llava' here; there are moondream2, whisper-base, all-MiniLM-L6-v2."},
)
_ANALYSIS_ERRORS = {400, 403, 413, 429, 500, 503, 504, 507}
_ON_EVERY_ROUTE = (400, 403, 500, 503)
"""Errors of the layers around the routes: headers that are too large, foreign pages, our bugs, a server that stops."""
_REQUEST_ID = {
    "X-Request-ID": {"description": "The id of the request in the server's log.", "schema": {"type": "string"}}
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which the request may be sent again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_SHOULD_RETRY = {
    "X-Should-Retry": {
        "description": "Whether it may help to send the request again; OpenAI's clients obey it.",
        "schema": {"enum": ["true", "false"]},
    }
}
_WITH_RETRY_AFTER = (429, 503)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for the errors of these statuses and those that every route may have.

    By default, for all errors of an analysis.
    """
    documented = {*statuses, *_ON_EVERY_ROUTE} if statuses else _ANALYSIS_ERRORS
    return {status: _error_response(status, *_ERRORS[status]) for status in sorted(documented)}


def openai_error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the same for a route below /v1. By default, for all errors of an analysis, and for an unknown model."""
    documented = {*statuses, *_ON_EVERY_ROUTE} if statuses else {*_ANALYSIS_ERRORS, 404}
    return {status: _openai_error_response(status) for status in sorted(documented)}


def _error_response(status: int, description: str, messages: Mapping[str, str]) -> dict[str, Any]:
    examples = {
        code: {
            "value": {"success": False, "error": {"code": code, "message": text}, "timestamp": EXAMPLE_TIMESTAMP},
        }
        for code, text in messages.items()
    }
    return {
        "model": ErrorBody,
        "description": description,
        "headers": {**_REQUEST_ID, **(_RETRY_AFTER if status in _WITH_RETRY_AFTER else {})},
        "content": {"application/json": {"examples": examples}},
    }


def _openai_error_response(status: int) -> dict[str, Any]:
    description, messages = _UNKNOWN_MODEL if status == 404 else _ERRORS[status]
    known: list[type[ServiceError]] = [*STATUSES, ModelNotFound]
    errors = {error.code: error for error in known}
    examples = {
        code: {"value": openai_error_body(errors[code](text), status).model_dump(mode="json")}
        for code, text in messages.items()
    }
    response = _error_response(status, description, {})
    return {
        **response,
        "model": OpenAIErrorBody,
        "headers": {**response["headers"], **_SHOULD_RETRY},
        "content": {"application/json": {"examples": examples}},
    }


def describe_upload(modality: Modality[Any]) -> Schema:
    """Return FastAPI's `openapi_extra` for a route that takes one file, as a form or as JSON."""
    file_field, options, example = modality.kind, modality.options, modality.example_options
    in_json = _object({file_field: _base64(), **_fields(options)}, required=[file_field])
    file = {"type": "string", "format": "binary", "description": "The file; its content decides its type."}
    nested = {"type": "string", "contentMediaType": "application/json", "description": "The same options as JSON."}
    in_form = _object({file_field: file, **_options_in_form(options), "options": nested}, required=[file_field])
    json_examples = {
        "flat fields": {"value": {file_field: EXAMPLE_BASE64, **example}},
        "in options": {"value": {file_field: EXAMPLE_BASE64, "options": example}},
    }
    form_examples = {
        "flat fields": {"value": {file_field: "(the file)", **example}},
        "in options": {"value": {file_field: "(the file)", "options": json.dumps(example)}},
    }
    return _request_body(
        {
            "multipart/form-data": {"schema": in_form, "examples": form_examples},
            "application/json": {"schema": in_json, "examples": json_examples},
        }
    )


def describe_batch(modalities: Sequence[Modality[Any]], options: type[BaseModel], max_files: int) -> Schema:
    """Return FastAPI's `openapi_extra` for the batch route; `options` are those of the batch itself."""
    items = [
        _object(
            {"type": {"const": modality.kind}, "data": _base64(), **_fields(modality.options)},
            required=["type", "data"],
        )
        for modality in modalities
    ]
    files = {"type": "array", "items": {"oneOf": items}, "minItems": 1, "maxItems": max_files}
    schema = _object({"files": files, **_fields(options)}, required=["files"])
    example = {
        "files": [
            {"type": "image", "data": EXAMPLE_BASE64, "prompt": "What is in this image?"},
            {"type": "audio", "data": EXAMPLE_BASE64, "options": {"language": "en"}},
        ],
        "options": {"parallel": False},
    }
    return _request_body({"application/json": {"schema": schema, "examples": {"two files": {"value": example}}}})


def describe_library_upload() -> Schema:
    """Return FastAPI's `openapi_extra` for an upload into the library."""
    file = {"type": "string", "format": "binary", "description": "The file; its content decides its type."}
    path = {"type": "string", "description": "Its name with the folders that it comes from, to be found by."}
    schema = _object({"file": file, "path": path}, required=["file"])
    examples = {"a file": {"value": {"file": "(the file)", "path": "contracts/2024/lease.pdf"}}}
    return _request_body({"multipart/form-data": {"schema": schema, "examples": examples}})


def describe_openai_audio(options: type[BaseModel]) -> Schema:
    """Return FastAPI's `openapi_extra` for a route below /v1 that takes a recording as a form."""
    file = {"type": "string", "format": "binary", "description": "The file; its content decides its type."}
    schema = _object({"file": file, **_options_in_form(options)}, required=["file", "model"])
    examples = {"a recording": {"value": {"file": "(the file)", "model": "whisper-1", "response_format": "srt"}}}
    return _request_body({"multipart/form-data": {"schema": schema, "examples": examples}})


def describe_json(options: type[BaseModel], example: Mapping[str, Any]) -> Schema:
    """Return FastAPI's `openapi_extra` for a route that takes these options as a JSON object."""
    required = options.model_json_schema().get("required", [])
    properties = {
        name: schema if name in required else _or_not_given(schema)
        for name, schema in _options_in_form(options).items()
    }
    schema = _object(properties, required)
    return _request_body({"application/json": {"schema": schema, "examples": {"a request": {"value": example}}}})


def describe_search_events() -> dict[str, Any]:
    """Return FastAPI's description of a response that is JSON or, with `stream`, server-sent events."""
    sentence, chunk_id = "The budget for travel is 12,000 euros.", "5ca8fc6f-4d4a-401e-af4c-9c6c52f997e9"
    place = {"type": "document", "page": 5, "boxes": [[0.1, 0.2, 0.9, 0.22]]}
    citation = {
        "citation_number": 1,
        "chunk_id": chunk_id,
        "file_id": 12,
        "source_info": place,
        "text_preview": sentence,
        "quote": sentence,
        "chars": [120, 158],
        "url": "/files/12/content#page=5",
        "page_url": f"/files/12/pages/5.png?chunk_id={chunk_id}&chars=120-158",
        "supported": True,
    }
    metadata = {"file_id": 12, "filename": "budget.pdf", "text": f"(120 characters) {sentence}", "source_info": place}
    body = {
        "results": [{"chunk_id": chunk_id, "similarity": 0.71, "metadata": metadata}],
        "response": f"{sentence} [1]",
        "citations": [citation],
        "query_time": 0.041,
        "answered_by": "Qwen2.5-1.5B-Instruct",
        "answer_note": "",
    }
    stream = (
        'event: results\ndata: {"results": [...], "query_time": 0.041}\n\n'
        f'event: token\ndata: {{"text": "{sentence} [1]"}}\n\n'
        f"event: citation\ndata: {json.dumps(citation)}\n\n"
        f'event: done\ndata: {{"response": "{sentence} [1]", "citations": [...], ...}}\n\n'
    )
    about = (
        "JSON; with `stream`, server-sent events: `results` (`results` and `query_time`), `token` (`text`, to be added "
        "to the answer), `citation` (as in `citations`), then `done` (all but `results`), or `error` with the body of "
        "an error. Ignore events of other names."
    )
    return {
        "description": about,
        "content": {
            "application/json": {"examples": {"an answer": {"value": body}}},
            "text/event-stream": {"schema": {"type": "string"}, "examples": {"an answer": {"value": stream}}},
        },
    }


_EVENTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "queued": (
        "its position in the queue, first of all and whenever it changes: 0 when it is worked on, 1 when it is next",
        {"position": 0},
    ),
    "progress": (
        "the stage, how much of it is done (measured; null where that is not possible), and the seconds until the "
        "result, by this machine's past speed (null while it has none)",
        {"stage": "read", "fraction": 0.41, "eta_seconds": 1.8},
    ),
    "token": ("text to be added to the description", {"text": "A brown dog"}),
    "frame": (
        "an element of `frames`, and its index",
        {"index": 0, "frame": {"timestamp": 0.0, "frame_number": 0, "description": "A brown dog."}},
    ),
    "summary": ("the `summary`", {"text": "A brown dog sleeps on a sofa."}),
    "segment": (
        "an element of `segments` (of a video, of those of its transcript), and its index",
        {"index": 0, "segment": {"start": 0.0, "end": 1.5, "text": "Hello there.", "confidence": 0.95}},
    ),
    "file": ("an element of `results`", {"file_index": 0, "result": {"success": True, "type": "image"}}),
}
_EVENTS_OF = {
    "image": ("queued", "progress", "token"),
    "video": ("queued", "progress", "frame", "summary", "segment"),
    "audio": ("queued", "progress", "segment"),
    "batch": ("queued", "progress", "token", "frame", "summary", "segment", "file"),
}


def describe_events(kind: str) -> dict[str, Any]:
    """Return FastAPI's description of the response of an analysis: JSON, or server-sent events."""
    names = _EVENTS_OF[kind]
    in_batch = " All but `queued` and the last carry the `file_index` that they belong to." if kind == "batch" else ""
    about = (
        "JSON; with the header `Accept: text/event-stream`, server-sent events: "
        + "; ".join(f"`{name}`, {_EVENTS[name][0]}" for name in names)
        + f".{in_batch} The last is `result`, with this route's JSON, or `error`, with the body of an error. What is "
        "wrong before the work begins is answered with its status instead. While nothing happens, a comment is sent "
        "every 10 s. Closing the connection ends the work. Ignore events of other names."
    )
    example = "".join(f"event: {name}\ndata: {json.dumps(_EVENTS[name][1])}\n\n" for name in names)
    example += 'event: result\ndata: {"success": true, ...}\n\n'
    return {
        "description": about,
        "content": {"text/event-stream": {"schema": {"type": "string"}, "examples": {"a stream": {"value": example}}}},
    }


def _request_body(content: Schema) -> Schema:
    return {"requestBody": {"required": True, "content": content}}


def _object(properties: Schema, required: Sequence[str] = ()) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _fields(options: type[BaseModel]) -> Schema:
    """Return the schemas of the options as flat fields, and of the object `options` with the same ones."""
    flat = {name: _or_not_given(schema) for name, schema in _options_in_form(options).items()}
    nested = {"type": ["object", "null"], "properties": flat, "additionalProperties": False}
    return {**flat, "options": {**nested, "description": "The same options."}}


def _options_in_form(options: type[BaseModel]) -> Schema:
    properties: Schema = options.model_json_schema()["properties"]
    return properties


def _or_not_given(schema: Schema) -> Schema:
    """Return the schema of an option in JSON, where null and empty text mean that it is not given."""
    about: Schema = {key: schema[key] for key in ("title", "description", "default", "examples") if key in schema}
    value = {key: schema[key] for key in schema.keys() - about.keys()}
    return {**about, "anyOf": [value, {"type": ["string", "null"], "pattern": r"^\s*$"}]}


def _base64() -> Schema:
    return {
        "type": "string",
        "contentEncoding": "base64",
        "minLength": 1,
        "description": "The file as base64 or as a data URL.",
    }
