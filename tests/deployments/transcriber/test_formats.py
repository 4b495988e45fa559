"""Files of all formats, made by real encoders: intact, truncated and damaged."""

import math
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile
from deployments.media import Media, as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import DecodedAudio, decode_audio
from tests.deployments.transcriber.sounds import (
    SoundTrack,
    encode,
    encode_tracks,
    encode_video,
    id3_tag,
    sweep,
    wav_by_hand,
    with_unknown_cluster_sizes,
)

DATA = Path(__file__).parents[2] / "data"
DURATION_S = 6.0
SOUND = sweep(DURATION_S)

Make = Callable[[], Media]

PCM = [
    ("pcm_mulaw", 8_000, 1),
    ("pcm_alaw", 8_000, 2),
    ("pcm_u8", 16_000, 1),
    ("pcm_s16le", 11_025, 1),
    ("pcm_s16le", 44_100, 6),
    ("pcm_s24le", 48_000, 8),
    ("pcm_s24le", 96_000, 2),
    ("pcm_s32le", 44_100, 1),
    ("pcm_f32le", 192_000, 1),
    ("pcm_f64le", 48_000, 2),
    ("adpcm_ima_wav", 8_000, 1),
    ("adpcm_ms", 22_050, 2),
]
FAST_START = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "empty_moov+default_base_moof", "frag_duration": "1000000"}
NO_XING_HEADER = {"write_xing": "0", "id3v2_version": "0"}
VARIABLE_BIT_RATE = {"flags": "+qscale", "global_quality": "472"}
EXPERIMENTAL = {"strict": "experimental"}


def channels(rate: int, count: int = 1) -> Waveform:
    return np.stack([sweep(DURATION_S, rate)] * count)


def mp3(options: Mapping[str, str] | None = None, bit_rate: int | None = 64_000) -> Media:
    return encode(
        channels(44_100), 44_100, "mp3", "libmp3lame", options, container_options=NO_XING_HEADER, bit_rate=bit_rate
    )


def video(container: str, codec: str, options: Mapping[str, str] | None = None, is_streamed: bool = False) -> Media:
    return encode_video(
        sweep(DURATION_S, 48_000),
        48_000,
        container,
        codec,
        container_options=options,
        is_streamed=is_streamed,
        num_pictures=60,
    )


def flash_video(codec: str, is_streamed: bool = False) -> Media:
    sound = sweep(DURATION_S, 44_100)
    return encode_video(sound, 44_100, "flv", codec, is_streamed=is_streamed, num_pictures=60, video_codec="flv")


def joined(*parts: bytes | Media) -> Media:
    return as_media(b"".join(bytes(part) for part in parts))


