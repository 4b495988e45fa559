"""Which track of a file is decoded, and when its sound begins."""

import math
import struct

import numpy as np
import pytest

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile, InvalidRequest
from deployments.frame_sampler.video import Video
from deployments.media import Media, MediaReader, as_media
from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.audio_files import DecodedAudio, decode_audio
from deployments.transcriber.types import AudioTrack
from tests.deployments.transcriber.sounds import SoundTrack, encode_tracks, noise, sweep, tone, wav_by_hand

QUIET = tone(hz=700)
LOUD = noise(2)
NOTHING = np.empty(0, np.float32)


def decode(media: Media, track: int | None = None) -> DecodedAudio:
    return decode_audio(media, Cancellation(math.inf), 100, track=track)


def is_tone(audio: DecodedAudio) -> bool:
    """Return whether the sound is QUIET, not noise."""
    part = audio.waveform[SAMPLE_RATE : 3 * SAMPLE_RATE // 2]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    return bool(spectrum[340:361].sum() > 0.9 * spectrum.sum())


def without_decoder(media: Media, track: int) -> Media:
    """Return an MP4 whose sound track of that number is AC-4, for which libav has no decoder."""
    parts = media.tobytes().split(b"mp4a")
    names = [b"ac-4" if number == track else b"mp4a" for number in range(len(parts) - 1)]
    parts[track + 1] = parts[track + 1].replace(b"esds", b"free", 1)
    return as_media(b"".join(part + name for part, name in zip(parts, [*names, b""], strict=True)))


@pytest.mark.parametrize(
    "media",
    [
        pytest.param(without_decoder(encode_tracks(SoundTrack(QUIET)), 0), id="ac-4"),
        pytest.param(
            as_media(encode_tracks(SoundTrack(QUIET), container="matroska").tobytes().replace(b"A_AAC", b"A_XYZ")),
            id="matroska",
        ),
        pytest.param(
            as_media(wav_by_hand(QUIET[None], SAMPLE_RATE).replace(b"\x01\x00\x01\x00", b"\x34\x12\x01\x00", 1)),
            id="wav",
        ),
        pytest.param(
            as_media(
                encode_tracks(SoundTrack(QUIET), container="avi", codec="pcm_s16le", num_pictures=20)
                .tobytes()
                .replace(b"\x01\x00\x01\x00\x80\x3e", b"\x34\x12\x01\x00\x80\x3e", 1)
            ),
            id="avi",
        ),
    ],
)
def test_a_track_without_a_decoder_is_an_invalid_file_that_says_so(media: Media) -> None:
    with pytest.raises(InvalidFile, match="in a format that cannot be decoded here.*Convert it"):
        decode(media)


@pytest.mark.parametrize("bits", [*range(0, 70), 255, 1000, 65535])
@pytest.mark.parametrize("tag", [1, 3, 6, 0xFFFE])
def test_a_wav_of_an_unknown_bit_depth_is_decoded_or_refused(bits: int, tag: int) -> None:
    content = bytearray(wav_by_hand(QUIET[None], SAMPLE_RATE, mask=4 if tag == 0xFFFE else None))
    content[20:22], content[34:36] = struct.pack("<H", tag), struct.pack("<H", bits)
    try:
        assert len(decode(as_media(content)).waveform)
    except InvalidFile:
        pass


def test_the_first_default_track_is_used_whatever_its_bit_rate() -> None:
    loud_second = encode_tracks(SoundTrack(QUIET, bit_rate=32_000), SoundTrack(LOUD, bit_rate=128_000))
    assert is_tone(decode(loud_second))
    quiet_second = encode_tracks(SoundTrack(LOUD), SoundTrack(QUIET))
    assert not is_tone(decode(quiet_second))


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_default_track_is_preferred_to_one_before_it(container: str) -> None:
    media = encode_tracks(SoundTrack(LOUD, is_default=False), SoundTrack(QUIET), container=container, num_pictures=20)
    assert is_tone(decode(media))


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_track_can_be_chosen_by_its_number_in_the_file(container: str) -> None:
    media = encode_tracks(SoundTrack(LOUD, is_default=False), SoundTrack(QUIET), SoundTrack(LOUD), container=container)
    assert [is_tone(decode(media, track)) for track in (1, 2, 3)] == [False, True, False]
    assert [decode(media, track).track for track in (None, 1, 3)] == [2, 1, 3]
    with pytest.raises(InvalidRequest, match="no sound track 4; it has 3, counted from 1"):
        decode(media, 4)


def test_a_chosen_track_that_cannot_be_decoded_does_not_give_way() -> None:
    media = without_decoder(encode_tracks(SoundTrack(LOUD), SoundTrack(QUIET)), 0)
    with pytest.raises(InvalidFile, match="format that cannot be decoded here"):
        decode(media, 1)


def test_tracks_are_described_as_the_file_describes_them() -> None:
    german = SoundTrack(QUIET, language="ger", title=f"Deutsch\x07{'x' * 200}", is_default=False)
    tracks = decode(encode_tracks(SoundTrack(LOUD, language="eng"), german, container="matroska")).tracks
    assert tracks == [
        AudioTrack(1, "eng", "", "aac", 1, True),
        AudioTrack(2, "ger", f"Deutsch{'x' * 93}", "aac", 1, False),
    ]
    [only] = decode(encode_tracks(SoundTrack(QUIET))).tracks
    assert (only.number, only.title, only.codec) == (1, "", "aac")


def test_a_track_that_cannot_be_decoded_gives_way_to_one_that_can() -> None:
    media = encode_tracks(SoundTrack(LOUD), SoundTrack(QUIET))
    assert is_tone(decode(without_decoder(media, 0)))
    not_default = encode_tracks(SoundTrack(LOUD), SoundTrack(QUIET, is_default=False))
    assert is_tone(decode(without_decoder(not_default, 0)))


def test_a_track_of_which_no_packet_can_be_decoded_gives_way_too() -> None:
    parts = encode_tracks(SoundTrack(LOUD), SoundTrack(QUIET), container="matroska", codec="flac").tobytes()
    block = b"\xa3"  # SimpleBlock; its content starts with the number of its track and a time of two bytes.
    damaged, position = bytearray(parts), parts.index(b"\x1f\x43\xb6\x75")
    while (position := parts.find(b"\xff\xf8", position + 1)) >= 0:
        if parts[position - 4] == 0x81 and block in parts[position - 8 : position - 4]:
            damaged[position : position + 40] = bytes(40)
    assert bytes(damaged) != parts
    assert is_tone(decode(as_media(damaged)))


def without_samples(media: Media) -> Media:
    """Return an MP4 whose sound track has no samples; libav's muxer would leave out such a track."""
    content = bytearray(media.tobytes())
    track = content.index(b"soun")
    for name, at in ((b"stts", 8), (b"stsc", 8), (b"stsz", 12), (b"stco", 8)):
        count = content.index(name, track) + at
        content[count : count + 4] = bytes(4)
    return as_media(content)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_track_without_a_packet_is_silence(container: str) -> None:
    if container == "matroska":
        media = encode_tracks(SoundTrack(NOTHING), container=container, num_pictures=20)
    else:
        media = without_samples(encode_tracks(SoundTrack(QUIET), container=container, num_pictures=20))
    audio = decode(media)
    assert (len(audio.waveform), audio.start_s, audio.warnings) == (0, 0.0, [])


def test_a_track_without_a_packet_gives_way_to_one_with_sound() -> None:
    assert is_tone(decode(encode_tracks(SoundTrack(NOTHING), SoundTrack(QUIET), container="matroska")))


def test_a_wav_without_a_sample_is_silence() -> None:
    assert len(decode(as_media(wav_by_hand(NOTHING[None], SAMPLE_RATE))).waveform) == 0


def onsets_s(audio: DecodedAudio) -> list[float]:
    """Return when each sound begins after at least 0.2 s of silence, on the container's clock."""
    loud = np.flatnonzero(np.abs(audio.waveform) > 0.1)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 5)]
    return [audio.start_s + int(start) / SAMPLE_RATE for start in starts]


