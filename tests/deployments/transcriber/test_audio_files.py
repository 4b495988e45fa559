import logging
import math
import time
from pathlib import Path

import numpy as np
import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, FileTooLarge, InvalidFile
from deployments.media import Media, as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform, is_silent
from deployments.transcriber.audio_files import decode_audio
from tests.deployments.transcriber.sounds import LAYOUTS, encode, encode_video, noise, tone, wav

FORMATS = [
    ("wav", "pcm_s16le", 16_000),
    ("wav", "pcm_s24le", 8_000),
    ("wav", "pcm_f32le", 96_000),
    ("wav", "pcm_u8", 11_025),
    ("mp3", "libmp3lame", 44_100),
    ("mp3", "libmp3lame", 22_050),
    ("ipod", "aac", 44_100),
    ("ipod", "alac", 44_100),
    ("flac", "flac", 48_000),
    ("ogg", "vorbis", 44_100),
    ("ogg", "libopus", 48_000),
    ("mov", "pcm_s16be", 44_100),
    ("matroska", "aac", 48_000),
]


def decode(media: Media, max_duration_s: float = 100) -> Waveform:
    return decode_audio(media, Cancellation(math.inf), max_duration_s).waveform


def amplitude_and_phase(waveform: Waveform, hz: float, start_s: float, end_s: float) -> tuple[float, float]:
    """Return the amplitude and phase of `hz` in a part of whole periods; a sine that is 0 at time 0 has phase 0."""
    samples = np.arange(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE))
    component = 2j * np.mean(waveform[samples] * np.exp(-2j * np.pi * hz * samples / SAMPLE_RATE))
    return float(np.abs(component)), float(np.angle(component))


@pytest.mark.parametrize(("container", "codec", "sample_rate"), FORMATS)
def test_a_tone_keeps_its_pitch_position_and_duration(container: str, codec: str, sample_rate: int) -> None:
    options = {"strict": "experimental"} if codec == "vorbis" else {}
    stereo = np.stack([tone(sample_rate)] * 2)
    waveform = decode(encode(stereo, sample_rate, container, codec, options))
    assert waveform.dtype == np.float32
    assert len(waveform) / SAMPLE_RATE == pytest.approx(2.0, abs=0.025)  # AAC and Vorbis pad the last frame
    assert np.argmax(np.abs(waveform) > 0.1) / SAMPLE_RATE == pytest.approx(0.5, abs=0.002)
    amplitude, phase = amplitude_and_phase(waveform, 1000, 0.8, 1.8)
    assert amplitude == pytest.approx(0.5, rel=0.06)
    assert phase == pytest.approx(0, abs=0.02)  # 0.02 rad at 1000 Hz are 3 microseconds: the encoder delay is removed


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 96_000])
def test_no_sample_is_lost_at_the_end(sample_rate: int) -> None:
    assert len(decode(wav(tone(sample_rate), sample_rate))) == pytest.approx(2 * SAMPLE_RATE, abs=1)


@pytest.mark.parametrize("num_channels", LAYOUTS)
def test_identical_channels_keep_their_level_in_the_mixdown(num_channels: int) -> None:
    waveform = decode(encode(np.stack([tone()] * num_channels), SAMPLE_RATE, "wav", "pcm_s16le"))
    assert amplitude_and_phase(waveform, 1000, 0.8, 1.8)[0] == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(("num_channels", "channel"), [(2, 0), (2, 1), (6, 2), (8, 2), (8, 7)])
def test_a_voice_in_one_channel_is_audible_in_the_mixdown(num_channels: int, channel: int) -> None:
    channels = np.zeros((num_channels, 2 * SAMPLE_RATE), np.float32)
    channels[channel] = tone()
    waveform = decode(encode(channels, SAMPLE_RATE, "wav", "pcm_s16le"))
    assert amplitude_and_phase(waveform, 1000, 0.8, 1.8)[0] > 0.04


def test_float_audio_over_full_scale_is_clipped() -> None:
    waveform = decode(encode(3 * tone()[None], SAMPLE_RATE, "wav", "pcm_f32le"))
    assert 0.999 < np.abs(waveform).max() <= 1


def test_the_audio_track_of_a_video_is_decoded() -> None:
    waveform = decode(encode_video(tone()))
    assert amplitude_and_phase(waveform, 1000, 0.8, 1.8)[0] == pytest.approx(0.5, rel=0.05)


