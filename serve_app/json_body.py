"""JSON bodies that carry files as base64.

A body may be 200 MB. One call of `json.loads` or `base64.b64decode` on that would hold the GIL until it is done, and
health would not respond meanwhile. So each long string is first replaced by a short placeholder, in small steps, and
only what is left, the skeleton, is parsed.
"""

import binascii
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from deployments.errors import FileTooLarge, InvalidRequest
from deployments.media import Media, as_media
from deployments.units import MEGABYTE

MAX_TEXT_BYTES = 32 * 1024
"""A longer string in a JSON body is taken for a file and not parsed as text; a longer form field is refused."""

MAX_SKELETON_BYTES = MEGABYTE
"""The most that a body may hold besides its files; parsing 1 MB takes about 10 ms."""

_STEP_BYTES = MEGABYTE
"""Bytes handled before other threads may run: 1 to 2 ms of work."""

_MAX_ESCAPE_BYTES = len(r"\u002b")
_BACKSLASH = ord("\\")


def max_json_body_bytes(max_file_bytes: int) -> int:
    """Return the most bytes of a JSON body with a file of at most `max_file_bytes`: base64 takes 4 bytes for 3."""
    return max_file_bytes * 4 // 3 + MEGABYTE


@dataclass(frozen=True)
class LongString:
    """A long string of a JSON body: where it is in the body, still escaped."""

    body: bytearray
    start: int
    end: int

    def begins_with(self, text: str) -> bool:
        """Return whether it begins with a text in ASCII that no escapes stand for."""
        return self.body.startswith(text.encode(), self.start, self.end)


