"""Reads a request's body into memory, bounded while it arrives, and separates the file from the other fields.

Nothing is written to disk.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.media import Media, as_media
from deployments.units import MEGABYTE
from serve_app.admission import AdmittedRequest
from serve_app.json_body import MAX_TEXT_BYTES, decode_base64, file_too_large, max_json_body_bytes, parse_json

FORM_HEADROOM_BYTES = MEGABYTE
"""The most that a form may hold besides its file."""
MAX_FORM_PARTS = 20
MAX_PREAMBLE_BYTES = 64 * 1024
"""The most that may come before the first part of a form."""
_MAX_PADDING_BYTES = 256
"""Of spaces after the first boundary of a form."""
_FORM_TYPE = b"multipart/form-data"
_NOT_A_FORM = "The body is not valid multipart/form-data."


@dataclass(frozen=True)
class Upload:
    """A file and the options sent with it."""

    media: Media
    fields: dict[str, Any]
    """Flat fields: JSON values, or if they came in a form strings, and lists of strings where the name ends in `[]`."""
    options: Any
    """The `options` object, None if there is none."""
    is_form: bool
    filename: str = ""
    """As the client gives it; empty in a JSON body. Analyses do not use it."""


async def read_upload(
    request: Request, file_field: str, max_file_bytes: int, admitted: AdmittedRequest, deadline: float
) -> Upload:
    """Return the one file of a multipart or JSON body, with its fields.

    Raises InvalidRequest, which says what to send; FileTooLarge, before anything is read if Content-Length shows it;
    ServerBusy if the body is large and the server already holds `max_large_uploads` of those, if the uploads together
    take too much memory, if this one is slow and another needs its place, or if the queue has become full meanwhile;
    DeadlineExceeded.
    """
    content_type, _ = parse_options_header(request.headers.get("content-type"))
    if content_type == _FORM_TYPE:
        return await read_form(request, file_field, max_file_bytes, admitted, deadline)
    if content_type == b"application/json":
        body = await _read_body(request, max_file_bytes, max_json_body_bytes(max_file_bytes), admitted, deadline)
        return await upload_from_json(await asyncio.to_thread(parse_json, body), file_field, max_file_bytes)
    raise InvalidRequest(
        f"Send multipart/form-data with the file in field '{file_field}', or application/json with the file as base64 "
        f"in '{file_field}'; the Content-Type was {content_type.decode('latin-1')[:60]!r}."
    )


async def read_form(
    request: Request, file_field: str, max_file_bytes: int, admitted: AdmittedRequest, deadline: float
) -> Upload:
    """Return the one file of a multipart body, with its fields; raises as `read_upload` does."""
    content_type, parameters = parse_options_header(request.headers.get("content-type"))
    if content_type != _FORM_TYPE:
        raise InvalidRequest(
            f"Send multipart/form-data with the file in field '{file_field}', as curl -F {file_field}=@FILE does."
        )
    if not parameters.get(b"boundary"):
        raise InvalidRequest("The Content-Type has no boundary; let your HTTP library set it.")
    async with aclosing(
        _chunks(request, max_file_bytes, max_file_bytes + FORM_HEADROOM_BYTES, admitted, deadline)
    ) as chunks:
        return await _read_form(chunks, parameters[b"boundary"], file_field, max_file_bytes)


async def read_small_json(request: Request, limit_bytes: int, deadline: float) -> dict[str, Any]:
    """Return the JSON object of a body that carries no file; raises InvalidRequest or DeadlineExceeded."""
    return parse_json(await read_small_body(request, limit_bytes, deadline))


async def read_small_body(request: Request, limit_bytes: int, deadline: float) -> bytearray:
    """Return a body in JSON that carries no file, unparsed; raises InvalidRequest or DeadlineExceeded."""
    content_type, _ = parse_options_header(request.headers.get("content-type"))
    if content_type != b"application/json":
        raise InvalidRequest("Send application/json.")
    body = bytearray()
    try:
        async with asyncio.timeout(deadline - time.time()):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise InvalidRequest(f"The body is longer than {limit_bytes} bytes.")
    except TimeoutError:
        raise DeadlineExceeded("The body of the request did not arrive in time; send it again.") from None
    return body


async def read_json_object(
    request: Request, max_bytes: int, admitted: AdmittedRequest, deadline: float
) -> dict[str, Any]:
    """Return the JSON object of the body; raises as `read_upload` does."""
    content_type, _ = parse_options_header(request.headers.get("content-type"))
    if content_type != b"application/json":
        raise InvalidRequest("Send application/json; files go into it as base64.")
    body = await _read_body(request, max_bytes, max_bytes, admitted, deadline)
    return await asyncio.to_thread(parse_json, body)


async def upload_from_json(document: dict[str, Any], file_field: str, max_file_bytes: int) -> Upload:
    """Return the file and options of a JSON object whose field `file_field` has the file as base64.

    Raises InvalidRequest or FileTooLarge.
    """
    fields = dict(document)
    text, options = fields.pop(file_field, None), fields.pop("options", None)
    if text is None:
        raise InvalidRequest(f"Field '{file_field}' is missing; send the file there as base64 text or a data URL.")
    media = await asyncio.to_thread(decode_base64, text, file_field, max_file_bytes)
    return Upload(media, fields, options, is_form=False)


async def read_media(
    parts: AsyncIterator[bytes], size: int, max_file_bytes: int, admitted: AdmittedRequest, deadline: float
) -> Media:
    """Return the file that comes in parts and has `size` bytes in all; raises as `read_upload` does."""
    file = bytearray()
    async with aclosing(_bounded(parts, size, max_file_bytes, max_file_bytes, admitted, deadline)) as chunks:
        async for chunk in chunks:
            file += chunk
    if len(file) != size:
        raise InvalidRequest(f"The file has {len(file)} bytes, not {size} as announced.")
    return as_media(file)


def _chunks(
    request: Request, max_file_bytes: int, max_body_bytes: int, admitted: AdmittedRequest, deadline: float
) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request, as `_bounded` does."""
    declared = request.headers.get("content-length", "")
    total = int(declared) if declared.isdecimal() else None
    return _bounded(request.stream(), total, max_file_bytes, max_body_bytes, admitted, deadline)