def test_a_file_whose_sample_rate_changes_midway_is_decoded_completely() -> None:
    parts = [encode(tone(rate)[None], rate, "mp3", "libmp3lame") for rate in (44_100, 22_050)]
    waveform = decode(np.concatenate(parts))
    assert len(waveform) / SAMPLE_RATE == pytest.approx(4, abs=0.3)
    assert amplitude_and_phase(waveform, 1000, 3.2, 3.7)[0] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus")]
)
def test_a_truncated_file_gives_the_audio_up_to_its_end(container: str, codec: str) -> None:
    rate = 48_000
    media = encode(tone(rate, end_s=6.0)[None], rate, container, codec)
    waveform = decode(media[: len(media) // 2])
    assert 1.5 < len(waveform) / SAMPLE_RATE < 4.5
    assert amplitude_and_phase(waveform, 1000, 0.8, 1.3)[0] == pytest.approx(0.5, rel=0.06)


def test_damage_in_the_middle_is_replaced_by_silence_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    media = encode(tone(end_s=6.0)[None], SAMPLE_RATE, "ipod", "aac").copy()
    media[len(media) // 2 : len(media) // 2 + 500] = 0xFF
    with caplog.at_level(logging.WARNING, "ray.serve"):
        waveform = decode(media)
    assert caplog.text.count("packets could not be decoded") == 1
    assert len(waveform) / SAMPLE_RATE == pytest.approx(6, abs=0.02)
    assert amplitude_and_phase(waveform, 1000, 0.8, 1.8)[0] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    "content",
    [b"", b"no sound in here " * 100, b"RIFF", b"OggS" + bytes(1000), b"\xff\xfb\x90" + bytes(100)],
)
def test_content_that_is_not_audio_is_an_invalid_file(content: bytes) -> None:
    with pytest.raises(InvalidFile, match="Convert it to WAV, MP3, M4A, FLAC or OGG"):
        decode(as_media(content))


def test_a_playlist_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.wav").write_bytes(wav(tone()).tobytes())
    with pytest.raises(InvalidFile):
        decode(as_media(b"ffconcat version 1.0\nfile secret.wav\n"))


def test_a_video_without_an_audio_track_is_an_invalid_file() -> None:
    with pytest.raises(InvalidFile, match="no audio track"):
        decode(encode_video(None))


def test_a_track_that_cannot_be_decoded_at_all_is_an_invalid_file() -> None:
    media = encode(noise(2)[None], SAMPLE_RATE, "ipod", "aac").copy()
    media[media.tobytes().index(b"mdat") + 4 : media.tobytes().index(b"moov") - 4] = 0xFF
    with pytest.raises(InvalidFile, match="none of it can be decoded"):
        decode(media)


def test_a_file_without_any_samples_is_an_invalid_file() -> None:
    with pytest.raises(InvalidFile):
        decode(wav(tone())[:44])


def test_an_implausible_sample_rate_is_an_invalid_file() -> None:
    with pytest.raises(InvalidFile, match="100 Hz"):
        decode(wav(tone(), sample_rate=100))


def test_audio_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(FileTooLarge, match="longer than 1.5 seconds"):
        decode(wav(tone()), max_duration_s=1.5)
    assert len(decode(wav(tone()), max_duration_s=2)) == 2 * SAMPLE_RATE


def test_decoding_stops_when_it_is_cancelled() -> None:
    cancellation = Cancellation(math.inf)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        decode_audio(wav(tone()), cancellation, 100)


def test_decoding_stops_at_the_deadline_and_reports_its_progress() -> None:
    with pytest.raises(DeadlineExceeded, match=r"\d+ seconds of audio were decoded, none transcribed yet"):
        decode_audio(wav(tone()), Cancellation(time.time() - 1), 100)


@pytest.mark.parametrize(
    ("waveform", "expected"),
    [
        (np.zeros(1000, np.float32), True),
        (np.full(1000, 0.2, np.float32), True),  # a constant offset
        (noise(1) * 0.0005, True),  # as loud as 16-bit dither
        (noise(1) * 0.02, False),  # peaks at about -42 dB: a whisper far from the microphone
    ],
)
def test_audio_below_the_silence_peak_is_silent(waveform: Waveform, expected: bool) -> None:
    assert is_silent(waveform) is expected
