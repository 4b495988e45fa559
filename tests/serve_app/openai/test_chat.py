import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.captioner.types import Caption, CaptionTask, ImageCaption
from deployments.media import Media
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.openai.requests import chat, error_of

CHAT = "/v1/chat/completions"


def question_of(graph: FakeGraph) -> CaptionTask:
    [(_, task)] = graph.captioner.calls
    return task  # type: ignore[no-any-return]


def test_an_answer_has_the_form_of_a_chat_completion(client: TestClient, graph: FakeGraph, png_base64: str) -> None:
    response = client.post(CHAT, json=chat(png_base64))
    assert response.status_code == 200, response.text
    body = response.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert abs(body.pop("created") - time.time()) < 60
    assert body == {
        "object": "chat.completion",
        "model": "moondream2",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a picture", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 733, "completion_tokens": 2, "total_tokens": 735},
    }
    assert question_of(graph) == CaptionTask(200, question="What is it?")


def test_a_picture_without_text_is_described(client: TestClient, graph: FakeGraph, png_base64: str) -> None:
    assert client.post(CHAT, json=chat(png_base64, question=None)).status_code == 200
    assert question_of(graph).question is None


def test_the_last_message_is_the_question_about_a_picture_of_an_earlier_one(
    client: TestClient, graph: FakeGraph, png_base64: str
) -> None:
    body = chat(png_base64, "What is it?")
    body["messages"] += [{"role": "assistant", "content": "A dog."}, {"role": "user", "content": "What colour is it?"}]
    assert client.post(CHAT, json=body).status_code == 200
    assert question_of(graph).question == "What colour is it?"


@pytest.mark.parametrize(
    ("parameters", "max_length"),
    [
        ({}, 200),
        ({"max_tokens": 20}, 20),
        ({"max_completion_tokens": 20}, 20),
        ({"max_completion_tokens": 20, "max_tokens": 30}, 20),
        ({"max_completion_tokens": 100_000}, 1024),
        ({"max_tokens": None}, 200),
    ],
)
def test_the_answer_is_limited(
    client: TestClient, graph: FakeGraph, png_base64: str, parameters: dict[str, Any], max_length: int
) -> None:
    assert client.post(CHAT, json=chat(png_base64, **parameters)).status_code == 200
    assert question_of(graph).max_new_tokens == max_length


def test_what_does_not_change_the_answer_is_accepted(client: TestClient, png_base64: str) -> None:
    harmless = {
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 1,
        "user": "me",
        "metadata": {"a": "b"},
        "n": 1,
        "stop": None,
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "logprobs": False,
        "presence_penalty": 0,
        "modalities": ["text"],
        "store": False,
    }
    assert client.post(CHAT, json=chat(png_base64, **harmless)).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a"}}),
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("presence_penalty", 0.5),
        ("stop", "\n"),
        ("stop", ["a", "b"]),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("store", True),
        ("temperature", 3),
        ("max_tokens", 0),
        ("max_tokens", "20"),
        ("stream", "yes"),
        ("stream_options", {"include_usage": 1}),
        ("stream_options", []),
        ("messages", []),
        ("messages", "What is it?"),
        ("messages", None),
        ("no_such_parameter", 1),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(
    client: TestClient, graph: FakeGraph, png_base64: str, name: str, value: Any
) -> None:
    error = error_of(client.post(CHAT, json=chat(png_base64) | {name: value}), 400)
    assert (error["param"] or "").startswith(name)
    assert graph.captioner.calls == []


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "What is it?"}


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ([TEXT], "send one as a part"),
        ("What is it?", "send one as a part"),
        ([TEXT, IMAGE, IMAGE], "the messages have 2"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}], "must be a data URI"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "must be a data URI"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "AAAA"}}], "must be a data URI"),
        ([TEXT, {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}], "must be an object"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}], "base64"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}}], "not valid base64"),
        ([TEXT, {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}], "is empty"),
        ([TEXT, {"type": "image_url", "image_url": {"url": 1}}], "must be an object"),
        ([TEXT, {"type": "image_url", "image_url": {**IMAGE["image_url"], "detail": "x"}}], "detail"),  # type: ignore[dict-item]
        ([TEXT, {"type": "image_url"}], "must be an object"),
        ([TEXT, IMAGE, {"type": "input_audio", "input_audio": {}}], "/v1/audio/transcriptions"),
        ([TEXT, IMAGE, {"type": "file", "file": {}}], "/upload"),
        ([TEXT, IMAGE, {"type": "video"}], "must be 'text' or 'image_url'"),
        ([TEXT, IMAGE, {"type": ["text"]}], "must be 'text' or 'image_url'"),
        ([TEXT, IMAGE, "text"], "must be 'text' or 'image_url'"),
        ([IMAGE, {"type": "text", "text": 1}], "must be text"),
        ([IMAGE, {"type": "text"}], "must be text"),
        ([IMAGE, {"type": "text", "text": "a" * 40_000}], "too long"),
        ([], "must be text, or a list of parts"),
        (None, "must be text, or a list of parts"),
        ({"a": 1}, "must be text, or a list of parts"),
    ],
)
def test_a_message_that_cannot_be_answered_is_refused_with_what_to_do(
    client: TestClient, graph: FakeGraph, content: Any, advice: str
) -> None:
    body = {"model": "moondream2", "messages": [{"role": "user", "content": content}]}
    error = error_of(client.post(CHAT, json=body), 400)
    assert advice in error["message"]
    assert graph.captioner.calls == []


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ({"role": "system", "content": "Be brief."}, "follows no system messages"),
        ({"role": "developer", "content": "Be brief."}, "follows no developer messages"),
        ({"role": "tool", "content": "1"}, "must be 'user' or 'assistant'"),
        ({"role": "assistant", "content": [IMAGE]}, "must be in a message of the user"),
        ({"role": {"a": 1}, "content": ""}, "must be 'user' or 'assistant'"),
        ({"content": "a"}, "must be 'user' or 'assistant'"),
        ("Be brief.", "must be 'user' or 'assistant'"),
        (None, "must be 'user' or 'assistant'"),
        ([[[]]], "must be 'user' or 'assistant'"),
    ],
)
def test_messages_of_others_are_refused(client: TestClient, png_base64: str, message: Any, advice: str) -> None:
    body = chat(png_base64)
    body["messages"].insert(0, message)
    assert advice in error_of(client.post(CHAT, json=body), 400)["message"]


def test_the_last_message_must_be_a_question(client: TestClient, png_base64: str) -> None:
    body = chat(png_base64)
    body["messages"].append({"role": "assistant", "content": "A dog."})
    assert "must be the user's" in error_of(client.post(CHAT, json=body), 400)["message"]


def test_a_picture_that_is_none_is_refused(client: TestClient) -> None:
    assert error_of(client.post(CHAT, json=chat("aGVsbG8=")), 400)["code"] == "invalid_file_type"


def test_the_picture_is_freed_before_it_is_looked_at(
    client: TestClient, graph: FakeGraph, png_base64: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = []

    async def caption_image(media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption:
        alive.extend(upload() is not None for upload in graph.uploads)
        return ImageCaption(Caption("a picture", "stop", num_tokens=2), 64, 48, 733)

    monkeypatch.setattr(graph.captioner, "caption_image", caption_image)
    assert client.post(CHAT, json=chat(png_base64)).status_code == 200
    assert alive == [False]
    assert len(graph.freed) == 1
