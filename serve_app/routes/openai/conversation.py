"""The messages of a chat -> a picture and a question about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.json_body import LongString
from serve_app.routes.openai.invalid import invalid

IMAGE_ADVICE = (
    'as a part {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}} of the content of a message'
)
_FOREIGN_PARTS = {
    "input_audio": "This model hears nothing; send sound to /v1/audio/transcriptions.",
    "file": "This model reads no files; send a picture as image_url, and documents to /upload.",
    "refusal": "A refusal cannot be answered; leave that message out.",
}

_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_IMAGE_URL = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "pattern": "^data:", "description": "The picture as a data URI."},
        "detail": {"enum": ["auto", "low", "high", None], "description": "Accepted, but without effect."},
    },
    "required": ["url"],
}
_IMAGE_PART = {
    "type": "object",
    "properties": {"type": {"const": "image_url"}, "image_url": _IMAGE_URL},
    "required": ["type", "image_url"],
}


def _message(role: str, *contents: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = {"role": {"const": role}, "content": {"anyOf": [{"type": "string"}, *contents]}}
    required = ["role", "content"] if role == "user" else ["role"]
    return {"type": "object", "properties": properties, "required": required}


def _list_of(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "minItems": 1, "items": part}


MESSAGES_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "description": "With one picture, in any of the user's messages. The last message is the question about it; "
    "without text, the picture is described. What was said before is not taken into account.",
    "items": {
        "oneOf": [
            _message("user", _list_of({"oneOf": [_TEXT_PART, _IMAGE_PART]})),
            _message("assistant", _list_of(_TEXT_PART), {"type": "null"}),
        ]
    },
}


@dataclass(frozen=True)
class Question:
    text: str
    """Empty if the picture is to be described."""
    image: str | LongString
    """A data URI."""


def read_question(messages: Sequence[Any]) -> Question:
    """Return the last message of a chat as a question about its one picture.

    Raises InvalidRequest for what the model cannot do, with what to do instead.
    """
    images: list[str | LongString] = []
    text = ""
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("system", "developer"):
            raise invalid(
                where, f"This model follows no {role} messages; leave {where} out and say in the question what matters."
            )
        if role not in ("user", "assistant"):
            raise invalid(where, f"{where}.role must be 'user' or 'assistant', not {role!r:.40}.")
        is_question = number == len(messages) - 1
        if is_question and role != "user":
            raise invalid(where, "The last message must be the user's: it is the question.")
        texts = []
        for part in _parts(message.get("content"), where, may_be_empty=role == "assistant"):
            if isinstance(part, _Image):
                if role != "user":
                    raise invalid(where, f"{where} is the assistant's; a picture must be in a message of the user.")
                images.append(part.url)
            else:
                texts.append(part)
        if is_question:
            text = "\n".join(texts).strip()
    if not images:
        raise invalid("messages", f"This model answers questions about a picture; send one {IMAGE_ADVICE}.")
    if len(images) > 1:
        raise invalid(
            "messages",
            f"This model looks at one picture, and the messages have {len(images)}; ask about each by itself.",
        )
    return Question(text, images[0])


@dataclass(frozen=True)
class _Image:
    url: str | LongString


def _parts(content: Any, where: str, *, may_be_empty: bool) -> Iterator[str | _Image]:
    if content is None and may_be_empty:
        return
    if isinstance(content, str | LongString):
        yield _text(content, f"{where}.content")
        return
    if not isinstance(content, list) or not content:
        raise invalid(where, f"{where}.content must be text, or a list of parts.")
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            yield _text(part.get("text"), f"{place}.text")
        elif kind == "image_url":
            yield _Image(_data_uri(part.get("image_url"), f"{place}.image_url"))
        elif isinstance(kind, str) and kind in _FOREIGN_PARTS:
            raise invalid(place, f"{_FOREIGN_PARTS[kind]} ({place})")
        else:
            raise invalid(place, f"{place}.type must be 'text' or 'image_url', not {kind!r:.40}.")


def _text(text: Any, place: str) -> str:
    if isinstance(text, LongString):
        raise invalid(place, f"{place} is too long for this model; shorten it.")
    if not isinstance(text, str):
        raise invalid(place, f"{place} must be text.")
    return text


def _data_uri(image_url: Any, place: str) -> str | LongString:
    url = image_url.get("url") if isinstance(image_url, dict) else None
    if not isinstance(url, str | LongString):
        raise invalid(place, f'{place} must be an object, such as {{"url": "data:image/png;base64,..."}}.')
    detail = image_url.get("detail")
    if detail not in (None, "auto", "low", "high"):
        raise invalid(place, f"{place}.detail must be 'auto', 'low' or 'high', not {detail!r:.40}.")
    if not (url.begins_with("data:") if isinstance(url, LongString) else url.startswith("data:")):
        raise invalid(
            place,
            f"{place}.url must be a data URI, data:image/png;base64,...: this server fetches nothing from the network. "
            "Send the picture itself.",
        )
    return url