def parse_json(body: bytearray) -> dict[str, Any]:
    """Return the JSON object in `body`. A LongString takes the place of each long string.

    Raises InvalidRequest if the body is not one JSON object in UTF-8, or gives a name twice.
    """
    long_strings: dict[str, LongString] = {}
    skeleton = _cut_out_long_strings(body, long_strings)

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        for name, value in pairs:
            if name in parsed:
                raise InvalidRequest(f"The JSON body gives {name[:60]!r} twice.")
            _require_text(name)
            parsed[name] = with_long_strings(value)
        return parsed

    def with_long_strings(value: Any) -> Any:
        if isinstance(value, str):
            _require_text(value)
            return long_strings.get(value, value)
        return [with_long_strings(item) for item in value] if isinstance(value, list) else value

    try:
        document = json.loads(skeleton.decode(), object_pairs_hook=as_dict, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InvalidRequest("The JSON body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg}.") from None
    except (RecursionError, ValueError):
        raise InvalidRequest("The JSON body is nested too deeply, or holds a number of thousands of digits.") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The JSON body must be an object, such as {...}.")
    return document


def decode_base64(text: object, field: str, max_file_bytes: int) -> Media:
    """Return the file in `text`, a str or LongString of base64 or a base64 data URL; white space is allowed.

    Raises InvalidRequest naming `field` for anything else and for an empty file, FileTooLarge over `max_file_bytes`.
    """
    if not isinstance(text, str | LongString):
        raise InvalidRequest(f"Field '{field}' must be a file as base64 text or a data URL.")
    invalid = InvalidRequest(f"Field '{field}' is not valid base64.")
    decoded = bytearray()
    rest = b""
    is_first, is_padded = True, False
    for piece in _unescaped_pieces(text, invalid):
        if is_first and piece.lstrip().startswith(b"data:"):
            header, _, piece = piece.partition(b",")
            if not header.rstrip().lower().endswith(b";base64"):
                raise InvalidRequest(f"Field '{field}' must be a data URL with base64: data:image/png;base64,...")
        is_first = False
        piece = rest + piece.translate(None, b" \t\r\n\f\v")
        num_usable = len(piece) // 4 * 4
        piece, rest = piece[:num_usable], piece[num_usable:]
        if piece and is_padded:
            raise invalid
        is_padded = is_padded or piece.endswith(b"=")
        try:
            decoded += binascii.a2b_base64(piece, strict_mode=True)
        except binascii.Error:
            raise invalid from None
        if len(decoded) > max_file_bytes:
            raise file_too_large(max_file_bytes)
    if rest:
        raise invalid
    if not decoded:
        raise InvalidRequest(f"Field '{field}' is empty; send a file as base64 text or a data URL.")
    return as_media(decoded)


def file_too_large(max_file_bytes: int, size_bytes: int | None = None) -> FileTooLarge:
    size = "" if size_bytes is None else f" {size_bytes / MEGABYTE:.1f} MB"
    return FileTooLarge(f"File size{size} exceeds maximum allowed size of {max_file_bytes / MEGABYTE:g} MB.")


def _unescaped_pieces(text: str | LongString, invalid: InvalidRequest) -> Iterator[bytes]:
    if isinstance(text, str):
        if not text.isascii():
            raise invalid
        yield text.encode()
        return
    position = text.start
    while position < text.end:
        end = min(position + _STEP_BYTES, text.end)
        if end < text.end:
            escape = text.body.rfind(b"\\", end - _MAX_ESCAPE_BYTES + 1, end)
            end = escape if escape > position else end
        piece = bytes(text.body[position:end])
        if b"\\" in piece:
            try:
                piece = json.loads(b'"' + piece + b'"').encode("ascii")
            except ValueError:
                raise invalid from None
        yield piece
        position = end


def _cut_out_long_strings(body: bytearray, long_strings: dict[str, LongString]) -> bytes:
    """Return the skeleton of `body`; put the strings that were cut out into `long_strings`, by their placeholders."""
    nonce = secrets.token_hex(8)
    skeleton = bytearray()
    position = 0
    while True:
        opening = _find_quote(body, position)
        _append(skeleton, body, position, opening)
        if opening == len(body):
            return bytes(skeleton)
        closing = _find_closing_quote(body, opening)
        if closing - opening > MAX_TEXT_BYTES:
            placeholder = f"{nonce}:{len(long_strings)}"
            long_strings[placeholder] = LongString(body, opening + 1, closing)
            skeleton += f'"{placeholder}"'.encode()
        else:
            _append(skeleton, body, opening, closing + 1)
        position = closing + 1


def _append(skeleton: bytearray, body: bytearray, start: int, end: int) -> None:
    if len(skeleton) + end - start > MAX_SKELETON_BYTES:
        raise InvalidRequest("The JSON body holds more than 1 MB besides its files.")
    skeleton += body[start:end]


def _find_closing_quote(body: bytearray, opening: int) -> int:
    """Return the position of the quotation mark that closes the string whose opening one is at `opening`.

    A string longer than MAX_TEXT_BYTES with an escaped quotation mark is refused: base64 has none, and counting
    backslashes in a body full of them would take minutes.
    """
    has_escaped_quote = False
    quote = opening
    while True:
        quote = _find_quote(body, quote + 1)
        if quote == len(body):
            raise InvalidRequest("The body is not valid JSON: a string is not closed.")
        is_after_backslash = body[quote - 1] == _BACKSLASH
        if quote - opening > MAX_TEXT_BYTES and (is_after_backslash or has_escaped_quote):
            raise InvalidRequest(
                f"The JSON body holds a string of more than {MAX_TEXT_BYTES} bytes that is not base64."
            )
        if not is_after_backslash:
            return quote
        before = quote - 1
        while body[before] == _BACKSLASH:
            before -= 1
        if (quote - 1 - before) % 2 == 0:
            return quote
        has_escaped_quote = True


def _find_quote(body: bytearray, position: int) -> int:
    """Return the position of the next quotation mark, or the length of `body` if there is none."""
    while position < len(body):
        found = body.find(b'"', position, position + _STEP_BYTES)
        if found >= 0:
            return found
        position += _STEP_BYTES
    return len(body)


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The JSON body holds half of a surrogate pair, which is not a character.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The JSON body holds {name}, which is not JSON.")
