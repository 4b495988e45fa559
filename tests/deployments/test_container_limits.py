"""Headers that claim too much, each a small file of the kind that took libav minutes or gigabytes."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.container_limits import MAX_SAMPLES, MAX_TAGS, check_claims
from deployments.errors import InvalidFile
from deployments.media import Media
from tests.deployments.transcriber.sounds import SAMPLE_RATE, encode, encode_video, id3_tag, sweep, wav
from tests.hostile.containers import (
    box,
    chunks,
    comments,
    element,
    flac,
    fragment,
    id3,
    matroska,
    matroska_tag,
    movie,
    ogg,
    one_value_each,
    riff,
    track,
)
from tests.hostile.streams import (
    FLV_HEADER,
    aiff,
    aiff_common,
    asf_file,
    asf_markers,
    asf_tags,
    flv_properties,
    flv_tag,
)
from tests.videos import numbered_pictures, write_video

DATA = Path(__file__).parent.parent / "data"
SOUND = sweep(2)
MANY = 4 * MAX_TAGS


SAMPLES: dict[str, Callable[[], bytes]] = {
    "one size for 40 million samples": lambda: movie(track(40_000_000)),
    "three tracks with half the limit each": lambda: movie(*[track(MAX_SAMPLES // 2)] * 3),
    "a table that names another number": lambda: movie(track(2**32 - 1)),
    "sound with times like those of pictures": lambda: movie(track(MAX_SAMPLES + 1, b"soun")),
    "pictures with times like those of sound": lambda: movie(track(10**7, b"vide", one_value_each(10**7))),
    "huge chunks of uncompressed sound": lambda: movie(
        track(1000, b"soun", one_value_each(1000), chunks(1000, 2**31 - 1))
    ),
    "two tables of sizes": lambda: movie(
        track(10, times=box("stz2", bytes(4), struct.pack(">II", 4, MAX_SAMPLES + 1)))
    ),
    "fragments": lambda: movie() + fragment(MAX_SAMPLES) + fragment(1),
}
TAGS: dict[str, Callable[[], bytes]] = {
    "matroska tags": lambda: matroska(element(0x1254C367, b"".join(matroska_tag(number) for number in range(MANY)))),
    "matroska tags in one another": lambda: matroska(element(0x1254C367, element(0x7373, element(0x67C8, b"") * MANY))),
    "matroska chapters": lambda: matroska(element(0x1043A770, element(0x45B9, element(0xB6, b"") * MANY))),
    "flac": lambda: flac(MANY),
    "flac blocks": lambda: b"fLaC" + b"\x06\x00\x00\x01x" * MANY,
    "flac after an ID3 tag": lambda: id3(3, 3)[:52] + flac(MANY),
    "vorbis": lambda: ogg(b"\x03vorbis" + comments(MANY)),
    "opus": lambda: ogg(b"OpusTags" + comments(MANY)),
    "ogg flac": lambda: ogg(b"\x84\x00\x00\x00" + comments(MANY)),
    "id3 2.2": lambda: id3(MANY, 2),
    "id3 2.3": lambda: id3(MANY, 3),
    "id3 2.4": lambda: id3(MANY, 4),
    "wav": lambda: riff(b"WAVE", MANY),
    "avi": lambda: riff(b"AVI ", MANY),
    "wav with an ID3 tag": lambda: wav(SOUND).tobytes() + b"id3 " + struct.pack("<I", 13 * MANY) + id3(MANY, 3)[:-417],
    "mp4 tags": lambda: movie(box("udta", box("meta", bytes(4), box("ilst", box("\xa9nam", bytes(4)) * MANY)))),
    "aiff": lambda: aiff((b"COMM", aiff_common()), (b"ID3 ", id3(MANY, 3)[:-417])),
    "asf tags": lambda: asf_file(asf_tags(MANY)),
    "asf lists of tags": lambda: asf_file(*[asf_tags(1000)] * 20),
    "asf markers": lambda: asf_file(asf_markers(MANY)),
    "flv": lambda: FLV_HEADER + flv_tag(18, flv_properties(MANY)),
    "flv in many tags": lambda: FLV_HEADER + flv_tag(18, flv_properties(1000)) * 20,
    "aac": lambda: b"\xff\xf1\x60\x40\x00\xff\xfc" + id3(1, 3)[:-417] * MANY,
    "mp4 tracks": lambda: movie(box("trak") * MANY),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_header_that_claims_too_many_samples_is_refused(name: str) -> None:
    with pytest.raises(InvalidFile, match="claims .* samples; the limit is 5,000,000"):
        check_claims(SAMPLES[name]())


@pytest.mark.parametrize("name", TAGS)
def test_a_header_with_too_many_tags_is_refused_quickly(name: str) -> None:
    content = TAGS[name]()
    started = time.monotonic()
    with pytest.raises(InvalidFile, match="more than 10,000 tags"):
        check_claims(content)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"text " * 100,
        wav(SOUND),
        encode(SOUND[None], SAMPLE_RATE, "flac", "flac"),
        encode(SOUND[None], SAMPLE_RATE, "ogg", "libopus"),
        encode(SOUND[None], SAMPLE_RATE, "ipod", "aac"),
        encode(SOUND[None], SAMPLE_RATE, "mov", "pcm_s16le"),
        encode_video(SOUND, container="avi", codec="libmp3lame"),
        encode_video(SOUND, container_options={"movflags": "frag_keyframe+empty_moov"}),
        encode_video(SOUND, container="matroska"),
        id3_tag(200_000) + encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame").tobytes(),
        write_video(numbered_pictures(300), audio_s=1),
        write_video(numbered_pictures(300), container="matroska"),
        riff(b"WAVE", 1000),
        flac(1000),
        id3(1000, 4),
        movie(*[track(MAX_SAMPLES // 4)] * 4),
        # Two hours of uncompressed stereo in one MOV, in chunks of half a second.
        movie(track(7200 * 48000, b"soun", one_value_each(7200 * 48000), chunks(14400, 24000))),
        *(path.read_bytes() for path in sorted(DATA.glob("*.*")) if path.name.startswith(("clip", "speech"))),
    ],
)
def test_what_a_real_file_may_have_passes(content: bytes | Media) -> None:
    check_claims(content if isinstance(content, bytes) else content.data)


def test_every_prefix_of_a_file_can_be_checked() -> None:
    for make in [*SAMPLES.values(), *TAGS.values()]:
        content = make()
        for length in [*range(100), *range(100, min(len(content), 3000), 13)]:
            with suppress(InvalidFile):
                check_claims(content[:length])


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x00\x00\x08free" * 12_000_000,
        b"\x00\x00\x00\x01moov\xff\xff\xff\xff\xff\xff\xff\xff" + b"\x00\x00\x00\x08trak" * 1000,
        b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"\xec\x80" * 50_000_000,
        b"RIFF\x00\x00\x00\x00WAVE" + b"junk\x00\x00\x00\x00" * 12_000_000,
        b"OggS" * 25_000_000,
        b"fLaC" + bytes(50_000_000),
        aiff(*[(b"NAME", b"")] * 3_000_000),
        FLV_HEADER + flv_tag(9, b"") * 3_000_000,
        asf_file(*[asf_tags(0)] * 500_000),
        b"\xff\xf1\x60\x40\x00\xff\xfc" * 7_000_000,
    ],
)
def test_a_malicious_file_is_checked_in_limited_time(content: bytes) -> None:
    started = time.monotonic()
    with suppress(InvalidFile):
        check_claims(content)
    assert time.monotonic() - started < 5
