import io
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from deployments import asf
from deployments.errors import InvalidFileType
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Kind
from serve_app.sniffing import require_kind, sniff
from tests.deployments.images.heif_files import Item, coded_picture, heif, picture_file
from tests.deployments.transcriber.sounds import SAMPLE_RATE, id3_tag, sweep, wav_by_hand

SOUND = sweep(0.5)
DATA = Path(__file__).parent.parent / "data"


def _picture(format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 30)).save(file, format_name, **options)
    return file.getvalue()


def _media(container: str, video: str | None = None, audio: str | None = None, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        picture_stream: Any = output.add_stream(video, rate=10) if video else None
        sound_stream: Any = output.add_stream(audio, rate=48000) if audio else None
        if sound_stream:
            sound_stream.layout = "mono"
        if picture_stream:
            picture_stream.width, picture_stream.height, picture_stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(5):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 40, np.uint8), format="rgb24")
                frame.pts = index
                output.mux(picture_stream.encode(frame))
            output.mux(picture_stream.encode(None))
        if sound_stream:
            tone = (np.sin(np.arange(24000) / 20) * 8000).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 48000, 0
            resampler = av.AudioResampler(sound_stream.format.name, "mono", 48000, sound_stream.frame_size or None)
            for piece in [*resampler.resample(sound), *resampler.resample(None)]:
                output.mux(sound_stream.encode(piece))
            output.mux(sound_stream.encode(None))
    return file.getvalue()


