import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded, FileTooLarge, InvalidFile, ModelLoading, ModelNotLoaded
from deployments.media import Media, as_media
from deployments.model_loader import ModelStatus
from deployments.project import project_folder
from deployments.sandbox import Sandbox
from deployments.settings import WeightsConfig
from deployments.transcriber.audio import Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.deployment import TranscriberDeployment
from deployments.transcriber.engine import load_engine
from deployments.transcriber.settings import TranscriberConfig
from deployments.transcriber.speakers.campplus import CamPlusPlus
from deployments.transcriber.speakers.settings import SpeakersConfig
from deployments.transcriber.types import TranscribeTask, Transcript
from tests.deployments.transcriber.conftest import Loaded
from tests.deployments.transcriber.random_campplus import SIZES, write_campplus
from tests.deployments.transcriber.sounds import SoundTrack, encode_tracks, encode_video, noise, tone, wav

Start = Callable[..., TranscriberDeployment]

SPEECH = as_media((project_folder() / "tests" / "data" / "speech.wav").read_bytes())


@pytest.fixture
def start(loaded: Loaded, tmp_path: Path) -> Start:
    """Return a function that makes the replica's object, without Ray."""

    def start(
        *,
        lazy: bool = True,
        model: Path = loaded.path,
        max_duration_s: float = 7200,
        speech_detection: bool = False,
        speakers: str = "campplus",
    ) -> TranscriberDeployment:
        config = TranscriberConfig(
            model=str(model),
            precision="fp32",
            threads=1,
            max_duration_s=max_duration_s,
            speech_detection=speech_detection,
        )
        weights = WeightsConfig(cache_dir=tmp_path)
        return TranscriberDeployment(config, SpeakersConfig(model=speakers), weights, lazy=lazy)

    return start


def in_a_minute() -> float:
    return time.time() + 60


def test_a_recording_is_decoded_and_transcribed_by_the_engine(start: Start, loaded: Loaded) -> None:
    sound = tone()
    transcript = asyncio.run(start().transcribe(wav(sound), TranscribeTask("de"), deadline=in_a_minute()))
    decoded = decode_audio(wav(sound), Cancellation(in_a_minute()), 100)
    engine = load_engine(loaded.path, "fp32", speech_detection=False, beam_size=TranscriberConfig().beam_size)
    alone = engine.transcribe(decoded.waveform, TranscribeTask("de"), Cancellation(in_a_minute()))
    assert transcript == replace(alone, tracks=decoded.tracks, track=1)


def test_the_status_describes_the_model(start: Start, loaded: Loaded) -> None:
    async def load_and_ask() -> tuple[ModelStatus, ModelStatus]:
        replica = start()
        before = await replica.status()
        with pytest.raises(InvalidFile):
            await replica.transcribe(encode_video(None), TranscribeTask(), deadline=in_a_minute())
        return before, await replica.status()

    before, after = asyncio.run(load_and_ask())
    parameters = sum(weight.numel() for weight in loaded.reference.parameters())
    assert (before.name, before.state, before.is_miniature) == ("random-0", "not_loaded", False)
    assert (after.state, after.revision, after.threads) == ("loaded", None, 1)
    assert after.weight_bytes == 4 * parameters


def test_an_eager_replica_loads_in_the_background(start: Start) -> None:
    async def ask_at_once_and_later() -> None:
        replica = start(lazy=False)
        with pytest.raises(ModelLoading):
            await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())
        while (await replica.status()).state == "loading":
            await asyncio.sleep(0.05)
        assert (await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())).text

    asyncio.run(ask_at_once_and_later())


def test_speakers_are_told_apart_when_asked_for(start: Start, tmp_path: Path) -> None:
    async def ask() -> tuple[Transcript, Transcript, ModelStatus, ModelStatus]:
        replica = start(speakers=str(write_campplus(tmp_path / "voices.pt")))
        without = await replica.transcribe(SPEECH, TranscribeTask("en", True), deadline=in_a_minute())
        before = await replica.status()
        task = TranscribeTask("en", word_timestamps=True, speakers=True, num_speakers=1)
        return without, await replica.transcribe(SPEECH, task, deadline=in_a_minute()), before, (await replica.status())

    without, transcript, before, after = asyncio.run(ask())
    assert {segment.speaker for segment in without.segments} == {None}
    assert {segment.speaker for segment in transcript.segments} == {"S1"}
    assert {word.speaker for segment in transcript.segments for word in segment.words} == {"S1"}
    assert transcript.text == without.text
    assert [(other.name, other.state, other.is_lazy) for other in before.others] == [("voices", "not_loaded", True)]
    [loaded] = after.others
    assert (loaded.state, loaded.revision) == ("loaded", None)
    assert loaded.weight_bytes == 4 * sum(weight.numel() for weight in CamPlusPlus(SIZES).parameters())


def test_without_the_weights_of_voices_only_requests_for_speakers_are_refused(start: Start, tmp_path: Path) -> None:
    async def ask() -> ModelStatus:
        replica = start(speakers=str(tmp_path / "absent.pt"))
        with pytest.raises(ModelNotLoaded, match=r"absent could not be loaded.*absent\.pt does not exist"):
            await replica.transcribe(wav(tone()), TranscribeTask(speakers=True), deadline=in_a_minute())
        assert (await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())).text
        return await replica.status()

    status = asyncio.run(ask())
    assert status.state == "loaded"
    assert status.others[0].state == "failed"


