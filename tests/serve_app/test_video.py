from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.captioner.types import Caption, CaptionTask, FrameFailure
from deployments.errors import DeadlineExceeded, InvalidFile, ModelNotLoaded, ProcessingFailed
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media
from deployments.transcriber.types import TranscriptSegment
from serve_app.modalities.video import FRAMES_PER_CALL
from tests.serve_app.conftest import MP4, MakeApi
from tests.serve_app.fakes import FakeGraph

VIDEO = "/api/analyze/video"


def post(client: TestClient, **options: Any) -> Any:
    return client.post(VIDEO, files={"video": MP4}, data=options).json()


def test_the_answer_has_exactly_the_documented_shape(client: TestClient) -> None:
    body = post(client, num_frames="2")
    assert body.pop("timestamp").endswith("Z")
    assert isinstance(body.pop("processing_time_ms"), int)
    assert body == {
        "success": True,
        "type": "video",
        "metadata": {
            "duration_seconds": 30.5,
            "fps": 30.0,
            "resolution": [1920, 1080],
            "total_frames": 915,
            "reused_frames": 0,
            "model": "moondream2",
        },
        "frames": [
            {"timestamp": 0.0, "frame_number": 0, "description": "frame 0"},
            {"timestamp": 6.1, "frame_number": 183, "description": "frame 1"},
        ],
        "summary": "summary of frame 0, frame 1",
    }


def test_options_reach_the_sampler_and_every_frame(client: TestClient, graph: FakeGraph) -> None:
    post(client, num_frames="3", prompt="Who is there?", options='{"frame_sampling": "keyframes", "max_length": 30}')
    assert [task for _, task in graph.frame_sampler.calls] == [SampleTask(3, "keyframes")]
    assert [task for _, task in graph.captioner.calls] == [CaptionTask(30, "short", "Who is there?")]


def test_without_timestamps_only_the_timestamp_is_left_out(client: TestClient) -> None:
    assert post(client, num_frames="1", include_timestamps="false")["frames"] == [
        {"frame_number": 0, "description": "frame 0"}
    ]


@pytest.mark.parametrize("num_frames", [1, 4, 5, 8, 9, 32])
def test_frames_travel_in_small_groups_one_group_at_a_time_and_keep_their_order(
    client: TestClient, graph: FakeGraph, num_frames: int
) -> None:
    graph.captioner.seconds = 0.01
    body = post(client, num_frames=str(num_frames))
    assert [frame["description"] for frame in body["frames"]] == [f"frame {number}" for number in range(num_frames)]
    groups = [group for group, _ in graph.captioner.calls]
    assert max(map(len, groups)) <= FRAMES_PER_CALL
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert graph.captioner.peak_running == 1  # so that another client can use the captioner's second slot


