"""What Schemathesis has to know besides the schema: real files, and the rules that a JSON schema cannot express.

It knows no route: whatever /openapi.json has is tried, and every field with a file gets one.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

DATA = Path(__file__).resolve().parent.parent / "data"
KINDS: Mapping[str, str] = {"image": "picture", "video": "clip", "audio": "speech"}
"""For each name of a field, or `type` beside it, what the names of files that belong there begin with. Others get any
of these files."""

_ABOUT_THE_FILE = {"INVALID_FILE_TYPE", "INVALID_FILE", "FILE_TOO_LARGE"}
_RULES = (
    "is given twice",
    "The loaded model does not know the language",
    "chars needs chunk_id",
    "The file has no sound track",
    "Send response_format=",
    "This model answers questions about a picture",
    "This model looks at one picture",
    "The last message must be the user's",
)
"""Of an option as a field and in `options`, with different values; of a smaller model; of parameters that belong
together; of a file; of the messages of a chat together."""
_FORM = "multipart/form-data"
_BOOLEANS = {"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"}
"""Text that a form's boolean may be, in any case."""
_BUSY = {"SERVER_BUSY", "TIMEOUT"}
"""Documented refusals of a server that has too much to do, which generated options can ask for."""


def _files(kind: str | None) -> list[bytes]:
    beginnings = (KINDS[kind],) if kind else tuple(KINDS.values())
    return [path.read_bytes() for path in sorted(DATA.iterdir()) if path.name.startswith(beginnings)]


def _as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


for _kind in (None, *KINDS):
    _content = strategies.sampled_from(_files(_kind))
    schemathesis.openapi.format(f"file-{_kind}", _content)
    schemathesis.openapi.format(f"base64-{_kind}", _content.map(_as_base64))


schemathesis.openapi.format(
    "picture-url", strategies.sampled_from(_files("image")).map(lambda file: f"data:;base64,{_as_base64(file)}")
)
schemathesis.openapi.format("options", strategies.sampled_from(["", "{}"]))


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Have files generated where the schema of a request has one, and leave out streams, which do not end."""
    for path in list(raw_schema["paths"]):
        answers = [operation["responses"]["200"] for operation in raw_schema["paths"][path].values()]
        if any(list(answer.get("content", {})) == ["text/event-stream"] for answer in answers):
            del raw_schema["paths"][path]
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for media_type in operation.get("requestBody", {}).get("content", {}).values():
                # The examples have no real files.
                media_type.pop("examples", None)
                for schema in _objects(media_type["schema"]):
                    _name_formats(schema["properties"])


@schemathesis.hook
def filter_failure(context: schemathesis.HookContext, failure: Failure, case: Any, response: Any) -> bool:
    """Drop what is no fault although the schema cannot say so."""
    body = response.json() if "json" in response.headers.get("content-type", [""])[0] else {}
    if isinstance(failure, AcceptedNegativeData):
        # A batch refuses each file by itself, inside its answer.
        if any(_code(result["result"]) == "INVALID_REQUEST" for result in body.get("results", ())):
            return False
        return case.media_type != _FORM or not _is_valid_form(case)
    if isinstance(failure, ServerError):
        return _code(body) not in _BUSY
    if isinstance(failure, RejectedPositiveData):
        return _code(body) not in _ABOUT_THE_FILE | _BUSY and not any(
            rule in body["error"]["message"] for rule in _RULES
        )
    return True


def _code(body: Mapping[str, Any]) -> str:
    return str(body.get("error", {}).get("code", "")).upper()  # below /v1 they are in lower case


def _is_valid_form(case: Any) -> bool:
    """Return whether the form is right once its texts are read as the server does: empty ones are not given."""
    [body] = [body for body in case.operation.body if body.media_type == _FORM]
    schema = body.definition["schema"]
    given = {name: value for name, value in case.body.items() if str(value).strip()}
    return given.keys() <= schema["properties"].keys() and all(
        _is_readable(value, schema["properties"][name]) for name, value in given.items()
    )


def _is_readable(value: Any, schema: Mapping[str, Any]) -> bool:
    if schema.get("type") == "boolean":
        return str(value).strip().lower() in _BOOLEANS
    if schema.get("type") == "integer":
        value = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", str(value)) else value
    elif schema.get("type") == "number":
        value = float(value) if re.fullmatch(r"\s*[+-]?\d+(\.\d+)?\s*", str(value)) else value
    elif schema.get("type") == "array":
        return isinstance(value, list) and all(_is_readable(item, schema["items"]) for item in value)
    elif not isinstance(value, bytes):
        value = str(value).strip()
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all schemas of objects with properties inside `schema`."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def _name_formats(properties: dict[str, Any]) -> None:
    for name, schema in properties.items():
        kind = next((kind for kind in (name, properties.get("type", {}).get("const")) if kind in KINDS), None)
        schema = schema.get("items", schema)
        if name == "model":
            schema["enum"] = schema["examples"]  # others are not found
        elif name == "url":
            del schema["pattern"]  # it says less than the format
            schema["format"] = "picture-url"
        elif schema.get("format") == "binary":
            # By this media type Schemathesis knows a part of a form with a file.
            schema.update({"format": f"file-{kind}", "contentMediaType": "application/octet-stream"})
        elif schema.get("contentEncoding") == "base64":
            schema["format"] = f"base64-{kind}"
        elif schema.get("contentMediaType") == "application/json":
            schema["format"] = "options"