FILES: dict[str, Make] = {
    **{
        f"wav {codec} {rate} Hz x{count}": lambda codec=codec, rate=rate, count=count: encode(
            channels(rate, count), rate, "wav", codec
        )
        for codec, rate, count in PCM
    },
    "wav rf64": lambda: encode(channels(44_100), 44_100, "wav", "pcm_s16le", container_options={"rf64": "always"}),
    "wav extensible mono": lambda: as_media(wav_by_hand(channels(16_000), 16_000, mask=4)),
    "wav extensible with 4 unnamed channels": lambda: as_media(wav_by_hand(channels(16_000, 4), 16_000, mask=0)),
    "wav with notes after the sound": lambda: joined(
        wav_by_hand(channels(16_000), 16_000), b"LIST", struct.pack("<I", 12), b"INFOISFT", bytes(4)
    ),
    "mp3 constant bit rate": lambda: encode(channels(44_100), 44_100, "mp3", "libmp3lame", bit_rate=64_000),
    "mp3 variable bit rate": lambda: encode(channels(44_100, 2), 44_100, "mp3", "libmp3lame", VARIABLE_BIT_RATE),
    "mp3 telephone": lambda: encode(channels(8_000), 8_000, "mp3", "libmp3lame", bit_rate=16_000),
    "mp3 22 kHz": lambda: encode(channels(22_050), 22_050, "mp3", "libmp3lame", bit_rate=32_000),
    "mp3 without a header": mp3,
    "mp3 variable bit rate without a header": lambda: mp3(VARIABLE_BIT_RATE, None),
    "mp3 with a cover": lambda: joined(id3_tag(200_000), mp3(VARIABLE_BIT_RATE, None)),
    "mp3 after garbage": lambda: joined(np.random.default_rng(0).bytes(1500), mp3()),
    "mp3 before tags and zeros": lambda: joined(mp3(), b"TAG".ljust(128, b"x"), bytes(1000)),
    "m4a from a phone": lambda: encode(channels(44_100), 44_100, "ipod", "aac", bit_rate=64_000),
    "m4a for the web": lambda: encode(channels(48_000, 2), 48_000, "ipod", "aac", container_options=FAST_START),
    "m4a from Safari": lambda: encode(
        channels(48_000), 48_000, "mp4", "aac", container_options=FRAGMENTED, is_streamed=True
    ),
    "alac": lambda: encode(channels(44_100, 2), 44_100, "ipod", "alac", container_options=FAST_START),
    "adts": lambda: encode(channels(44_100), 44_100, "adts", "aac", bit_rate=128_000),
    "flac": lambda: encode(channels(44_100, 2), 44_100, "flac", "flac"),
    "flac 24 bits": lambda: encode(channels(96_000), 96_000, "flac", "flac", {"sample_fmt": "s32"}),
    "flac of unknown length": lambda: encode(channels(48_000), 48_000, "flac", "flac", is_streamed=True),
    "flac with a cover": lambda: joined(id3_tag(50_000), encode(channels(48_000), 48_000, "flac", "flac")),
    "ogg opus": lambda: encode(channels(48_000), 48_000, "ogg", "libopus", bit_rate=32_000),
    "ogg vorbis": lambda: encode(channels(44_100, 2), 44_100, "ogg", "vorbis", EXPERIMENTAL),
    "ogg flac": lambda: encode(channels(48_000), 48_000, "ogg", "flac"),
    "webm opus from Chrome": lambda: encode(
        channels(48_000), 48_000, "webm", "libopus", container_options={"live": "1"}, bit_rate=32_000, is_streamed=True
    ),
    "webm opus": lambda: encode(channels(48_000), 48_000, "webm", "libopus", bit_rate=32_000),
    "mp4": lambda: video("mp4", "aac", FAST_START),
    "mov": lambda: video("mov", "pcm_s16be", FAST_START),
    "mkv": lambda: video("matroska", "aac"),
    "live mkv": lambda: video("matroska", "libopus", {"live": "1"}, is_streamed=True),
    "avi": lambda: video("avi", "libmp3lame"),
    "avi pcm": lambda: video("avi", "pcm_s16le"),
    "aiff": lambda: encode(channels(44_100, 2), 44_100, "aiff", "pcm_s24be"),
    "aiff of a Mac": lambda: encode(channels(44_100), 44_100, "aiff", "pcm_s16le"),
    "aiff mu-law": lambda: encode(channels(8_000), 8_000, "aiff", "pcm_mulaw"),
    "mka": lambda: encode(channels(48_000), 48_000, "matroska", "flac"),
    "webm opus in clusters of unknown size": lambda: with_unknown_cluster_sizes(FILES["webm opus from Chrome"]()),
    "3gp": lambda: video("3gp", "aac", FAST_START),
    "ts": lambda: video("mpegts", "aac"),
    "ts of Blu-ray": lambda: video("mpegts", "ac3", {"mpegts_m2ts_mode": "1"}),
    "ts of sound": lambda: encode(channels(48_000), 48_000, "mpegts", "aac", bit_rate=64_000),
    "mpg": lambda: video("mpeg", "ac3"),
    "asf pcm": lambda: encode(channels(44_100, 2), 44_100, "asf", "pcm_s16le"),
    "flv": lambda: flash_video("aac"),
    "live flv": lambda: flash_video("libmp3lame", is_streamed=True),
}
FURTHER = list(FILES)[list(FILES).index("aiff") :]
"""Files that the ordinary tests cut at one place only."""
HAS_ENCODER_DELAY = {
    *("mp3 without a header", "mp3 variable bit rate without a header", "mp3 with a cover", "mp3 after garbage"),
    *("mp3 before tags and zeros", "m4a from Safari", "adts", "avi"),
    *("ts", "ts of Blu-ray", "ts of sound", "mpg", "flv", "live flv"),
}
"""Files that do not declare their encoder delay, so it is not removed."""
MAX_DELAY_S = 0.03

