import math
from itertools import pairwise

import numpy as np
import pytest

from deployments.cancellation import Cancellation
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.mixdown import BLOCK_SAMPLES, Samples, StereoMixer, StereoSamples
from tests.deployments.transcriber.sounds import LAYOUTS, encode, noise, sweep, tone

RNG = np.random.default_rng(0)


def as_int16(left: Waveform, right: Waveform) -> StereoSamples:
    return np.round(np.stack([left, right], axis=1) * 32767).clip(-32768, 32767).astype(np.int16)


def mixed(samples: StereoSamples, *cuts: int) -> Samples:
    mixer = StereoMixer()
    chunks = [chunk for start, end in pairwise([0, *cuts, len(samples)]) for chunk in mixer.mix(samples[start:end])]
    return np.concatenate([*chunks, *mixer.flush()])


def level_db(part: Waveform, whole: Waveform) -> float:
    """Return how loud `part` is in `whole`, relative to `part` itself."""
    return 20 * math.log10(abs(float(whole @ part)) / float(part @ part) + 1e-9)


@pytest.mark.parametrize("num_samples", [0, 1, 255, 256, 5000, BLOCK_SAMPLES, 2 * BLOCK_SAMPLES + 777])
def test_channels_in_phase_give_their_mean(num_samples: int) -> None:
    sound = RNG.integers(-20000, 20000, num_samples).astype(np.int16)
    assert np.array_equal(mixed(np.stack([sound, sound], axis=1)), sound)
    quiet = (sound // 2).astype(np.int16)
    assert np.abs(mixed(np.stack([sound, quiet], axis=1)) - (sound / 2 + quiet / 2)).max(initial=0) <= 0.5


@pytest.mark.parametrize("scale", [-1.0, -0.9, -0.5])
def test_channels_in_opposite_phase_keep_their_level(scale: float) -> None:
    sound = sweep(25)
    mix = mixed(as_int16(sound, scale * sound)) / 32767
    assert len(mix) == len(sound)
    assert level_db(sound, mix) == pytest.approx(20 * math.log10((1 - scale) / 2), abs=0.5)


def test_a_voice_in_opposite_phase_under_music_in_phase_stays() -> None:
    voice, music = sweep(8), 0.5 * tone(hz=3000, start_s=0, end_s=8)
    mix = mixed(as_int16(music + voice, music - voice)) / 32767
    assert level_db(voice, mix) > -1
    assert level_db(music, mix) == pytest.approx(0, abs=0.5)


def test_a_part_in_opposite_phase_stays() -> None:
    sound = sweep(6)
    sign = np.where(np.arange(len(sound)) // SAMPLE_RATE % 2, -1, 1)
    mix = mixed(as_int16(sound, sign * sound)) / 32767
    for second in range(6):
        part = slice(second * SAMPLE_RATE + 2000, (second + 1) * SAMPLE_RATE - 2000)
        assert level_db(sound[part], mix[part]) > -1


@pytest.mark.parametrize("channel", [0, 1])
def test_a_voice_in_one_channel_is_halved_as_in_a_mean(channel: int) -> None:
    channels = [np.zeros(8 * SAMPLE_RATE, np.float32)] * 2
    channels[channel] = sweep(8)
    assert np.abs(mixed(as_int16(*channels)) - as_int16(*channels).sum(axis=1) / 2).max() <= 0.5


def test_two_voices_in_two_channels_both_stay() -> None:
    left, right = sweep(8), tone(hz=1500, start_s=0, end_s=8)
    mix = mixed(as_int16(left, right)) / 32767
    assert level_db(left, mix) == pytest.approx(-6, abs=0.5)
    assert level_db(right, mix) == pytest.approx(-6, abs=0.5)


def test_independent_channels_are_hardly_changed() -> None:
    channels = as_int16(noise(10, seed=1), noise(10, seed=2))
    mean = channels.mean(axis=1)
    changed = mixed(channels) - mean
    assert np.mean(changed**2) < 0.05 * np.mean(mean**2)


def test_the_result_does_not_depend_on_how_the_recording_is_cut() -> None:
    sound = sweep(25)
    channels = as_int16(sound + 0.3 * noise(25), 0.3 * noise(25, seed=3) - sound)
    whole = mixed(channels)
    cuts = sorted(RNG.integers(0, len(sound), 40).tolist())
    assert np.array_equal(mixed(channels, *cuts), whole)


@pytest.mark.parametrize("num_channels", [count for count in LAYOUTS if count > 1])
def test_files_whose_front_channels_are_in_opposite_phase_are_heard(num_channels: int) -> None:
    channels = np.zeros((num_channels, 6 * SAMPLE_RATE), np.float32)
    channels[0], channels[1] = sweep(6), -sweep(6)
    waveform = decode_audio(encode(channels, SAMPLE_RATE, "flac", "flac"), Cancellation(math.inf), 60).waveform
    assert level_db(sweep(6), waveform) > (-0.5 if num_channels == 2 else -10.5)