FILES: dict[str, tuple[Kind, Callable[[], bytes]]] = {
    **{
        f"{name} picture": ("image", lambda name=name: _picture(name))
        for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
    },
    "mp4": ("video", lambda: _media("mp4", "mpeg4", "aac")),
    "fragmented mp4": ("video", lambda: _media("mp4", "mpeg4", movflags="frag_keyframe+empty_moov")),
    "mov": ("video", lambda: _media("mov", "mpeg4", "aac")),
    "avi": ("video", lambda: _media("avi", "mpeg4")),
    "mkv": ("video", lambda: _media("matroska", "mpeg4", "aac")),
    "TIFF picture of more than 4 GB": ("image", lambda: _picture("TIFF", big_tiff=True)),
    "HEIC picture": ("image", lambda: picture_file(Image.new("RGB", (64, 64)))),
    "HEIC picture of no special brand": (
        "image",
        lambda: heif(coded_picture(Image.new("RGB", (64, 64))), brand=b"mif1"),
    ),
    "AVIF picture of no special brand": (
        "image",
        lambda: heif(coded_picture(Image.new("RGB", (64, 64)), "av01"), brand=b"mif1"),
    ),
    "webm": ("video", lambda: _media("webm", "libvpx")),
    "live webm": ("video", lambda: _media("webm", "libvpx", live="1")),
    "3gp": ("video", lambda: _media("3gp", "mpeg4", "aac")),
    "3g2": ("video", lambda: _media("3g2", "mpeg4", "aac")),
    "ts": ("video", lambda: _media("mpegts", "mpeg4", "mp2")),
    "ts of Blu-ray": ("video", lambda: _media("mpegts", "mpeg4", "aac", mpegts_m2ts_mode="1")),
    "mpg": ("video", lambda: _media("mpeg", "mpeg4", "mp2")),
    "mpg of a DVD": ("video", lambda: _media("vob", "mpeg4", "ac3")),
    "wmv": ("video", lambda: _media("asf", "wmv2", "mp2")),
    "flv": ("video", lambda: _media("flv", "flv")),
    "aac": ("audio", lambda: _media("adts", audio="aac")),
    "aac with a tag": ("audio", lambda: id3_tag(2000) + _media("adts", audio="aac")),
    "aac cut out of a stream": ("audio", lambda: _media("adts", audio="aac")[100:]),
    "aiff": ("audio", lambda: _media("aiff", audio="pcm_s16be")),
    "aifc": ("audio", lambda: _media("aiff", audio="pcm_mulaw")),
    "amr": ("audio", (DATA / "speech.amr").read_bytes),
    "wma": ("audio", lambda: _media("asf", audio="pcm_s16le")),
    "webm of sound": ("audio", lambda: _media("webm", audio="libopus")),
    "live webm of sound": ("audio", lambda: _media("webm", audio="libopus", live="1")),
    "matroska of sound": ("audio", lambda: _media("matroska", audio="flac")),
    "3gp of sound": ("audio", lambda: _media("3gp", audio="aac")),
    "ts of sound": ("audio", lambda: _media("mpegts", audio="aac")),
    "mpg of sound": ("audio", lambda: _media("mpeg", audio="mp2")),
    "flv of sound": ("audio", lambda: _media("flv", audio="aac")),
    "mp3 with a tag": ("audio", lambda: _media("mp3", audio="libmp3lame")),
    "mp3 without a tag": ("audio", lambda: _media("mp3", audio="libmp3lame", id3v2_version="0", write_xing="0")),
    "mp3 cut out of a stream": ("audio", lambda: _media("mp3", audio="libmp3lame", id3v2_version="0")[700:]),
    "wav": ("audio", lambda: _media("wav", audio="pcm_s16le")),
    "m4a": ("audio", lambda: _media("ipod", audio="aac")),
    "mp4 with audio only": ("audio", lambda: _media("mp4", audio="aac")),
    "flac": ("audio", lambda: _media("flac", audio="flac")),
    "ogg vorbis": ("audio", (DATA / "speech.ogg").read_bytes),
    "ogg opus": ("audio", lambda: _media("ogg", audio="libopus")),
    "ogg flac": ("audio", lambda: _media("ogg", audio="flac")),
    "wav of a telephone": ("audio", lambda: _media("wav", audio="pcm_mulaw")),
    "wav sent before its length was known": ("audio", lambda: wav_by_hand(SOUND[None], SAMPLE_RATE, data_bytes=0)),
    "wav rf64": ("audio", lambda: _media("wav", audio="pcm_s16le", rf64="always")),
    "wav extensible": ("audio", lambda: wav_by_hand(SOUND[None], SAMPLE_RATE, mask=4)),
    "mp3 with a cover": ("audio", lambda: id3_tag(200_000) + _media("mp3", audio="libmp3lame", id3v2_version="0")),
    "mp3 after garbage": (
        "audio",
        lambda: np.random.default_rng(0).bytes(1500) + _media("mp3", audio="libmp3lame", id3v2_version="0"),
    ),
    "flac with a cover": ("audio", lambda: id3_tag(200_000) + _media("flac", audio="flac")),
    "alac": ("audio", lambda: _media("ipod", audio="alac")),
    "m4a of Safari": ("audio", lambda: _media("mp4", audio="aac", movflags="empty_moov+default_base_moof")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_accepted_as_its_own_kind_and_no_other(name: str) -> None:
    kind, make = FILES[name]
    content = make()
    require_kind(content, kind)
    for other in MODALITIES:
        if other.kind == kind:
            continue
        with pytest.raises(InvalidFileType, match=f"Supported {other.kind} types: {other.formats[0].name}"):
            require_kind(content, other.kind)


@pytest.mark.parametrize(
    "name",
    [
        *("JPEG picture", "PNG picture", "AVIF picture", "HEIC picture", "fragmented mp4", "mkv", "avi", "ts", "mpg"),
        *("wmv", "flv", "wav", "flac", "ogg opus", "aac", "aiff", "amr", "wma", "live webm of sound"),
    ],
)
def test_a_truncated_file_passes_to_its_decoder(name: str) -> None:
    kind, make = FILES[name]
    content = make()
    require_kind(content[: len(content) // 2], kind)


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_an_mp4_whose_tracks_are_cut_off_passes_as_video_and_as_audio(kind: Kind) -> None:
    content = _media("mp4", "mpeg4", "aac")
    require_kind(content[: content.rindex(b"moov")], kind)


def test_the_error_for_a_video_on_the_audio_route_names_the_video_route() -> None:
    with pytest.raises(InvalidFileType, match=r"MP4 video.*M4A.*/api/analyze/video with include_audio"):
        require_kind(_media("mp4", "mpeg4", "aac"), "audio")


def test_the_error_for_an_image_on_the_audio_route_names_the_image_route() -> None:
    with pytest.raises(InvalidFileType, match=r"a GIF image.*/api/analyze/image"):
        require_kind(_picture("GIF"), "audio")


def _as_camera_raw(tiff: bytes) -> bytes:
    """Return a TIFF whose first page says that it is a preview (NewSubfileType 1)."""
    start = int.from_bytes(tiff[4:8], "little")
    return tiff[: start + 2] + struct.pack("<HHII", 254, 4, 1, 1) + tiff[start + 14 :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<html>not found</html>", "text"),
        ("caf\u00e9".encode(), "text"),
        (_as_camera_raw(_picture("TIFF")), "a camera's raw image"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(50), "a camera's raw image"),
        (heif(Item("jpeg", _picture("JPEG"))), "a HEIF image in another codec"),
        (b"#!AMR_MC1.0\n" + bytes(50), "several channels"),
        (b"\xff\xf1\x50\x80\x00\xff\xfc" + bytes(2000), "no known type"),
        (b"\x00\x01\x02\x03" * 40, "no known type"),
        (b"\xff\xfb", "no known type"),
        (b"\xff\xfb\x90\x00" + bytes(2000), "no known type"),
        (b"BM plain words that begin like a bitmap", "text"),
        (b"RIFF\x00\x00\x00\x00ACON", "no known type"),
        (b"RIFX\x00\x00\x00\x00WAVE", "big-endian"),
    ],
)
@pytest.mark.parametrize("kind", [modality.kind for modality in MODALITIES])
def test_anything_else_is_named_and_refused(content: bytes, words: str, kind: Kind) -> None:
    with pytest.raises(InvalidFileType, match=words):
        require_kind(content, kind)


UNSUPPORTED: dict[str, Callable[[], bytes]] = {
    "a Wave64 .W64. audio file": lambda: _media("w64", audio="pcm_s16le"),
    "an AU audio file": lambda: _media("au", audio="pcm_s16be"),
    "an AC-3 audio file": lambda: _media("ac3", audio="ac3"),
    "an E-AC-3 audio file": lambda: _media("eac3", audio="eac3"),
    "an MP2 audio file": lambda: _media("mp2", audio="mp2"),
    "a JPEG 2000 image": lambda: _picture("JPEG2000"),
    "a JPEG 2000": lambda: _picture("JPEG2000", no_jp2=True),
    "an ICO image": lambda: _picture("ICO"),
}


@pytest.mark.parametrize("words", UNSUPPORTED)
@pytest.mark.parametrize("kind", [modality.kind for modality in MODALITIES])
def test_a_type_that_is_known_but_not_supported_is_named(words: str, kind: Kind) -> None:
    content = UNSUPPORTED[words]()
    with pytest.raises(InvalidFileType, match=f"looks like {words}.*Supported {kind} types"):
        require_kind(content, kind)
    if words == "an MP2 audio file":
        with pytest.raises(InvalidFileType, match=words):
            require_kind(id3_tag(3000) + content[100:], kind)


@pytest.mark.parametrize(
    "content", [b"FORMAT: plain words", b"GGGG" * 40, b"\x0b\x77 no frame", b"\x00\x00\x01\x00" + bytes(60)]
)
def test_content_that_only_begins_like_an_unsupported_type_is_not_taken_for_it(content: bytes) -> None:
    file_type = sniff(content)
    assert file_type is None or file_type.description == "text"


def test_a_format_for_which_sound_only_has_a_format_of_its_own_is_named_so() -> None:
    with pytest.raises(InvalidFileType, match="a WebM file with audio only.*Post it to /api/analyze/audio"):
        require_kind(_media("webm", audio="libopus", live="1"), "video")
    with pytest.raises(InvalidFileType, match="an MPEG transport stream .TS. with audio only"):
        require_kind(_media("mpegts", audio="aac"), "video")


@pytest.mark.parametrize("name", ["ts", "wmv", "flv"])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_file_whose_tracks_are_cut_off_passes_as_video_and_as_audio(name: str, kind: Kind) -> None:
    content = FILES[name][1]()
    require_kind(content[: {"ts": 188, "wmv": 100, "flv": 13}[name]] + b"\x47".ljust(188, b"\xff") * 3, kind)


def test_flac_may_have_an_id3_tag() -> None:
    require_kind(b"ID3\x04\x00\x00\x00\x00\x00\x05" + bytes(5) + b"fLaC" + bytes(50), "audio")


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x00\x00\x08free" * 4_000_000,
        b"\x00\x00\x00\x08ftyp" + b"\x01\x00\x00\x00moov" + b"\x00\x00\x00\x10trak\x00\x00\x00\x08mdia" * 1_000_000,
        b"\x00\x00\x00\x01ftyp" + bytes(8),
        b"\x00\x00\x00\x01moov\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(100),
        b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"\xec\x80" * 4_000_000,
        (b"OggS\x00\x02" + bytes(21)) * 2_000_000,
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
        b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + (b"\x12" + bytes(14)) * 2_000_000,
        asf.MAGIC + (2**40).to_bytes(8, "little") + bytes(6) + (bytes(16) + b"\x18" + bytes(7)) * 1_000_000,
        (b"\x47\x40\x00\x10\x00" + b"\x00\xb0\xb2" + bytes(5) + b"\x00\x01\xe1\x00" * 44).ljust(188) * 200_000,
        b"\x00\x00\x01\xba" + b"\x00\x00\x01\xbe\x00\x00" * 4_000_000,
        b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(2_000_000),
        b"II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 8 + bytes(2_000_000),
        b"\x00\x00\x00\x0cftypmif1" + b"\x00\x00\x00\x08free" * 2_000_000,
        b"\x00\x00\x00\x0cftypmif1" + b"\x7f\x00\x00\x00meta" + (b"\x00\x00\x00\x09iinf\x00" * 2_000_000),
        b"\xff\xf1\x50\x80\x00\xff\xfc" * 1_000_000,
    ],
)
def test_a_malicious_file_is_recognized_or_not_in_bounded_time(content: bytes) -> None:
    started = time.thread_time()
    sniff(content)
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("name", FILES)
def test_every_prefix_of_a_file_can_be_sniffed(name: str) -> None:
    content = FILES[name][1]()
    for length in [*range(120), *range(120, len(content), max(1, len(content) // 100))]:
        sniff(content[:length])


def _with_pictures(codec: str, pix_fmt: str, pictures_per_s: int, *, are_chapters: bool = False) -> bytes:
    """Return an MP4 of 3 seconds of sound with a track of pictures, which a player may show as chapters."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        sound_stream: Any = output.add_stream("aac", rate=48000, layout="mono")
        stream: Any = output.add_stream(codec, rate=pictures_per_s)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for index in range(3 * pictures_per_s):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 8, np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for start in range(0, 144_000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, start
            output.mux(sound_stream.encode(frame))
        output.mux(sound_stream.encode(None))
    content = file.getvalue()
    if not are_chapters:
        return content
    # The reference goes to the end of the first track, the sound; the second track has the number 2.
    reference = b"\x00\x00\x00\x14tref\x00\x00\x00\x0cchap\x00\x00\x00\x02"
    moov, track = content.index(b"moov") - 4, content.index(b"trak") - 4
    end = track + int.from_bytes(content[track : track + 4], "big")
    longer = bytearray(content[:end] + reference + content[end:])
    for at in (moov, track):
        longer[at : at + 4] = (int.from_bytes(content[at : at + 4], "big") + len(reference)).to_bytes(4, "big")
    return bytes(longer)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuvj420p"), ("png", "rgb24")])
def test_sound_with_slides_is_sound_and_may_be_shown_as_a_video(codec: str, pix_fmt: str) -> None:
    content = _with_pictures(codec, pix_fmt, 1)
    require_kind(content, "audio")
    require_kind(content, "video")


def test_a_motion_jpeg_video_is_no_slide_show() -> None:
    content = _with_pictures("mjpeg", "yuvj420p", 10)
    require_kind(content, "video")
    with pytest.raises(InvalidFileType, match="looks like an MP4 video"):
        require_kind(content, "audio")
    with pytest.raises(InvalidFileType, match="looks like an MP4 video"):
        require_kind(_with_pictures("mpeg4", "yuv420p", 1), "audio")


def test_sound_with_chapter_pictures_is_sound_whatever_their_codec() -> None:
    content = _with_pictures("mpeg4", "yuv420p", 1, are_chapters=True)
    require_kind(content, "audio")
    with pytest.raises(InvalidFileType, match="M4A"):
        require_kind(content, "video")