DECLARES_ITS_DURATION = re.compile(
    "wav|mp3 (constant|variable bit rate$|telephone|22)|m4a for|alac|flac( 24|$)|mp4|mov|mka|mkv|avi|webm opus$|aiff"
    "|3gp|asf"
)
TRUNCATABLE = [
    name
    for name in FILES
    if name not in ("m4a from a phone", "mp3 before tags and zeros", "mpg") and "cover" not in name
]
"""Not the file from a phone: its index is at the end, and nothing can be read without it. Not files with covers and
tags: they might be truncated outside the audio."""


def decode(media: Media) -> DecodedAudio:
    return decode_audio(media, Cancellation(math.inf), 100)


def without_delay(name: str, audio: DecodedAudio) -> Waveform:
    """Return the audio without its encoder delay, even if the file does not declare it."""
    if name not in HAS_ENCODER_DELAY:
        return audio.waveform
    head = SOUND[: SAMPLE_RATE // 2]
    lags = np.correlate(audio.waveform[: len(head) + int(MAX_DELAY_S * SAMPLE_RATE)], head)
    return audio.waveform[int(np.argmax(lags)) :]


def assert_equals_sound(waveform: Waveform, start_s: float, end_s: float) -> None:
    """Check that a part of the waveform equals that of SOUND. At 500 Hz, a delay of 1 ms makes the correlation -1."""
    part = slice(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE))
    actual, expected = waveform[part].astype(float), SOUND[part].astype(float)
    assert len(actual) == len(expected)
    product = actual @ expected
    assert product / math.sqrt((actual @ actual) * (expected @ expected)) > 0.95
    assert product / (expected @ expected) == pytest.approx(1, rel=0.08)  # LAME lowers the level by 5 %


@pytest.mark.parametrize("name", FILES)
def test_an_intact_file_gives_its_audio_without_warnings(name: str) -> None:
    audio = decode(FILES[name]())
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(DURATION_S, abs=0.13)  # the last frame is padded
    sound = without_delay(name, audio)
    for start_s in range(6):
        assert_equals_sound(sound, start_s, start_s + 1)
    assert audio.warnings == []


@pytest.mark.parametrize(
    ("name", "fraction"),
    [
        pytest.param(name, fraction, marks=[pytest.mark.slow] if name in FURTHER and fraction != 0.611 else [])
        for name in TRUNCATABLE
        for fraction in (0.4, 0.611, 0.87)
    ],
)
def test_a_truncated_file_gives_the_audio_up_to_its_end_and_a_warning(name: str, fraction: float) -> None:
    media = FILES[name]()
    audio = decode(media[: int(fraction * len(media))])
    duration_s = len(audio.waveform) / SAMPLE_RATE
    assert fraction * DURATION_S - 1.5 < duration_s < DURATION_S - 0.3
    assert_equals_sound(without_delay(name, audio), 0, duration_s - 0.3)
    match = re.fullmatch(r"The file breaks off: its sound ends after (\S+)( of (\S+))? seconds\.", audio.warnings[-1])
    assert match is not None
    assert float(match[1]) == pytest.approx(duration_s, abs=0.051)
    if DECLARES_ITS_DURATION.match(name):
        assert float(match[3]) == pytest.approx(DURATION_S, abs=0.25)