async def _bounded(
    stream: AsyncIterator[bytes],
    total: int | None,
    max_file_bytes: int,
    max_body_bytes: int,
    admitted: AdmittedRequest,
    deadline: float,
) -> AsyncGenerator[bytes, None]:
    """Yield a body in chunks, and take a place in the queue after the last one; `total` is its declared size.

    Raises FileTooLarge for a body of more than `max_body_bytes`; its message names `max_file_bytes`, the limit for the
    file. Raises DeadlineExceeded, and ServerBusy as `read_upload` does.
    """
    if total is not None and total > max_body_bytes:
        raise file_too_large(max_file_bytes, total)
    admitted.will_hold(total or 0)
    num_bytes = 0
    while True:
        admitted.raise_eviction()
        try:
            async with asyncio.timeout(deadline - time.time()) as timeout:
                with admitted.evictable(partial(_expire, timeout)):
                    chunk = await anext(stream)
                    # A body that has already arrived comes without a pause; let other tasks run between its chunks.
                    await asyncio.sleep(0)
        except StopAsyncIteration:
            admitted.enqueue()
            return
        except TimeoutError:
            admitted.raise_eviction()
            raise DeadlineExceeded(f"{num_bytes / MEGABYTE:.1f} MB of the upload had arrived") from None
        num_bytes += len(chunk)
        if num_bytes > max_body_bytes:
            raise file_too_large(max_file_bytes)
        admitted.has_received(num_bytes)
        yield chunk


def _expire(timeout: asyncio.Timeout) -> None:
    if not timeout.expired():
        timeout.reschedule(0)


async def _read_body(
    request: Request, max_file_bytes: int, max_body_bytes: int, admitted: AdmittedRequest, deadline: float
) -> bytearray:
    body = bytearray()
    async with aclosing(_chunks(request, max_file_bytes, max_body_bytes, admitted, deadline)) as chunks:
        async for chunk in chunks:
            body += chunk
    return body


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, file_field: str, max_file_bytes: int) -> Upload:
    form = _Form(file_field, max_file_bytes)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": form.on_end,
            },
        )
        preamble = _Preamble(boundary)
        async for chunk in chunks:
            parser.write(preamble.strip(chunk))
    except FormParserError:
        raise InvalidRequest(_NOT_A_FORM) from None
    if not preamble.is_over:
        raise InvalidRequest(_NOT_A_FORM)
    if not form.is_complete:
        raise InvalidRequest("The multipart/form-data body ends before its closing boundary.")
    if form.file is None:
        raise InvalidRequest(
            f"Field '{file_field}' is missing; send the file there, as curl -F {file_field}=@FILE does."
        )
    if not form.file:
        raise InvalidRequest(f"The file in field '{file_field}' is empty.")
    options = form.texts.pop("options", "").strip()
    nested = parse_json(bytearray(options.encode())) if options else None
    return Upload(as_media(form.file), {**form.texts, **form.lists}, nested, is_form=True, filename=form.filename)


