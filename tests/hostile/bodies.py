"""Hostile HTTP requests."""

import json
from collections.abc import Mapping

from tests.deployments.images.images import encoded, noise
from tests.hostile.item import CANARY, OK, Collection, RawRequest

REQUEST, LARGE, INVALID, NOT_FOUND = "INVALID_REQUEST", "FILE_TOO_LARGE", "INVALID_FILE", "NOT_FOUND"
BODIES = Collection("http")
FORM = "multipart/form-data; boundary=cut"
FILE_PART = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'


def request(
    body: bytes = b"",
    content_type: str = FORM,
    *,
    path: str = "/api/analyze/image",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    declared: int | None = None,
) -> RawRequest:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Type: {content_type}"]
    lines.append(f"Content-Length: {len(body) if declared is None else declared}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return RawRequest("\r\n".join([*lines, "", ""]).encode("latin1"), body)


def json_request(body: bytes, path: str = "/api/analyze/image") -> RawRequest:
    return request(body, "application/json", path=path)


def small_form(before: bytes = b"", after: bytes = b"", extra: bytes = b"") -> bytes:
    return before + FILE_PART + extra + b"\r\n" + encoded(noise(), "PNG") + b"\r\n--cut--\r\n" + after


@BODIES.item(REQUEST)
def form_whose_boundary_is_missing() -> RawRequest:
    """Parser state: a form without any of its delimiters."""
    return request(b"x" * 1_000_000)


@BODIES.item(REQUEST)
def form_with_a_boundary_of_10_000_letters() -> RawRequest:
    """Parser state: a boundary longer than the standard's 70."""
    return request(b"--" + b"b" * 10_000 + b"--\r\n", "multipart/form-data; boundary=" + "b" * 10_000)


@BODIES.item(REQUEST)
def form_with_a_boundary_that_backtracks() -> RawRequest:
    """CPU: a quoted boundary that made a regular expression take for ever (CVE-2024-24762)."""
    return request(b"", 'multipart/form-data; boundary="' + "\\" * 10_000)


@BODIES.item(REQUEST)
def form_with_10_megabytes_of_line_breaks() -> RawRequest:
    """CPU: line breaks before the first boundary, each of them logged (CVE-2024-53981)."""
    return request(b"\r\n" * 5_000_000 + small_form())


@BODIES.item(OK)
def form_with_800_kilobytes_after_its_end() -> RawRequest:
    """CPU: data after the last boundary, each byte of it logged (CVE-2024-53981)."""
    return request(small_form(after=b"a" * 800_000))


@BODIES.item(REQUEST)
def form_of_200_000_parts() -> RawRequest:
    """CPU: a part for each of some bytes."""
    part = b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return request(part * 200_000 + b"--cut--\r\n")


@BODIES.item(REQUEST)
def form_of_a_part_with_a_million_headers() -> RawRequest:
    """CPU: headers of a part that never end (CVE-2026-42561)."""
    return request(small_form(extra=b"a: b\r\n" * 1_000_000))


@BODIES.item(REQUEST)
def form_of_a_part_with_a_header_of_10_megabytes() -> RawRequest:
    """Memory: one header of a part (CVE-2026-42561)."""
    return request(small_form(extra=b"a: " + b"b" * 10_000_000 + b"\r\n"))


@BODIES.item(REQUEST)
def form_of_a_part_without_headers() -> RawRequest:
    """Parser state: a part that has no name."""
    return request(b"--cut\r\n\r\nabc\r\n--cut--\r\n")


@BODIES.item(REQUEST)
def form_with_a_name_that_is_no_text() -> RawRequest:
    """Encoding: bytes that are not UTF-8 in the name of a field."""
    return request(b'--cut\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nabc\r\n--cut--\r\n')


@BODIES.item(OK)
def form_whose_file_is_called_like_a_path() -> RawRequest:
    """Path traversal: a file name with parents, a NUL and a drive."""
    return request(small_form().replace(b"a.png", b"../../etc/passwd\x00C:\\a.png"))


@BODIES.item(REQUEST)
def form_with_two_files_of_one_name() -> RawRequest:
    """Parser state: which one counts?"""
    return request(small_form()[:-9] + b"\r\n" + small_form())


@BODIES.item(REQUEST)
def form_whose_length_is_larger_than_its_content() -> RawRequest:
    """Waiting: a form that breaks off before its last boundary."""
    return request(small_form()[:-20])


@BODIES.item(LARGE)
def form_that_declares_a_terabyte() -> RawRequest:
    """Memory: a length that nobody has room for."""
    return request(small_form(), declared=10**12)


@BODIES.item(REQUEST)
def form_of_urlencoded_fields() -> RawRequest:
    """Format: the other kind of form."""
    return request(b"image=" + b"%41" * 300_000, "application/x-www-form-urlencoded")


@BODIES.item(REQUEST, LARGE)
def json_nested_100_000_deep() -> RawRequest:
    """Recursion: arrays inside one another."""
    return json_request(b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@BODIES.item(REQUEST)
def json_with_a_number_of_a_million_digits() -> RawRequest:
    """CPU: the conversion of a long number is quadratic."""
    return json_request(b'{"max_length": ' + b"9" * 1_000_000 + b"}")


@BODIES.item(REQUEST)
def json_with_a_number_too_large_for_a_float() -> RawRequest:
    """Arithmetic: infinity through the back door."""
    return json_request(b'{"image": "aGk=", "max_length": 1e999}')


@BODIES.item(REQUEST)
def json_of_60_000_names() -> RawRequest:
    """CPU: an object with many names."""
    return json_request(json.dumps({f"name{number}": 0 for number in range(60_000)}).encode())


@BODIES.item(REQUEST)
def json_with_half_a_character() -> RawRequest:
    """Encoding: half of a surrogate pair."""
    return json_request(b'{"image": "aGk=", "prompt": "\\ud800"}')


@BODIES.item(REQUEST)
def json_of_10_megabytes_of_backslashes() -> RawRequest:
    """CPU: a string in which each quotation mark may be escaped."""
    return json_request(b'{"image": "' + b'\\\\\\"' * 2_500_000 + b'"}')


@BODIES.item(REQUEST)
def json_that_starts_with_a_byte_order_mark() -> RawRequest:
    """Encoding: what Windows editors write."""
    return json_request(b'\xef\xbb\xbf{"image": "aGk="}')


@BODIES.item(REQUEST)
def json_in_utf_16() -> RawRequest:
    """Encoding: what parsers detect, or not."""
    return json_request('{"image": "aGk="}'.encode("utf-16"))


@BODIES.item(REQUEST)
def base64_of_the_web_variant() -> RawRequest:
    """Encoding: the alphabet for URLs."""
    return json_request(b'{"image": "' + b"-_" * 200 + b'"}')


@BODIES.item(REQUEST)
def base64_of_10_megabytes_of_spaces() -> RawRequest:
    """CPU: white space, which is allowed, and nothing else."""
    return json_request(b'{"image": "' + b" " * 10_000_000 + b'"}')


@BODIES.item(REQUEST)
def batch_of_100_000_files() -> RawRequest:
    """Memory: more files than a batch may have."""
    return json_request(b'{"files": [' + b"{}," * 100_000 + b"{}]}", "/api/analyze/batch")


@BODIES.item(OK)
def batch_of_16_hostile_files() -> RawRequest:
    """Isolation: each one fails alone."""
    files = [{"type": kind, "data": "QUJDRA=="} for kind in ("image", "video", "audio", "image")] * 4
    return json_request(json.dumps({"files": files, "parallel": True}).encode(), "/api/analyze/batch")


@BODIES.item(REQUEST)
def body_in_gzip() -> RawRequest:
    """Memory: a compressed body, which is not decompressed."""
    return request(bytes(1000), "application/json", headers={"Content-Encoding": "gzip"})


@BODIES.item(REQUEST)
def chunks_that_lie() -> RawRequest:
    """Request smuggling: both a length and chunks."""
    body = b"5\r\nhello\r\n0\r\n\r\n"
    head = request(body).head
    return RawRequest(head.replace(b"Content-Length: 15\r\n", b"Transfer-Encoding: chunked\r\n"), body)


@BODIES.item(REQUEST)
def headers_of_100_kilobytes() -> RawRequest:
    """Memory: headers."""
    return request(small_form(), headers={f"X-{number}": "v" * 1000 for number in range(50)})


@BODIES.item(NOT_FOUND)
def path_of_30_000_letters() -> RawRequest:
    """Memory: the request line."""
    return request(path="/" + "a" * 30_000)


@BODIES.item(NOT_FOUND)
def path_that_climbs() -> RawRequest:
    """Path traversal: parents in the path of the docs' assets."""
    return request(path="/docs/assets/..%2f..%2f..%2fetc%2fpasswd", method="GET")


@BODIES.item("METHOD_NOT_ALLOWED")
def method_of_webdav() -> RawRequest:
    """Method: one of WebDAV."""
    return request(method="PROPFIND")


@BODIES.item(REQUEST)
def options_of_the_wrong_types() -> RawRequest:
    """Types: an object where a number belongs."""
    return json_request(b'{"image": "aGk=", "options": {"max_length": {"a": [1]}, "prompt": 7}}')


@BODIES.item(REQUEST)
def prompt_of_30_000_letters() -> RawRequest:
    """Memory: a prompt that does not fit the model's context."""
    part = b'--cut\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"why " * 7_500 + b"\r\n"
    return request(small_form(before=part))


@BODIES.item(OK, REQUEST)
def prompt_of_control_characters() -> RawRequest:
    """Tokenizer: NUL, right-to-left marks, characters beyond the first plane, and the model's own marks."""
    text = "\x00\x07\u202e\U0001f600\ufffd<|endoftext|><image>".encode()
    part = b'--cut\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + text + b"\r\n"
    return request(small_form(before=part))


def chat(*parts: object) -> RawRequest:
    body = {"model": "moondream2", "messages": [{"role": "user", "content": list(parts)}]}
    return json_request(json.dumps(body).encode(), "/v1/chat/completions")


@BODIES.item(REQUEST)
def chat_with_the_address_of_a_picture() -> RawRequest:
    """Requests of the server: an address where a picture belongs."""
    return chat({"type": "image_url", "image_url": {"url": f"{CANARY}/picture.png"}})


@BODIES.item(REQUEST)
def chat_with_the_path_of_a_picture() -> RawRequest:
    """Files of the server: a path where a picture belongs."""
    return chat({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})


@BODIES.item(REQUEST)
def chat_of_20_000_messages() -> RawRequest:
    """CPU: very many messages."""
    messages = [{"role": "user", "content": "a"}] * 20_000
    return json_request(json.dumps({"model": "moondream2", "messages": messages}).encode(), "/v1/chat/completions")


@BODIES.item(REQUEST)
def chat_with_10_megabytes_of_text() -> RawRequest:
    """Memory: a question as long as a picture."""
    return chat({"type": "text", "text": "why " * 2_500_000})


@BODIES.item(REQUEST)
def embeddings_of_100_000_texts() -> RawRequest:
    """CPU: very many texts."""
    body = {"model": "all-MiniLM-L6-v2", "input": ["a"] * 100_000}
    return json_request(json.dumps(body).encode(), "/v1/embeddings")


@BODIES.item(REQUEST)
def embeddings_of_a_text_of_900_kilobytes_in_pieces() -> RawRequest:
    """CPU: texts far longer than the model reads."""
    body = {"model": "all-MiniLM-L6-v2", "input": ["why " * 7_500] * 30}
    return json_request(json.dumps(body).encode(), "/v1/embeddings")


@BODIES.item(REQUEST)
def transcription_of_a_field_given_1_000_times() -> RawRequest:
    """Memory: a field that may be given several times."""
    part = b'--cut\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
    return request(part * 1000 + b"--cut--\r\n", path="/v1/audio/transcriptions")


@BODIES.item(REQUEST)
def mcp_with_10_megabytes() -> RawRequest:
    """Memory: a message that is far longer than a tool's arguments."""
    return json_request(b'{"jsonrpc": "2.0", "method": "' + b"a" * 10_000_000 + b'"}', "/mcp")
