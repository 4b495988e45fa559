import math
import time
import warnings
from collections.abc import Callable
from importlib.metadata import distribution

import numpy as np
import pytest
import torch

from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.media import as_media
from deployments.project import project_folder
from deployments.transcriber.audio import Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.voice_activity import (
    FRAME_SAMPLES,
    SpeechProbabilities,
    VoiceActivityDetector,
    find_speech,
    speech_gain,
)
from tests.deployments.transcriber.sounds import noise, tone


@pytest.fixture(scope="module")
def detector() -> VoiceActivityDetector:
    return VoiceActivityDetector()


def never_cancel() -> None:
    pass


def clip() -> Waveform:
    """Return 16 s in which five sentences are spoken."""
    return decode_audio(
        as_media((project_folder() / "samples" / "clip.mp4").read_bytes()), Cancellation(math.inf), 60
    ).waveform


def reference_probabilities(waveform: Waveform) -> SpeechProbabilities:
    """Return the probabilities of the package's own model, called frame by frame as the package does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(str(distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")))
    model.reset_states()
    frames = np.pad(waveform, (0, -len(waveform) % FRAME_SAMPLES)).reshape(-1, 1, FRAME_SAMPLES)
    with torch.inference_mode():
        return np.array([model(torch.from_numpy(frame), 16_000).item() for frame in frames], np.float32)


SOUNDS: dict[str, Callable[[], Waveform]] = {
    "speech": clip,
    "speech and noise": lambda: clip()[: 16_000 * 9 + 77] + noise(9 + 77 / 16_000),
    "more than a minute": lambda: np.tile(clip(), 5)[20_000:-100],  # in the middle of a word after a minute
    "a tone": tone,
    "less than a frame": lambda: noise(0.01),
}


@pytest.mark.parametrize("sound", list(SOUNDS))
def test_probabilities_equal_those_of_the_package(detector: VoiceActivityDetector, sound: str) -> None:
    waveform = SOUNDS[sound]()
    expected = reference_probabilities(waveform)
    np.testing.assert_allclose(detector.probabilities(waveform, never_cancel), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seconds", [3, 80])
def test_a_start_that_is_repeated_comes_before_the_recording(detector: VoiceActivityDetector, seconds: int) -> None:
    waveform = np.tile(clip(), 5)[: seconds * 16_000 - 100]
    start = waveform[: 60 * 16_000 // FRAME_SAMPLES * FRAME_SAMPLES]
    start = np.pad(start, (0, -len(start) % FRAME_SAMPLES))
    expected = detector.probabilities(np.concatenate([start, waveform]), never_cancel)[len(start) // FRAME_SAMPLES :]
    repeated = detector.probabilities(waveform, never_cancel, is_start_repeated=True)
    np.testing.assert_allclose(repeated, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("hertz", [50, 60, 100])
def test_a_hum_is_no_speech_for_a_model_that_has_heard_it_before(detector: VoiceActivityDetector, hertz: int) -> None:
    t = np.arange(10 * 16_000) / 16_000
    hum = np.asarray(sum(0.2 * np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 9)), np.float32)
    gain = speech_gain(hum)
    assert find_speech(detector.probabilities(hum, never_cancel, gain=gain), len(hum))
    repeated = detector.probabilities(hum, never_cancel, gain=gain, is_start_repeated=True)
    assert find_speech(repeated, len(hum)) == []


def test_a_gain_has_the_effect_of_a_louder_recording(detector: VoiceActivityDetector) -> None:
    soft = clip() / 64
    expected = detector.probabilities(clip(), never_cancel)
    np.testing.assert_array_equal(detector.probabilities(soft, never_cancel, gain=64), expected)


@pytest.mark.parametrize("decibels", [0, -20, -55])
def test_soft_recordings_get_the_level_of_speech(decibels: float) -> None:
    waveform = clip() / np.abs(clip()).max() * np.float32(10 ** (decibels / 20))
    assert 0.4 < np.abs(waveform * speech_gain(waveform)).max() <= 1.0
    assert speech_gain(waveform + 0.3) == pytest.approx(speech_gain(waveform), rel=1e-3)


def test_the_gain_of_a_soft_recording_hardly_depends_on_clicks() -> None:
    waveform = clip() / 64
    clicks = np.zeros(len(waveform), np.float32)
    clicks[:: 4 * 16_000] = 0.05
    assert speech_gain(waveform + clicks) == pytest.approx(speech_gain(waveform), rel=0.2)


def test_nothing_is_made_softer_and_silence_not_endlessly_louder() -> None:
    assert speech_gain(np.ones(16_000, np.float32)) == 1
    assert speech_gain(np.zeros(100, np.float32)) == 1
    assert speech_gain(noise(1) * 20) == 1
    assert speech_gain(noise(1) * 1e-6) == 1000


def test_speech_spans_equal_those_of_the_package(detector: VoiceActivityDetector) -> None:
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    waveform = np.concatenate([clip(), np.zeros(16_000, np.float32), clip() + noise(16), clip()[20_000:]])
    probabilities = detector.probabilities(waveform, never_cancel)
    spans = find_speech(probabilities, len(waveform))
    expected = get_speech_timestamps_from_probs(
        probabilities.tolist(),
        threshold=0.35,
        neg_threshold=0.2,
        min_speech_duration_ms=100,
        speech_pad_ms=0,
        audio_length_samples=len(waveform),
    )
    assert len(spans) > 10
    assert [span._asdict() for span in spans] == expected


def frames(*runs: tuple[float, int]) -> SpeechProbabilities:
    """Return the probabilities of consecutive frames, given as (probability, number of frames)."""
    return np.concatenate([np.full(count, probability, np.float32) for probability, count in runs])


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        (frames((0.1, 10), (0.9, 20), (0.1, 10)), [(10, 30)]),
        (frames((0.3, 10), (0.4, 20), (0.3, 10), (0.1, 10)), [(10, 40)]),
        (frames((0.9, 20), (0.1, 4), (0.9, 20)), [(0, 44)]),
        (frames((0.9, 20), (0.1, 5), (0.9, 20)), [(0, 20), (25, 45)]),
        (frames((0.1, 5), (0.9, 3), (0.1, 10)), []),
        (frames((0.1, 5), (0.9, 4), (0.1, 10)), [(5, 9)]),
        (frames((0.3, 50)), []),
        (frames((0.9, 0)), []),
    ],
)
def test_speech_starts_at_the_onset_threshold_and_ends_below_the_offset_threshold(
    probabilities: SpeechProbabilities, expected: list[tuple[int, int]]
) -> None:
    spans = find_speech(probabilities, len(probabilities) * FRAME_SAMPLES)
    assert spans == [(start * FRAME_SAMPLES, end * FRAME_SAMPLES) for start, end in expected]


def test_a_span_ends_with_the_recording() -> None:
    assert find_speech(frames((0.9, 10)), 10 * FRAME_SAMPLES - 500) == [(0, 10 * FRAME_SAMPLES - 500)]


def test_cancellation_is_checked_before_each_minute(detector: VoiceActivityDetector) -> None:
    cancellation = Cancellation(time.time() - 1)
    with pytest.raises(DeadlineExceeded):
        detector.probabilities(noise(1), cancellation.check)
    checks: list[int] = []
    detector.probabilities(noise(150), lambda: checks.append(1))
    assert len(checks) == 3


def test_the_number_of_torch_threads_does_not_change() -> None:
    """Importing the detector's package would set them to 1."""
    torch.set_num_threads(2)
    try:
        VoiceActivityDetector()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