@pytest.mark.parametrize("start_s", [0.0, 0.3, 4.0])
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "aac"),
        ("mov", "pcm_s16le"),
        ("matroska", "aac"),
        ("matroska", "libopus"),
        ("ogg", "libopus"),
        ("ogg", "flac"),
    ],
)
def test_late_sound_keeps_its_time(container: str, codec: str, start_s: float) -> None:
    num_pictures = 0 if container == "ogg" else 80
    media = encode_tracks(
        SoundTrack(tone(), start_s=start_s),
        container=container,
        codec=codec,
        num_pictures=num_pictures,
    )
    audio = decode(media)
    assert onsets_s(audio) == [pytest.approx(start_s + 0.5, abs=0.03)]
    assert audio.start_s + len(audio.waveform) / SAMPLE_RATE == pytest.approx(start_s + 2, abs=0.15)
    assert audio.warnings == []


def test_late_sound_alone_keeps_its_time() -> None:
    """As in a recording whose first seconds were cut off without encoding it again."""
    assert onsets_s(decode(encode_tracks(SoundTrack(tone(), start_s=3.0)))) == [pytest.approx(3.5, abs=0.03)]


@pytest.mark.parametrize("options", [{"use_editlist": "0"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_late_sound_without_an_edit_list_is_intact(codec: str, options: dict[str, str]) -> None:
    """Its first packet lasts until the second one, and the silence between them is no damage."""
    media = encode_tracks(SoundTrack(tone(), start_s=4.0), codec=codec, num_pictures=80, container_options=options)
    audio = decode(media)
    assert onsets_s(audio) == [pytest.approx(4.5, abs=0.03)]
    assert audio.warnings == []


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_and_pictures_that_both_start_late_share_a_clock(container: str) -> None:
    media = encode_tracks(SoundTrack(tone(), start_s=5.0), container=container, num_pictures=80)
    with Video(MediaReader(media), 10**7, Cancellation(math.inf)) as video:
        assert video.timestamp_s(0) == 0
    assert onsets_s(decode(media)) == [pytest.approx(5.5, abs=0.03)]


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_after_a_gap_keeps_its_time(container: str) -> None:
    sound = np.concatenate([tone(), tone()])
    audio = decode(encode_tracks(SoundTrack(sound, gaps_s={2.1: 3.0}), container=container, num_pictures=80))
    assert onsets_s(audio) == [pytest.approx(0.5, abs=0.03), pytest.approx(5.5, abs=0.03)]


def test_many_gaps_too_short_to_hear_do_not_add_up() -> None:
    """As from a telephone line that loses single packets."""
    sound = np.concatenate([tone(), tone(), tone()])
    gaps_s = {0.5 + 0.07 * number: 0.04 for number in range(20)}
    audio = decode(encode_tracks(SoundTrack(sound, gaps_s=gaps_s), container="matroska"))
    assert onsets_s(audio)[-1] == pytest.approx(4.5 + 0.8, abs=0.12)


def test_sound_before_an_edit_list_is_dropped() -> None:
    for options in ({}, {"movflags": "frag_keyframe+delay_moov"}):
        media = encode_tracks(SoundTrack(sweep(6)), num_pictures=60, container_options=options).copy()
        at = media.tobytes().rindex(b"elst") + 16
        media_time = int.from_bytes(media[at : at + 4].tobytes(), "big")
        media[at : at + 4] = np.frombuffer((media_time + 2 * SAMPLE_RATE).to_bytes(4, "big"), np.uint8)
        audio = decode(media)
        expected = sweep(6)[3 * SAMPLE_RATE : 4 * SAMPLE_RATE]
        start = round((1 - audio.start_s) * SAMPLE_RATE)
        actual = audio.waveform[start : start + SAMPLE_RATE]
        assert np.corrcoef(actual, expected)[0, 1] > 0.9