def test_the_audio_track_of_a_video_is_transcribed(start: Start) -> None:
    assert asyncio.run(start().transcribe(encode_video(noise(2)), TranscribeTask(), deadline=in_a_minute())).text


@pytest.mark.parametrize("make", [wav, partial(encode_video, container_options={"movflags": "faststart"})])
def test_a_truncated_file_is_transcribed_up_to_its_end_with_a_warning(
    start: Start, make: Callable[[Waveform], Media]
) -> None:
    media = make(noise(6))
    transcript = asyncio.run(start().transcribe(media[: len(media) * 2 // 3], TranscribeTask(), deadline=in_a_minute()))
    assert transcript.text
    warning = transcript.warnings[-1]
    assert re.fullmatch(
        rf"The file breaks off: its sound ends after {transcript.duration_s:.1f} of 6\.0 seconds\.", warning
    )


def test_speech_detection_prevents_text_for_noise(start: Start) -> None:
    sound = wav(noise(2))
    assert asyncio.run(start(speech_detection=False).transcribe(sound, TranscribeTask(), deadline=in_a_minute())).text
    transcript = asyncio.run(start(speech_detection=True).transcribe(sound, TranscribeTask(), deadline=in_a_minute()))
    assert replace(transcript, tracks=[], track=None) == Transcript("", "und", 0.0, [], 2.0)


def test_a_video_without_an_audio_track_is_an_invalid_file(start: Start) -> None:
    with pytest.raises(InvalidFile, match="no audio track"):
        asyncio.run(start().transcribe(encode_video(None), TranscribeTask(), deadline=in_a_minute()))


def test_audio_over_the_configured_duration_is_refused(start: Start) -> None:
    with pytest.raises(FileTooLarge, match="longer than 1 seconds"):
        asyncio.run(start(max_duration_s=1).transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute()))


def test_a_missing_checkpoint_leaves_the_replica_alive(start: Start, tmp_path: Path) -> None:
    async def ask() -> ModelStatus:
        replica = start(model=tmp_path / "absent.pt")
        with pytest.raises(ModelNotLoaded, match=r"absent\.pt"):
            await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())
        return await replica.status()

    assert asyncio.run(ask()).state == "failed"


def test_two_calls_run_at_once_and_a_late_one_stops(start: Start) -> None:
    async def ask() -> tuple[Transcript | BaseException, Transcript | BaseException]:
        replica = start()
        await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())
        return await asyncio.gather(
            replica.transcribe(wav(noise(300)), TranscribeTask(), deadline=time.time() + 1),
            replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute()),
            return_exceptions=True,
        )

    late, on_time = asyncio.run(ask())
    assert isinstance(late, DeadlineExceeded)
    assert re.fullmatch(r"\d+ (of 300 )?seconds of audio were (transcribed|decoded, none transcribed yet)", str(late))
    assert isinstance(on_time, Transcript)


def test_times_are_those_of_the_containers_clock(start: Start) -> None:
    late = encode_tracks(SoundTrack(noise(2), start_s=4.0), num_pictures=80)
    replica = start()
    task = TranscribeTask(word_timestamps=True)
    at_once = asyncio.run(replica.transcribe(encode_tracks(SoundTrack(noise(2))), task, deadline=in_a_minute()))
    transcript = asyncio.run(replica.transcribe(late, task, deadline=in_a_minute()))
    assert at_once.duration_s == pytest.approx(2, abs=0.1)
    assert transcript.duration_s == pytest.approx(6, abs=0.1)
    assert transcript.segments
    for segment in transcript.segments:
        assert 3.9 <= segment.start_s <= segment.end_s
        assert all(segment.start_s <= word.start_s <= word.end_s <= segment.end_s for word in segment.words)


def test_a_track_without_a_sample_has_an_empty_transcript(start: Start) -> None:
    empty = encode_tracks(SoundTrack(noise(0)), container="matroska", num_pictures=20)
    transcript = asyncio.run(start(speech_detection=True).transcribe(empty, TranscribeTask(), deadline=in_a_minute()))
    assert replace(transcript, tracks=[], track=None) == Transcript("", "und", 0.0, [], 0.0)


def test_a_decoder_that_hangs_costs_its_own_call_only(start: Start) -> None:
    async def ask() -> float:
        replica = start()
        await replica.transcribe(wav(tone()), TranscribeTask(), deadline=in_a_minute())
        replica._sandbox.close()
        replica._sandbox = Sandbox("tests.deployments.transcriber.endless_decoder", 2**28)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await replica.transcribe(wav(tone()), TranscribeTask(), deadline=time.time() + 0.3)
        replica._sandbox.close()
        return time.monotonic() - started

    assert asyncio.run(ask()) < 3


def test_work_that_hangs_is_named_in_health(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = start()
    replica.check_health()
    assert asyncio.run(replica.overdue_detail()) == ""
    monkeypatch.setattr(replica._threads, "overdue_s", lambda: 31.0)
    assert "31 s after its deadline" in asyncio.run(replica.overdue_detail())
    with pytest.raises(RuntimeError, match="31 s after its deadline"):
        replica.check_health()
