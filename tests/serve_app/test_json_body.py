import base64
import json
import threading
import time
from collections.abc import Callable

import pytest

from deployments.errors import FileTooLarge, InvalidRequest
from deployments.units import MEGABYTE
from serve_app.json_body import MAX_SKELETON_BYTES, MAX_TEXT_BYTES, LongString, decode_base64, parse_json

FILE = bytes(range(256)) * 12000
ENCODED = base64.b64encode(FILE).decode()


def parse(text: str | bytes) -> dict[str, object]:
    return parse_json(bytearray(text if isinstance(text, bytes) else text.encode()))


def decode(text: object, max_file_bytes: int = 100 * MEGABYTE) -> bytes:
    return bytes(decode_base64(text, "image", max_file_bytes))


def test_short_bodies_parse_as_json_does() -> None:
    document = {"a": 'quote " and \\ and \u00e9 \U0001f600', "b": [1, 2.5, True, None, {"c": "\\\\"}], "": "x" * 3000}
    assert parse(json.dumps(document)) == document
    assert parse(json.dumps(document, ensure_ascii=False, indent=2)) == document


def test_long_strings_are_cut_out_and_decode_to_their_files() -> None:
    document = parse(json.dumps({"a": ENCODED, "b": {"c": [{"d": ENCODED}]}, "e": "short", "f": ["g", [ENCODED]]}))
    assert document["e"] == "short"
    assert document["f"][0] == "g"  # type: ignore[index]
    assert decode(document["f"][1][0]) == FILE  # type: ignore[index]
    assert isinstance(document["a"], LongString)
    assert decode(document["a"]) == FILE
    assert decode(document["b"]["c"][0]["d"]) == FILE  # type: ignore[index]


@pytest.mark.parametrize(
    "escape",
    [
        lambda text: text.replace("/", "\\/"),
        lambda text: text.replace("+", "\\u002B").replace("=", "\\u003d"),
        lambda text: "\\r\\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        lambda text: "data:image/png;base64," + text,
        lambda text: "data:image/png;charset=x;BASE64,\\n" + text,
        lambda text: "  " + text + "\\n",
    ],
    ids=["slashes", "unicode escapes", "lines", "data URL", "odd data URL", "spaces around"],
)
@pytest.mark.parametrize("size", [1000, len(FILE)])
def test_base64_as_clients_write_it_decodes(escape: Callable[[str], str], size: int) -> None:
    text = escape(base64.b64encode(FILE[:size]).decode())
    assert decode(parse('{"image": "' + text + '"}')["image"]) == FILE[:size]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 3 * MEGABYTE // 4 + 1, 3 * MEGABYTE // 4 + 2])
def test_every_length_decodes(size: int) -> None:
    content = (FILE * 2)[:size]
    assert decode(parse(json.dumps({"image": base64.b64encode(content).decode()}))["image"]) == content


@pytest.mark.parametrize(
    "text",
    [
        "not base64!",
        "AAA",
        "AAAA=",
        "=AAA",
        "AA==AAAA",
        "AAAA" * 9000 + "AA==" + "AAAA" * 400_000,
        "AAAA" * (MEGABYTE // 4 - 1) + "AA==" + "AAAA",
        "AAAA" * 9000 + "-_-_",
        "\u00e9" * 4,
        "\u00e9" * 40_000,
        ENCODED[:-1],
        "data:image/png;base64",
    ],
)
def test_bad_base64_names_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="'image'"):
        decode(parse(json.dumps({"image": text}, ensure_ascii=False))["image"])


@pytest.mark.parametrize("value", [5, None, ["AAAA"], {"data": "AAAA"}, True])
def test_a_file_that_is_not_a_string_names_its_field(value: object) -> None:
    with pytest.raises(InvalidRequest, match="'image' must be"):
        decode(value)


@pytest.mark.parametrize("text", ["", "  ", "data:image/png;base64,"])
def test_an_empty_file_names_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="'image' is empty"):
        decode(text)


def test_a_data_url_without_base64_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="data URL with base64"):
        decode("data:text/plain,hello")


def test_the_limit_counts_decoded_bytes() -> None:
    assert decode(ENCODED, len(FILE)) == FILE
    with pytest.raises(FileTooLarge, match="maximum allowed size of 1 MB"):
        decode(parse(json.dumps({"image": ENCODED}))["image"], MEGABYTE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"a": }',
        b'{"a": "no end',
        b'{"a": "no end' + b"x" * 100_000,
        b'{"a": 1} {"b": 2}',
        b"[1, 2]",
        b'"text"',
        b"5",
        b"null",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff\xfe"}',
        '{"a": "\u00e9"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"1" * 10_000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"a": ["\\ud800"]}',
        b'{"\\udc00": 1}',
        b'{"a": "' + b'\\"' * 100_000 + b'"}',
        b'{"a": "' + b"\\\\" * 100_000 + b'"}',
        b'{"a": ' + b" " * (MAX_SKELETON_BYTES + 1) + b"1}",
        b"[" + b'"",' * MAX_SKELETON_BYTES + b"]",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_anything_but_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body)


def test_text_up_to_the_limit_stays_text() -> None:
    assert parse(json.dumps({"prompt": "x" * (MAX_TEXT_BYTES - 1)}))["prompt"] == "x" * (MAX_TEXT_BYTES - 1)


def test_other_threads_run_while_a_large_body_is_parsed() -> None:
    """So health responds while a batch is being parsed.

    If a body were parsed in one step, the longest wait would be about half of the total time. Other programs also cause
    waits, so one good run of five suffices.
    """
    body = bytearray(b'{"image": "' + base64.b64encode(bytes(40 * MEGABYTE)) + b'"}')

    def longest_wait() -> float:
        worker = threading.Thread(target=lambda: decode(parse_json(body)["image"]))
        longest_s = 0.0
        start = last = time.monotonic()
        worker.start()
        is_alive = True
        while is_alive:
            time.sleep(0.001)
            is_alive = worker.is_alive()
            now = time.monotonic()
            longest_s, last = max(longest_s, now - last), now
        return longest_s / (last - start)

    assert any(longest_wait() < 0.3 for _ in range(5))
