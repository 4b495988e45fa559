import base64
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from deployments.captioner.types import CaptionTask
from deployments.errors import InvalidFile
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Modality
from serve_app.schemas import BatchResult
from tests.serve_app.conftest import MP4, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph

BATCH = "/api/analyze/batch"


@pytest.fixture
def image(png_base64: str) -> dict[str, Any]:
    return {"type": "image", "data": png_base64}


VIDEO = {"type": "video", "data": base64.b64encode(MP4).decode()}
AUDIO = {"type": "audio", "data": "data:audio/wav;base64," + base64.b64encode(WAV).decode()}


def without_times(body: Any) -> Any:
    if isinstance(body, dict):
        times = {"timestamp", "processing_time_ms"} if "frame_number" not in body else set[str]()
        return {name: without_times(value) for name, value in body.items() if name not in times}
    return [without_times(value) for value in body] if isinstance(body, list) else body


def test_the_answer_has_exactly_the_documented_shape(client: TestClient, image: Any) -> None:
    body = client.post(BATCH, json={"files": [image]}).json()
    assert set(body) == {"success", "results", "total_processing_time_ms", "timestamp"}
    assert body["success"] is True
    assert [set(result) for result in body["results"]] == [{"file_index", "result"}]


def test_each_result_is_what_the_single_route_answers(client: TestClient, image: Any) -> None:
    options = {"image": {"prompt": "What?"}, "video": {"num_frames": 2}, "audio": {"word_level_timestamps": True}}
    files = [image | options["image"], VIDEO | options["video"], AUDIO | {"options": options["audio"]}]
    results = client.post(BATCH, json={"files": files, "options": {"parallel": True}}).json()["results"]
    assert [result["file_index"] for result in results] == [0, 1, 2]
    for file, result in zip(files, results, strict=True):
        kind = file["type"]
        single = client.post(f"/api/analyze/{kind}", json={kind: file["data"], **options[kind]}).json()
        assert without_times(result["result"]) == without_times(single)


def test_one_bad_file_does_not_affect_the_others(client: TestClient, graph: FakeGraph, image: Any) -> None:
    graph.transcriber.error = RuntimeError("ours")
    graph.frame_sampler.error = InvalidFile("no frames")
    bad = [
        ({"type": "image"}, "INVALID_REQUEST"),
        ({"type": "image", "data": "!"}, "INVALID_REQUEST"),
        ({"type": "image", "data": image["data"], "num_frames": 5}, "INVALID_REQUEST"),
        ({"type": "image", "data": image["data"], "options": []}, "INVALID_REQUEST"),
        ({"type": "image", "data": AUDIO["data"]}, "INVALID_FILE_TYPE"),
        (VIDEO, "INVALID_FILE"),
        (AUDIO, "PROCESSING_FAILED"),
    ]
    response = client.post(BATCH, json={"files": [image, *(file for file, _ in bad), image]})
    assert response.status_code == 200
    results = [result["result"] for result in response.json()["results"]]
    assert results[0]["success"]
    assert results[-1]["success"]
    assert [result["error"]["code"] for result in results[1:-1]] == [code for _, code in bad]
    assert all(set(result) == {"success", "error", "timestamp"} for result in results[1:-1])


def test_a_file_over_its_limit_fails_alone(make_api: MakeApi, image: Any) -> None:
    client = TestClient(make_api(limits={"audio_mb": 0.001}))
    large = {"type": "audio", "data": base64.b64encode(WAV.ljust(5000)).decode()}
    results = [result["result"] for result in client.post(BATCH, json={"files": [large, image]}).json()["results"]]
    assert results[0]["error"]["code"] == "FILE_TOO_LARGE"
    assert results[1]["success"]


@pytest.mark.parametrize(("parallel", "peak"), [(False, 1), (True, 2)])
def test_files_are_worked_on_one_after_another_or_two_at_once(
    make_api: MakeApi, graph: FakeGraph, image: Any, parallel: bool, peak: int
) -> None:
    graph.captioner.seconds = 0.02
    client = TestClient(make_api(serving={"max_concurrent_requests": 4}))
    files = [{**image, "max_length": number} for number in range(1, 6)]
    assert client.post(BATCH, json={"files": files, "options": {"parallel": parallel}}).status_code == 200
    assert graph.captioner.peak_running == peak
    assert [task for _, task in graph.captioner.calls] == [CaptionTask(number) for number in range(1, 6)]


def test_parallel_files_still_take_turns(make_api: MakeApi, graph: FakeGraph, image: Any) -> None:
    graph.captioner.seconds = 0.01
    client = TestClient(make_api(serving={"max_concurrent_requests": 1}))
    client.post(BATCH, json={"files": [image] * 4, "parallel": True})
    assert graph.captioner.peak_running == 1


def test_at_the_deadline_finished_files_are_answered_and_the_rest_are_timeouts(
    make_api: MakeApi, graph: FakeGraph, image: Any
) -> None:
    graph.captioner.seconds = 5
    files = [AUDIO, AUDIO, image, {"type": "image", "data": "not looked at any more"}]
    response = TestClient(make_api(serving={"request_timeout_s": 0.5})).post(BATCH, json={"files": files})
    assert response.status_code == 200
    results = [result["result"] for result in response.json()["results"]]
    assert [result["success"] for result in results] == [True, True, False, False]
    assert {result["error"]["code"] for result in results[2:]} == {"TIMEOUT"}
    assert "wrote 7 of 200 tokens" in results[2]["error"]["message"]
    assert "waiting for its turn" in results[3]["error"]["message"]
    assert len(graph.captioner.calls) == 1


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "'files' must be"),
        ({"files": []}, "'files' must be"),
        ({"files": {}}, "'files' must be"),
        ({"files": "AAAA"}, "'files' must be"),
        ({"files": [{"type": "image", "data": ""}] * 17}, "17 files; at most 16"),
        ({"files": [{"type": "image", "data": ""}, {"type": "text", "data": ""}]}, "files[1].type must be one of"),
        ({"files": [{"data": ""}]}, "files[0].type"),
        ({"files": [{"type": ["image"], "data": ""}]}, "files[0].type"),
        ({"files": ["AAAA"]}, "files[0] must be an object"),
        ({"files": ["A" * 50_000]}, "files[0] must be an object"),
        ({"files": [{"type": "image"}], "options": {"paralell": True}}, "paralell"),
        ({"files": [{"type": "image"}], "options": {"parallel": "yes"}}, "options.parallel"),
        ({"files": [{"type": "image"}], "language": "en"}, "language"),
    ],
)
def test_a_malformed_envelope_is_refused_as_a_whole(client: TestClient, document: Any, words: str) -> None:
    response = client.post(BATCH, json=document)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"
    assert words in response.json()["error"]["message"]


def test_sixteen_files_are_accepted(client: TestClient, image: Any) -> None:
    assert len(client.post(BATCH, json={"files": [image] * 16}).json()["results"]) == 16


def test_a_form_is_refused(client: TestClient, png: bytes) -> None:
    response = client.post(BATCH, files={"files": png})
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.kind)
def test_a_batch_can_hold_the_answer_of_every_modality(modality: Modality[Any]) -> None:
    accepted = get_args(BatchResult.model_fields["result"].annotation)
    assert modality.analysis_type in accepted