def test_a_frame_that_fails_fails_alone_and_is_left_out_of_the_summary(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.describe = lambda number: (
        FrameFailure("too dark") if number == 1 else Caption(f"frame {number}", "stop")
    )
    body = post(client, num_frames="3")
    assert body["frames"][1] == {"timestamp": 6.1, "frame_number": 183, "description": "", "error": "too dark"}
    assert body["summary"] == "summary of frame 0, frame 2"


def test_frames_answered_from_an_earlier_request_are_counted(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.describe = lambda number: Caption(f"frame {number}", "stop", "answer" if number else "nothing")
    assert post(client, num_frames="3")["metadata"]["reused_frames"] == 2


def test_all_frames_failing_is_a_fault_of_the_server(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.describe = lambda number: FrameFailure("too dark.")
    error = post(client)["error"]
    assert error["code"] == "PROCESSING_FAILED"
    assert "None of the 5 frames could be described: too dark." in error["message"]


def test_the_summary_can_be_the_joined_descriptions(make_api: MakeApi, graph: FakeGraph) -> None:
    graph.captioner.summary_error = AssertionError("not to be called")
    body = post(TestClient(make_api(serving={"video_summary": "join"})), num_frames="2")
    assert body["summary"] == "frame 0 frame 1"


def test_a_transcript_has_the_shape_of_the_audio_answer(client: TestClient, graph: FakeGraph) -> None:
    transcript = post(client, include_audio="true")["transcript"]
    alone = client.post("/api/analyze/audio", files={"audio": MP4}).json()
    for body in (transcript, alone):
        del body["timestamp"], body["metadata"]["processing_time_ms"]
    assert transcript == alone


def test_a_video_without_sound_has_the_transcript_of_silence(client: TestClient, graph: FakeGraph) -> None:
    graph.frame_sampler.has_audio = False
    transcript = post(client, include_audio="true")["transcript"]
    assert (transcript["transcription"], transcript["segments"], transcript["language"]) == ("", [], "und")
    assert transcript["metadata"]["duration_seconds"] == 30.5
    assert not graph.transcriber.calls


def test_the_sound_is_transcribed_while_frames_are_captioned(client: TestClient, graph: FakeGraph) -> None:
    graph.transcriber.seconds = 0.3
    transcribing: list[int] = []

    def describe(number: int) -> Caption:
        transcribing.append(graph.transcriber.num_running)
        return Caption("", "stop")

    graph.captioner.seconds, graph.captioner.describe = 0.05, describe
    assert post(client, include_audio="true")["success"]
    assert transcribing == [1] * 5


def test_a_failing_transcript_ends_the_captioning(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.seconds = 5
    graph.transcriber.error = ModelNotLoaded("whisper-base is loading.")
    assert post(client, include_audio="true")["error"]["code"] == "MODEL_NOT_LOADED"
    assert graph.captioner.num_cancelled == 1
    assert graph.captioner.num_running == 0


def test_an_undecodable_video_is_answered_invalid_file(client: TestClient, graph: FakeGraph) -> None:
    graph.frame_sampler.error = InvalidFile("The video has no frames.")
    assert post(client)["error"] == {"code": "INVALID_FILE", "message": "The video has no frames."}


def test_a_timeout_says_how_many_frames_were_captioned_and_what_to_change(make_api: MakeApi, graph: FakeGraph) -> None:
    def describe(number: int) -> Caption:
        graph.captioner.seconds = 5 if number >= 15 else 0
        return Caption("", "stop")

    graph.captioner.describe = describe
    body = post(TestClient(make_api(serving={"request_timeout_s": 0.5})), num_frames="32")
    assert body["error"]["code"] == "TIMEOUT"
    assert (
        "captioned 18 of 32 frames. Lower num_frames or max_length, leave out include_audio, send a shorter clip"
        in body["error"]["message"]
    )


def test_a_timeout_while_sampling_says_how_far_that_got(make_api: MakeApi, graph: FakeGraph) -> None:
    graph.frame_sampler.seconds = 5
    body = post(TestClient(make_api(serving={"request_timeout_s": 0.5})))
    assert "decoded 3.0 of 30.5 s" in body["error"]["message"]


def test_a_timeout_of_the_summary_is_a_timeout(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.summary_error = DeadlineExceeded("")
    error = post(client)["error"]
    assert error["code"] == "TIMEOUT"
    assert "captioned all 5 frames, but the summary was not finished" in error["message"]


def test_a_group_that_breaks_the_captioner_costs_only_its_own_frames(client: TestClient, graph: FakeGraph) -> None:
    def describe(number: int) -> Caption:
        if number == 4:
            raise ProcessingFailed("The captioner stopped twice.")
        return Caption(f"frame {number}", "stop")

    graph.captioner.describe = describe
    frames = post(client, num_frames="10")["frames"]
    assert [frame["description"] for frame in frames] == [""] * 5 + [f"frame {number}" for number in range(5, 10)]
    assert {frame.get("error") for frame in frames[:5]} == {"The captioner stopped twice."}


def test_the_video_is_shared_once_and_its_upload_freed_before_it_is_analysed(
    client: TestClient, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[bool] = []
    sample = graph.frame_sampler.sample

    async def look_and_sample(media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        alive.extend(upload() is not None for upload in graph.uploads)
        return await sample(media, task, deadline=deadline)

    monkeypatch.setattr(graph.frame_sampler, "sample", look_and_sample)
    assert post(client, include_audio="true")["success"]
    assert alive == [False]
    assert len(graph.uploads) == 1


def test_subtitles_give_the_transcripts_and_the_descriptions(client: TestClient, graph: FakeGraph) -> None:
    body = post(client, num_frames="2", subtitles="true")
    assert body["transcript"]["subtitles"]["vtt"] == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello\n\n"
    assert body["descriptions_vtt"] == (
        "WEBVTT\n\n00:00:01.500 --> 00:00:02.500\nframe 0\n\n00:00:03.050 --> 00:00:04.050\nframe 1\n\n"
    )
    assert [task for _, task in graph.frame_sampler.calls] == [SampleTask(2, "uniform", find_cuts=True)]


def test_subtitles_and_descriptions_do_not_cross_cuts(client: TestClient, graph: FakeGraph) -> None:
    graph.frame_sampler.cuts_s = [0.75, 4.0]
    body = post(client, num_frames="2", subtitles="true")
    assert "00:00:00.000 --> 00:00:00.750\n" in body["transcript"]["subtitles"]["vtt"]
    assert body["descriptions_vtt"] == "WEBVTT\n\n00:00:04.000 --> 00:00:05.000\nframe 1\n\n"


@pytest.mark.parametrize(
    ("options", "num_speakers"), [({"speakers": "true"}, None), ({"num_speakers": "3"}, 3), ({"include_audio": "1"}, 0)]
)
def test_speakers_of_a_video_are_told_apart_when_asked_for(
    client: TestClient, graph: FakeGraph, options: dict[str, str], num_speakers: int | None
) -> None:
    segment = TranscriptSegment(0.0, 1.5, "Hello.", 0.95, speaker="S1")
    graph.transcriber.transcript = replace(graph.transcriber.transcript, segments=[segment])
    [labelled] = post(client, num_frames="1", **options)["transcript"]["segments"]
    assert labelled["speaker"] == "S1"
    task = graph.transcriber.calls[-1][1]
    assert (task.speakers, task.num_speakers or 0) == (num_speakers != 0, num_speakers or 0)


def test_of_a_silent_video_subtitles_are_empty(client: TestClient, graph: FakeGraph) -> None:
    graph.frame_sampler.has_audio = False
    body = post(client, num_frames="1", subtitles="true")
    assert body["transcript"]["subtitles"] == {"srt": "", "vtt": "WEBVTT\n\n"}
    assert "frame 0" in body["descriptions_vtt"]
