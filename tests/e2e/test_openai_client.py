"""OpenAI's own Python client on a running server."""

import re
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI

from samples.running_server import RunningServer
from tests.data.contents import SENTENCE
from tests.e2e.client import DATA, data_url, replica_of
from tests.e2e.test_faults import wait_until
from tests.e2e.test_limits import cpu_seconds_in

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60)


def question(text: str) -> list[dict[str, object]]:
    picture = {"type": "image_url", "image_url": {"url": data_url(DATA / "picture.jpg")}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, picture]}]


def test_the_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["moondream-mini", "whisper-mini", "all-MiniLM-L6-v2"]
    assert client.models.retrieve("whisper-1").id == "whisper-mini"


def test_a_question_about_a_picture_in_parts_and_as_a_whole(client: OpenAI) -> None:
    # Nobody else asks this, so that the answer is not in a cache.
    messages: Any = question("Please describe everything that you see in this picture.")
    with client.chat.completions.create(
        model="moondream2", messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = list(stream)
    assert len(chunks) > 2
    whole = client.chat.completions.create(model="moondream2", messages=messages)
    assert whole.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"
    with client.chat.completions.stream(model="moondream2", messages=messages) as helped:
        assert helped.get_final_completion().choices[0].message.content == whole.choices[0].message.content
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > whole.usage.completion_tokens > 0
    assert last.usage == whole.usage


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "calls no tools"),
        ({"n": 2}, "always gives the same answer"),
        ({"messages": [{"role": "user", "content": "Hello"}]}, "about a picture"),
        ({"response_format": {"type": "json_object"}}, "plain text only"),
    ],
)
def test_what_the_model_cannot_do_is_a_bad_request(client: OpenAI, parameters: dict[str, object], message: str) -> None:
    body = {"model": "moondream2", "messages": question("What is it?"), **parameters}
    with pytest.raises(openai.BadRequestError, match=message) as error:
        client.chat.completions.create(**body)  # type: ignore[call-overload]
    assert error.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.embeddings.create(model="gpt-5", input="a")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_a_recording_in_each_form(client: OpenAI) -> None:
    path = DATA / "speech.mp3"
    create = client.audio.transcriptions.create
    plain = create(model="whisper-1", file=path)
    assert plain.text == SENTENCE
    assert plain.usage is not None
    assert create(model="whisper-1", file=path, response_format="text").strip() == SENTENCE
    srt = create(model="whisper-1", file=path, response_format="srt", language="en", temperature=0)
    assert re.match(r"1\n00:00:0\d,\d{3} --> ", srt)
    assert create(model="whisper-1", file=path, response_format="vtt").startswith("WEBVTT\n")
    verbose = create(
        model="whisper-1", file=path, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert (verbose.text, verbose.language) == (SENTENCE, "english")
    assert verbose.words is not None
    assert " ".join(word.word for word in verbose.words) == SENTENCE
    assert verbose.segments is not None
    [segment] = verbose.segments
    assert segment.tokens
    assert segment.avg_logprob < 0
    assert 0 <= segment.no_speech_prob < 0.5
    assert segment.temperature == 0
    assert 0 <= segment.seek <= segment.start * 100


def test_a_transcript_in_parts(client: OpenAI) -> None:
    with client.audio.transcriptions.create(model="whisper-1", file=DATA / "speech.mp3", stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == SENTENCE
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == SENTENCE


def test_a_translation(client: OpenAI) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):  # by the client: OpenAI itself will end this route
        assert client.audio.translations.create(model="whisper-1", file=DATA / "speech.mp3").text


def test_a_file_that_is_no_recording(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="looks like a JPG image"):
        client.audio.transcriptions.create(model="whisper-1", file=DATA / "picture.jpg")


def test_vectors_of_texts(client: OpenAI) -> None:
    texts = ["A dog sleeps on a sofa.", "An animal rests on the couch.", "The budget for travel."]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)
    vectors = np.array([item.embedding for item in answer.data])
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.2
    assert answer.usage.prompt_tokens > 15
    alone = client.embeddings.create(model="text-embedding-3-small", input=texts[0], encoding_format="float")
    assert np.allclose(alone.data[0].embedding, vectors[0], atol=1e-5)


def test_a_client_that_closes_a_stream_ends_the_work(talkative: RunningServer) -> None:
    captioner = replica_of(talkative.pid, "Captioner")
    messages: Any = question("Tell me a story about it.")
    client = OpenAI(base_url=f"{talkative.url}/v1", api_key="none", timeout=60)
    with client.chat.completions.create(
        model="moondream2", messages=messages, max_completion_tokens=1024, stream=True
    ) as stream:
        assert next(iter(stream)).choices[0].delta.content
    wait_until(lambda: cpu_seconds_in(captioner, 1) < 0.3, 10)