class _Preamble:
    """Drops what precedes the first boundary of a form, and the spaces after that: RFC 2046, section 5.1.1.

    The multipart parser knows neither.
    """

    def __init__(self, boundary: bytes) -> None:
        self.is_over = False
        self._delimiter = b"--" + boundary
        self._pattern = re.compile(rb"(?:\A|\r\n)" + re.escape(self._delimiter) + rb"(?:[ \t]*(?=\r\n)|(?=--))")
        self._read = bytearray()

    def strip(self, chunk: bytes) -> bytes:
        """Return what `chunk` adds to the form: nothing before its first boundary is complete."""
        if self.is_over:
            return chunk
        start = max(0, len(self._read) - len(self._delimiter) - _MAX_PADDING_BYTES)
        self._read += chunk
        match = self._pattern.search(self._read, start)
        if match:
            self.is_over = True
            return self._delimiter + bytes(self._read[match.end() :])
        if len(self._read) > MAX_PREAMBLE_BYTES:
            raise InvalidRequest(_NOT_A_FORM)
        return b""


class _Form:
    """Callbacks for the multipart parser, which collect the file and the text fields in memory.

    Starlette's own form parser would spool the file to disk, and decode invalid UTF-8 as Latin-1.
    """

    def __init__(self, file_field: str, max_file_bytes: int) -> None:
        self.file: bytearray | None = None
        self.filename = ""
        self.texts: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        """Fields that may be given several times: their names end in `[]`."""
        self.is_complete = False
        self._file_field = file_field
        self._max_file_bytes = max_file_bytes
        self._num_parts = 0

    def on_part_begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_FORM_PARTS:
            raise InvalidRequest(f"The form has more than {MAX_FORM_PARTS} fields.")
        self._header_name, self._header_value, self._disposition = b"", b"", b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name, self._header_value = b"", b""

    def on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._name = _utf8(parameters.get(b"name", b""), "The name of a form field")
        # A name that is not ASCII may come as `filename*=` alone, which the parser drops.
        is_file = b"filename" in parameters or b"filename*" in self._disposition.lower()
        if self._name in self.texts or (self._name == self._file_field and self.file is not None):
            raise InvalidRequest(f"Field '{self._name[:60]}' is given twice.")
        if is_file and self._name != self._file_field:
            raise InvalidRequest(f"The file must be in field '{self._file_field}', not '{self._name[:60]}'.")
        if not is_file and self._name == self._file_field:
            raise InvalidRequest(
                f"Field '{self._name}' must be a file, as curl -F {self._name}=@FILE sends it, not text; base64 goes "
                "into a JSON body."
            )
        if is_file:
            self.filename = _filename(parameters, self._disposition)
        self._data = bytearray()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._name == self._file_field:
            if len(self._data) > self._max_file_bytes:
                raise file_too_large(self._max_file_bytes)
        elif len(self._data) > MAX_TEXT_BYTES:
            raise InvalidRequest(f"Field '{self._name[:60]}' is longer than {MAX_TEXT_BYTES} bytes.")

    def on_part_end(self) -> None:
        if self._name == self._file_field:
            self.file = self._data
        else:
            text = _utf8(self._data, f"Field '{self._name[:60]}'")
            if self._name.endswith("[]"):
                self.lists.setdefault(self._name, []).append(text)
            else:
                self.texts[self._name] = text

    def on_end(self) -> None:
        self.is_complete = True


def _filename(parameters: dict[bytes, bytes], disposition: bytes) -> str:
    """Return the file's name: `filename*` in UTF-8 by RFC 5987 if there is one, else `filename`."""
    extended = re.search(rb"filename\*\s*=\s*utf-8'[\w-]*'([^;\s]*)", disposition, re.IGNORECASE)
    if extended:
        return unquote_to_bytes(extended[1]).decode("utf-8", "replace")
    # Browsers escape quotes and line breaks in this way: HTML Living Standard, multipart form data.
    name = re.sub(rb"%(22|0D|0A)", lambda code: unquote_to_bytes(code[0]), parameters.get(b"filename", b""))
    return name.decode("utf-8", "replace")


def _utf8(text: bytes | bytearray, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is not UTF-8.") from None