def test_sound_of_a_transport_stream_counts_from_the_start_of_its_first_track() -> None:
    """The clock of a recording from the air may show any time."""
    later = {"output_ts_offset": "3600"}
    audio = decode(encode(channels(48_000), 48_000, "mpegts", "aac", container_options=later))
    assert audio.start_s == pytest.approx(0, abs=0.001)
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(DURATION_S, abs=0.1)
    late = encode_tracks(
        SoundTrack(sweep(2), start_s=0.5), container="mpegts", codec="mp2", num_pictures=25, container_options=later
    )
    assert decode(late).start_s == pytest.approx(0.5 - 481 / SAMPLE_RATE, abs=0.001)  # the encoder's delay


WMA: dict[str, Make] = {
    "wma": lambda: encode(channels(44_100, 2), 44_100, "asf", "wmav2", bit_rate=128_000),
    "wma version 1": lambda: encode(channels(44_100), 44_100, "asf", "wmav1", bit_rate=128_000),
    "live wma": lambda: encode(channels(44_100), 44_100, "asf", "wmav2", bit_rate=64_000, is_streamed=True),
    "wmv": lambda: encode_video(
        sweep(DURATION_S, 44_100), 44_100, "asf", "wmav2", num_pictures=60, video_codec="wmv2", bit_rate=64_000
    ),
}
WMA_DELAY_S = 2048 / 44_100
"""What the encoder puts before the sound, which no field of the file says."""


@pytest.mark.parametrize("name", WMA)
@pytest.mark.parametrize("fraction", [1, 0.611])
def test_wma_gives_its_sound_at_its_time_and_says_if_it_breaks_off(name: str, fraction: float) -> None:
    media = WMA[name]()
    audio = decode(media[: int(fraction * len(media))])
    # The decoder gives nothing for the first packet, and the next one begins with the delay.
    assert audio.start_s == pytest.approx(2 * WMA_DELAY_S, abs=0.001)
    sound = np.pad(audio.waveform, (round(WMA_DELAY_S * SAMPLE_RATE), 0))
    duration_s = len(sound) / SAMPLE_RATE
    assert duration_s == pytest.approx(fraction * DURATION_S, abs=0.2)
    for start_s in range(1, int(duration_s - 0.3)):
        assert_equals_sound(sound, start_s, start_s + 1)
    assert ("breaks off" in " ".join(audio.warnings)) is (fraction < 1)
    if fraction < 1 and name != "live wma":
        assert " of 6.0 seconds" in audio.warnings[-1]


