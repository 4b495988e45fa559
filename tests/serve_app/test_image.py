import re

import pytest
from starlette.testclient import TestClient

from deployments.captioner.types import CaptionTask
from tests.serve_app.conftest import WAV, MakeApi, picture
from tests.serve_app.fakes import FakeGraph

IMAGE = "/api/analyze/image"


def test_the_answer_has_exactly_the_documented_shape(client: TestClient, png: bytes) -> None:
    body = client.post(IMAGE, files={"image": png}).json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body.pop("timestamp"))
    assert isinstance(body["metadata"].pop("processing_time_ms"), int)
    assert body == {
        "success": True,
        "type": "image",
        "description": "a picture",
        "metadata": {
            "model": "moondream2",
            "image_size": [640, 480],
            "finish_reason": "stop",
            "reused": "nothing",
            "prompt_tokens": 733,
            "generated_tokens": 2,
        },
    }


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_every_supported_format_is_accepted(client: TestClient, format_name: str) -> None:
    assert client.post(IMAGE, files={"image": picture(format_name)}).status_code == 200


@pytest.mark.parametrize("prompt", [None, "", "Describe this image in detail"])
def test_without_a_custom_prompt_the_image_is_captioned(
    client: TestClient, graph: FakeGraph, png: bytes, prompt: str | None
) -> None:
    client.post(IMAGE, files={"image": png}, data={} if prompt is None else {"prompt": prompt})
    [(_, task)] = graph.captioner.calls
    assert task == CaptionTask(200, "normal", None)


def test_a_custom_prompt_is_asked_as_a_question(client: TestClient, graph: FakeGraph, png: bytes) -> None:
    client.post(IMAGE, files={"image": png}, data={"prompt": "What's in this image?", "options": '{"max_length": 9}'})
    [(_, task)] = graph.captioner.calls
    assert task == CaptionTask(9, "normal", "What's in this image?")


def test_the_answer_names_the_model_that_serves(make_api: MakeApi, png: bytes) -> None:
    client = TestClient(make_api(captioner={"model": "checkpoints/mini-moondream"}))
    assert client.post(IMAGE, files={"image": png}).json()["metadata"]["model"] == "mini-moondream"


def test_another_kind_of_file_is_refused_and_never_reaches_the_model(client: TestClient, graph: FakeGraph) -> None:
    response = client.post(IMAGE, files={"image": ("a.png", WAV, "image/png")})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_FILE_TYPE"
    assert "JPG, PNG, WEBP, BMP, GIF, TIFF, HEIC, AVIF" in response.json()["error"]["message"]
    assert not graph.captioner.calls


def test_a_timeout_says_how_far_it_got_and_what_to_change(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 5
    response = TestClient(make_api(serving={"request_timeout_s": 0.5})).post(IMAGE, files={"image": png})
    assert response.status_code == 504
    assert response.json()["error"] == {
        "code": "TIMEOUT",
        "message": "The request ran out of its 0.5 s: wrote 7 of 200 tokens. Lower max_length, send a smaller image, "
        "or raise REQUEST_TIMEOUT_SECONDS.",
    }
