import asyncio
import base64
import logging
import re
import tempfile
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.units import MEGABYTE
from serve_app.uploads import MAX_PREAMBLE_BYTES
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MP4, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph

IMAGE = "/api/analyze/image"
FORM = "multipart/form-data; boundary=cut"


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form; each part is given by its Content-Disposition after `form-data; `, and its content."""
    lines = [b"--cut\r\nContent-Disposition: form-data; " + d.encode() + b"\r\n\r\n" + c + b"\r\n" for d, c in parts]
    return b"".join(lines) + b"--cut--\r\n"


def post_form(client: TestClient, body: bytes, content_type: str = FORM) -> Any:
    return client.post(IMAGE, content=body, headers={"Content-Type": content_type})


def refusal(response: Any, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == code
    return str(response.json()["error"]["message"])


def test_a_file_arrives_unchanged_however_it_is_sent(
    client: TestClient, graph: FakeGraph, png: bytes, png_base64: str
) -> None:
    client.post(IMAGE, files={"image": png})
    client.post(IMAGE, files={"image": ("C:\\..\\..\\etc/passwd.txt", png, "text/plain")})
    client.post(IMAGE, json={"image": png_base64})
    client.post(IMAGE, json={"image": "data:text/plain;base64," + png_base64})
    post_form(client, form(("name=image; filename*=utf-8''%e2%82%ac.png", png)))
    assert [media for media, _ in graph.captioner.calls] == [png] * 5


def test_a_boundary_across_chunks_is_found(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    body = form(('name="image"; filename="a.png"', png), ('name="prompt"', "caf\u00e9?".encode()))
    exchange = Exchange(IMAGE, {"Content-Type": FORM}, [body[i : i + 1] for i in range(len(body))])
    asyncio.run(exchange.run(make_api()))
    assert exchange.status == 200
    [(media, task)] = graph.captioner.calls
    assert media == png
    assert task.question == "caf\u00e9?"


@pytest.mark.parametrize(
    "preamble",
    [
        b"\r\n",
        b"\r\n\r\n",
        b"This is a message in several parts.\r\n",
        b"-- a line with dashes\r\n--cutlery\r\n--cu\r\n",
        b"a word --cut\r\n\r\n",
        b"x" * (MAX_PREAMBLE_BYTES - 1000) + b"\r\n",
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 10, 10**6])
def test_what_comes_before_the_first_boundary_is_skipped(
    make_api: MakeApi, graph: FakeGraph, png: bytes, preamble: bytes, chunk_bytes: int
) -> None:
    body = preamble + form(('name="image"; filename="a.png"', png)).replace(b"--cut\r", b"--cut \t\r", 1)
    if len(body) > 10_000:
        chunk_bytes *= 1000
    chunks = [body[i : i + chunk_bytes] for i in range(0, len(body), chunk_bytes)]
    exchange = Exchange(IMAGE, {"Content-Type": FORM}, chunks)
    asyncio.run(exchange.run(make_api()))
    assert exchange.status == 200
    assert [media for media, _ in graph.captioner.calls] == [png]


@pytest.mark.parametrize("body", [b"x" * 1000, b"x" * 200_000, b"--cu", b"a line\r\n--cutlery\r\n"])
def test_a_body_without_its_boundary_is_no_form(client: TestClient, body: bytes) -> None:
    assert "not valid multipart/form-data" in refusal(post_form(client, body), 400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "Field 'image' is missing"),
        ([('name="prompt"', b"hi")], "Field 'image' is missing.*curl -F image=@FILE"),
        ([('name="image"; filename=""', b"")], "'image' is empty"),
        ([('name="image"', b"text")], "'image' must be a file"),
        ([('name="file"; filename="a.png"', b"x")], "must be in field 'image', not 'file'"),
        ([('name="prompt"; filename="a.txt"', b"x")], "must be in field 'image', not 'prompt'"),
        ([('name="image"; filename="a"', b"x"), ('name="image"; filename="b"', b"y")], "'image' is given twice"),
        ([('name="prompt"', b"x"), ('name="prompt"', b"x")], "'prompt' is given twice"),
        ([('name="image"; filename="a"', b"x"), ('name="a[]"', b"x"), ('name="a[]"', b"y")], "Unknown option 'a"),
        ([('name="prompt"', b"\xff\xfe")], "'prompt' is not UTF-8"),
        ([('name="\xff"', b"x")], "is not UTF-8|Unknown option|missing"),
        ([("filename=a", b"x")], "must be in field 'image', not ''"),
        ([('name="prompt"', b"x" * 40_000)], "'prompt' is longer than 32768 bytes"),
        ([(f'name="f{number}"', b"x") for number in range(30)], "more than 20 fields"),
        ([('name="image"; filename="a"', b"x"), ('name="options"', b"{")], "not valid JSON"),
        ([('name="image"; filename="a"', b"x"), ('name="options"', b"[]")], "must be an object"),
        ([('name="image"; filename="a"', b"x"), ('name="colour"', b"red")], "Unknown option 'colour'"),
    ],
)
def test_the_error_for_a_wrong_form_says_what_to_send(
    client: TestClient, parts: list[tuple[str, bytes]], words: str
) -> None:
    message = refusal(post_form(client, form(*parts)), 400, "INVALID_REQUEST")
    assert re.search(words, message), message


@pytest.mark.parametrize("length", [0, 3, 20, 60, 90, -4, -6, -8])
def test_a_form_that_is_cut_off_is_refused(client: TestClient, png: bytes, length: int) -> None:
    body = form(('name="image"; filename="a.png"', png))
    refusal(post_form(client, body[:length]), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("num_missing", [4, 30, 60])
def test_a_form_that_is_cut_off_after_its_file_is_refused(client: TestClient, png: bytes, num_missing: int) -> None:
    body = form(('name="image"; filename="a.png"', png), ('name="prompt"', b"What is it?"))
    assert "ends before" in refusal(post_form(client, body[:-num_missing]), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
def test_a_form_without_a_usable_boundary_is_refused(client: TestClient, content_type: str) -> None:
    refusal(post_form(client, b"--x\r\n", content_type), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("content_type", ["", "text/plain", "image/png", "application/x-www-form-urlencoded"])
def test_the_error_for_another_content_type_names_both_that_are_accepted(client: TestClient, content_type: str) -> None:
    message = refusal(post_form(client, b"abc", content_type), 400, "INVALID_REQUEST")
    assert "multipart/form-data" in message
    assert "application/json" in message


@pytest.mark.parametrize(
    "document", [{}, {"image": None}, {"image": 5}, {"image": ""}, {"image": "!"}, {"img": "AAAA"}]
)
def test_a_json_body_without_a_file_names_the_field(client: TestClient, document: Any) -> None:
    assert "'image'" in refusal(client.post(IMAGE, json=document), 400, "INVALID_REQUEST")


LIMITS = {"image_mb": 1, "video_mb": 2, "audio_mb": 3, "batch_body_mb": 1}


@pytest.mark.parametrize(
    ("route", "limit_mb", "start"),
    [("image", 1, b"\x89PNG\r\n\x1a\n"), ("video", 2, MP4), ("audio", 3, WAV)],
    ids=["image", "video", "audio"],
)
@pytest.mark.parametrize("is_json", [False, True])
def test_a_file_may_be_as_large_as_its_limit_and_no_larger(
    make_api: MakeApi, route: str, limit_mb: int, start: bytes, is_json: bool
) -> None:
    client = TestClient(make_api(limits=LIMITS))

    def post(num_bytes: int) -> Any:
        content = start.ljust(num_bytes, b"\x00")
        if is_json:
            return client.post(f"/api/analyze/{route}", json={route: base64.b64encode(content).decode()})
        return client.post(f"/api/analyze/{route}", files={route: content})

    assert post(limit_mb * MEGABYTE).status_code == 200
    assert f"{limit_mb} MB" in refusal(post(limit_mb * MEGABYTE + 1), 413, "FILE_TOO_LARGE")


def test_the_limit_for_all_uploads_wins_where_it_is_smaller(make_api: MakeApi) -> None:
    client = TestClient(make_api(limits={"max_upload_size_mb": 0.5}))
    refusal(client.post("/api/analyze/video", files={"video": MP4.ljust(MEGABYTE)}), 413, "FILE_TOO_LARGE")


@pytest.mark.parametrize(
    ("path", "content_type", "num_bytes"),
    [
        (IMAGE, FORM, 2 * MEGABYTE + 1),
        (IMAGE, "application/json", MEGABYTE * 4 // 3 + MEGABYTE + 1),
        ("/api/analyze/batch", "application/json", MEGABYTE + 1),
    ],
)
def test_a_declared_length_over_the_limit_is_refused_unread(
    make_api: MakeApi, path: str, content_type: str, num_bytes: int
) -> None:
    exchange = Exchange(path, {"Content-Type": content_type, "Content-Length": str(num_bytes)}, [b"x" * 1000])
    asyncio.run(exchange.run(make_api(limits=LIMITS)))
    assert exchange.status == 413
    assert exchange.num_read == 0


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit(make_api: MakeApi, content_type: str) -> None:
    start = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks = [start if content_type == FORM else b'{"image": "', *[b"A" * MEGABYTE] * 50]
    exchange = Exchange(IMAGE, {"Content-Type": content_type}, chunks, is_complete=False)
    asyncio.run(exchange.run(make_api(limits=LIMITS)))
    assert exchange.status == 413
    assert exchange.num_read < 6


def test_an_upload_that_stalls_ends_at_the_deadline_and_says_how_much_came(make_api: MakeApi) -> None:
    exchange = Exchange(IMAGE, {"Content-Type": FORM}, [b"--cut\r\n", b""], is_complete=False)
    started = time.monotonic()
    asyncio.run(exchange.run(make_api(serving={"request_timeout_s": 0.1})))
    assert time.monotonic() - started < 2
    assert exchange.status == 504
    assert "0.0 MB of the upload had arrived" in exchange.body["error"]["message"]


def test_a_client_that_leaves_during_the_upload_ends_quietly(
    make_api: MakeApi, graph: FakeGraph, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_api(serving={"max_concurrent_requests": 1, "max_queued_requests": 0})
    for _ in range(2):
        exchange = Exchange(IMAGE, {"Content-Type": FORM}, [b"--cut\r\n"], is_complete=False, disconnects=True)
        asyncio.run(exchange.run(api))
        assert exchange.status == 499
    assert not [record for record in caplog.records if record.levelno > logging.INFO]  # each request has a line
    assert not graph.captioner.calls


def test_one_large_body_too_many_is_refused_unread(make_api: MakeApi) -> None:
    async def scenario() -> None:
        api = make_api(serving={"max_large_uploads": 1})
        large = {"Content-Type": FORM, "Content-Length": str(50 * MEGABYTE)}
        first = Exchange("/api/analyze/video", large, [b"--cut\r\n"], is_complete=False)
        task = asyncio.create_task(first.run(api))
        await first.has_read(1)
        second = Exchange("/api/analyze/video", large, [b"--cut\r\n"])
        await second.run(api)
        assert second.status == 503
        assert second.body["error"]["code"] == "SERVER_BUSY"
        assert second.num_read == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_a_chunked_body_counts_as_large_once_it_is(make_api: MakeApi) -> None:
    async def scenario() -> None:
        api = make_api(serving={"max_large_uploads": 1}, limits={"image_mb": 0.1})
        chunks = [b"x" * MEGABYTE, b"x" * MEGABYTE]
        first = Exchange("/api/analyze/video", {"Content-Type": "application/json"}, chunks, is_complete=False)
        task = asyncio.create_task(first.run(api))
        await first.has_read(2)
        second = Exchange("/api/analyze/video", {"Content-Type": "application/json"}, chunks * 20)
        await second.run(api)
        assert second.status == 503
        assert second.num_read == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_slow_senders_keep_nobody_from_being_served(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    """Eighteen used to take all places of the queue, until their deadline."""

    async def scenario() -> None:
        api = make_api()
        slow = [Exchange(IMAGE, {"Content-Type": FORM}, [b"--cut\r\n"], is_complete=False) for _ in range(40)]
        tasks = [asyncio.create_task(exchange.run(api)) for exchange in slow]
        for exchange in slow:
            await exchange.has_read(1)
        good = Exchange(IMAGE, {"Content-Type": FORM}, [form(('name="image"; filename="a.png"', png))])
        await asyncio.wait_for(good.run(api), 5)
        assert good.status == 200
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_slow_sender_is_told_that_another_took_its_place(
    make_api: MakeApi, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.admission.SLOW_AFTER_S", 0.05)

    async def scenario() -> None:
        api = make_api(serving={"max_uploads": 1})
        slow = Exchange(IMAGE, {"Content-Type": FORM}, [b"--cut\r\n"], is_complete=False)
        task = asyncio.create_task(slow.run(api))
        await slow.has_read(1)
        await asyncio.sleep(0.1)
        good = Exchange(IMAGE, {"Content-Type": FORM}, [form(('name="image"; filename="a.png"', png))])
        await asyncio.wait_for(good.run(api), 5)
        await asyncio.wait_for(task, 5)
        assert good.status == 200
        assert slow.status == 503
        assert "too slow" in slow.body["error"]["message"]

    asyncio.run(scenario())


def test_a_queue_that_fills_during_an_upload_refuses_it(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 5

    async def scenario() -> None:
        api = make_api(serving={"max_concurrent_requests": 1, "max_queued_requests": 0})
        body = form(('name="image"; filename="a.png"', png))
        both = [Exchange(IMAGE, {"Content-Type": FORM}, [body[:9], body[9:]]) for _ in range(2)]
        tasks = [asyncio.create_task(exchange.run(api)) for exchange in both]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        [refused] = [exchange for exchange in both if exchange.messages]
        assert refused.status == 503
        assert "queue is full" in refused.body["error"]["message"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_nothing_is_written_to_disk(
    client: TestClient, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    assert client.post("/api/analyze/video", files={"video": MP4.ljust(20 * MEGABYTE)}).status_code == 200