@pytest.mark.parametrize("fraction", [1, 0.611])
@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_amr_gives_the_loudness_of_speech_and_says_if_it_breaks_off(container: str, fraction: float) -> None:
    """It is made for speech only, and keeps no waveform."""
    speech = decode(as_media((DATA / "speech.wav").read_bytes())).waveform
    narrow = np.interp(np.arange(0, len(speech), 2), np.arange(len(speech)), speech).astype(np.float32)
    options = FRAGMENTED if container == "3gp" else None
    media = encode(narrow[None], 8_000, container, "libopencore_amrnb", container_options=options, bit_rate=12_200)
    audio = decode(media[: int(fraction * len(media))])
    length = min(len(audio.waveform), len(speech))
    assert length / len(speech) == pytest.approx(fraction, abs=0.1)
    loudness = [
        np.sqrt(np.square(sound[: length // 800 * 800].reshape(-1, 800)).mean(axis=1))
        for sound in (audio.waveform, speech)
    ]
    assert np.corrcoef(*loudness)[0, 1] > 0.9
    assert ("breaks off" in " ".join(audio.warnings)) is (fraction < 1)


def test_wide_band_amr_is_decoded() -> None:
    """No encoder is at hand, so the frames are of chance: of the type 8 (23.85 kbit/s) with 60 bytes of speech data."""
    generator = np.random.default_rng(0)
    frames = [b"\x44" + generator.bytes(60) for _ in range(100)]
    audio = decode(as_media(b"".join([b"#!AMR-WB\n", *frames[:50], *[b"\x7c"] * 20, *frames[50:]])))
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(2.4, abs=0.03)
    assert np.abs(audio.waveform).max() > 0.01
    assert audio.warnings == []


@pytest.mark.parametrize("pause", [b"\x44" + bytes(5), b"\x7c"], ids=["comfort noise", "nothing"])
def test_pauses_of_a_phone_call_are_silence_and_no_damage(pause: bytes) -> None:
    head = b"#!AMR\n"
    whole = encode(sweep(2, 8_000)[None], 8_000, "amr", "libopencore_amrnb", bit_rate=12_200).tobytes()
    frames = [whole[at : at + 32] for at in range(len(head), len(whole), 32)]
    audio = decode(as_media(b"".join([head, *frames[:20], *[pause] * 50, *frames[70:]])))
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(2, abs=0.05)
    loudest = np.abs(audio.waveform.reshape(-1)[: 2 * SAMPLE_RATE - 800].reshape(-1, 400)).max(axis=1)
    assert loudest[20:54].max() < 0.001
    assert loudest[60:70].min() > 0.05
    assert audio.warnings == []
    assert decode(as_media(head + pause * 50)).warnings == []


def test_an_mp4_whose_index_is_missing_is_an_invalid_file() -> None:
    media = FILES["m4a from a phone"]()
    with pytest.raises(InvalidFile):
        decode(media[: len(media) * 9 // 10])


@pytest.mark.parametrize("data_bytes", [0, 0x7FFFFFFF, 0x7FFFF024, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("mask", [None, 4])
def test_a_wav_with_a_placeholder_length_is_intact(data_bytes: int, mask: int | None) -> None:
    audio = decode(as_media(wav_by_hand(channels(16_000), 16_000, mask=mask, data_bytes=data_bytes)))
    assert len(audio.waveform) == len(SOUND)
    assert_equals_sound(audio.waveform, 0, DURATION_S)
    assert audio.warnings == []


def test_a_streamed_wav_is_intact() -> None:
    audio = decode(encode(channels(16_000), 16_000, "wav", "pcm_s16le", is_streamed=True))
    assert len(audio.waveform) == len(SOUND)
    assert audio.warnings == []


DAMAGED = [
    "flac",
    "flac 24 bits",
    "ogg opus",
    "ogg vorbis",
    "webm opus",
    "m4a from a phone",
    "m4a from Safari",
    "mp4",
    "adts",
]


@pytest.mark.parametrize("name", [*DAMAGED, "mp3 constant bit rate", "mp3 without a header"])
def test_damaged_audio_is_replaced_by_silence_with_a_warning(name: str) -> None:
    media = FILES[name]().copy()
    start = len(media) * 45 // 100
    media[start : start + 400] = np.frombuffer(np.random.default_rng(1).bytes(400), np.uint8)
    audio = decode(media)
    silence, *rest = audio.warnings
    match = re.fullmatch(r"(\S+) seconds of the sound are damaged or missing and were replaced by silence\.", silence)
    assert match is not None
    assert 0.01 < float(match[1]) < 2.5
    for warning in rest:
        assert re.fullmatch(r"Audio packets that could not be decoded and were left out: \d+\.", warning)
    assert 5 < len(audio.waveform) / SAMPLE_RATE < DURATION_S + 0.05
    sound = without_delay(name, audio)
    assert_equals_sound(sound, 0, 2)
    if "mp3" not in name and name != "adts":  # A raw stream can lose data without a trace, and the rest is early.
        assert_equals_sound(sound, 5, 5.9)


@pytest.mark.parametrize("name", ["flac 24 bits", "flac of unknown length"])
@pytest.mark.parametrize("tenth", range(2, 9))
def test_a_corrupt_byte_in_flac_causes_no_noise(name: str, tenth: int) -> None:
    media = FILES[name]().copy()
    media[len(media) * tenth // 10] ^= 0x80
    audio = decode(media)
    actual = audio.waveform[: len(SOUND)]
    expected = SOUND[: len(actual)]
    assert np.abs(actual - expected)[np.abs(actual) > 0.001].max() < 0.1
    assert re.match(r"0\.(09|10) seconds of the sound", audio.warnings[0])


def test_packets_that_cannot_be_decoded_are_counted() -> None:
    media = FILES["adts"]().copy()
    starts = [at for at in range(len(media) - 1) if media[at] == 0xFF and media[at + 1] == 0xF1]
    for start in (starts[40], starts[80], starts[81]):
        media[start + 7 : start + 60] = 0xFF
    assert decode(media).warnings[-1].endswith("left out: 3.")


@pytest.mark.parametrize("name", ["mp3 constant bit rate", "mp3 without a header", "ogg opus", "flac"])
def test_concatenated_files_are_intact(name: str) -> None:
    part = FILES[name]()
    audio = decode(joined(part, part))
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(2 * DURATION_S, abs=0.1)
    assert audio.warnings == []


@pytest.mark.parametrize("container", ["matroska", "avi"])
def test_audio_shorter_than_the_video_is_intact(container: str) -> None:
    sound = sweep(3, 44_100)
    media = encode_video(sound, 44_100, container, "libmp3lame", num_pictures=60)
    assert decode(media).warnings == []


def test_an_m4a_with_an_edit_list_is_intact() -> None:
    """Phones write edit lists to trim a recording without rewriting it."""
    media = FILES["m4a for the web"]().copy()
    at = media.tobytes().index(b"elst") + 12
    media[at : at + 8] = np.frombuffer(struct.pack(">Ii", 2000, 48_000 * 3), np.uint8)
    audio = decode(media)
    assert len(audio.waveform) / SAMPLE_RATE == pytest.approx(2, abs=0.05)
    assert audio.warnings == []


@pytest.mark.parametrize(("num_channels", "channel", "level"), [(2, 0, 0.5), (2, 1, 0.5), (6, 2, 0.29), (8, 2, 0.23)])
@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
def test_speech_in_one_channel_has_its_level_in_the_mixdown(
    codec: str, num_channels: int, channel: int, level: float
) -> None:
    """In stereo at half its level. In the centre of 5.1 and 7.1 at its share of the mixdown, which must not clip."""
    one = np.zeros((num_channels, len(SOUND)), np.float32)
    one[channel] = SOUND
    container = "flac" if codec == "flac" else "wav"
    assert_equals_sound(decode(encode(one, SAMPLE_RATE, container, codec)).waveform / level, 0, DURATION_S)


@pytest.mark.parametrize(
    ("num_channels", "mask"),
    [
        pytest.param(2, 0x3000, id="two channels of a ceiling"),
        pytest.param(9, 0, id="one more than eight"),
        pytest.param(32, 0, id="a field recorder"),
        pytest.param(64, None, id="as many as libswresample takes"),
    ],
)
def test_channels_that_libswresample_has_no_weights_for_are_mixed_too(num_channels: int, mask: int | None) -> None:
    one = np.zeros((num_channels, len(SOUND)), np.float32)
    one[1] = SOUND
    waveform = decode(as_media(wav_by_hand(one, SAMPLE_RATE, mask=mask))).waveform
    assert len(waveform) == pytest.approx(len(SOUND), abs=100)
    level = 1 / (2 * (num_channels // 2))
    assert np.corrcoef(waveform, SOUND[: len(waveform)])[0, 1] > 0.99
    assert np.ptp(waveform) == pytest.approx(level * np.ptp(SOUND), rel=0.1)


@pytest.mark.parametrize("num_channels", [65, 255, 1000, 65535])
def test_more_channels_than_anybody_records_are_an_invalid_file(num_channels: int) -> None:
    content = bytearray(wav_by_hand(SOUND[None], 44_100))
    content[22:24] = struct.pack("<H", num_channels)
    with pytest.raises(InvalidFile, match="Convert it"):
        decode(as_media(content))
