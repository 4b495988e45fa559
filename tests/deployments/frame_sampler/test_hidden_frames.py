"""VP8 and VP9 with alternate reference frames: packets that show nothing."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from deployments.frame_sampler.hidden_frames import shows_frame
from tests.deployments.frame_sampler.test_sampler import sampled
from tests.videos import numbered_picture, read_number

NUM_FRAMES = 90
GOP = 20
DATA = Path(__file__).parent.parent.parent / "data"


def with_hidden_frames(codec: str, container: str, *, in_superframes: bool = False) -> bytes:
    """Return a video of 90 numbered frames in which a hidden copy of each keyframe comes before it.

    In VP9 the two may be in one packet, a superframe.
    """
    options = {"g": str(GOP), "keyint_min": str(GOP), "auto-alt-ref": "0", "threads": "1"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container) as output:
            stream: Any = output.add_stream(codec, rate=30, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 200_000
            for number in [*range(NUM_FRAMES), None]:
                frame = None
                if number is not None:
                    frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 30)
                for packet in stream.encode(frame):
                    for part in _parts(codec, packet, in_superframes):
                        output.mux(part)
        return path.read_bytes()


def _parts(codec: str, packet: Any, in_superframes: bool) -> list[Any]:
    shown = bytes(packet)
    if not packet.is_keyframe:
        return [packet]
    hidden = bytes([shown[0] & ~(0x10 if codec == "libvpx" else 0x02)]) + shown[1:]
    if in_superframes:
        sizes = b"".join(len(frame).to_bytes(2, "little") for frame in (hidden, shown))
        return [_like(packet, hidden + shown + b"\xc9" + sizes + b"\xc9")]
    return [_like(packet, hidden), packet]


def _like(packet: Any, content: bytes) -> Any:
    other: Any = av.Packet(content)
    other.stream, other.time_base, other.pts, other.dts = packet.stream, packet.time_base, packet.pts, packet.dts
    other.duration, other.is_keyframe = packet.duration, True
    return other


@pytest.mark.parametrize(
    ("codec", "container", "in_superframes"),
    [
        ("libvpx", "matroska", False),
        ("libvpx-vp9", "matroska", False),
        ("libvpx-vp9", "matroska", True),
        ("libvpx-vp9", "mp4", True),
    ],
)
def test_frames_are_numbered_as_they_are_shown(codec: str, container: str, in_superframes: bool) -> None:
    video = with_hidden_frames(codec, container, in_superframes=in_superframes)
    for num_frames in (6, 9, 90):
        result = sampled(video, num_frames)
        expected = list(range(0, NUM_FRAMES, NUM_FRAMES // num_frames))
        assert [frame.frame_number for frame in result.frames] == expected
        assert [read_number(frame.pixels) for frame in result.frames] == expected
        assert [frame.timestamp_s for frame in result.frames] == pytest.approx(
            [number / 30 for number in expected], abs=0.001
        )
        assert result.properties.total_frames == NUM_FRAMES
        assert result.properties.fps == pytest.approx(30, abs=0.02)
        assert result.properties.duration_s == pytest.approx(3, abs=0.002)


def test_alternate_reference_frames_of_an_encoder_do_not_count() -> None:
    """The file is FFmpeg's, encoded in two passes: 101 packets, of which 90 show a frame."""
    result = sampled((DATA / "alt-ref.mkv").read_bytes(), 6)
    assert [frame.frame_number for frame in result.frames] == [0, 15, 30, 45, 60, 75]
    assert [frame.timestamp_s for frame in result.frames] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=0.001)
    assert result.properties.total_frames == NUM_FRAMES
    assert result.properties.fps == pytest.approx(30, abs=0.02)


@pytest.mark.parametrize(
    ("codec", "packet", "expected"),
    [
        ("vp8", b"\x10", True),
        ("vp8", b"\x01", False),
        ("vp9", b"\x82", True),  # profile 0, a key frame that is shown
        ("vp9", b"\x84", False),
        ("vp9", b"\x88", True),  # shows an existing frame
        ("vp9", b"\xb1", True),  # profile 3, whose header is one bit longer
        ("vp9", b"\xb2", False),
        ("vp9", b"\x84\x86\xc1\x01\x01\xc1", True),  # a superframe: hidden, shown
        ("vp9", b"\x84\x84\xc1\x01\x01\xc1", False),
        ("vp9", b"\x86\xc1", True),  # no index, though the last byte looks like one
        ("h264", b"\x00", True),
    ],
)
def test_headers_tell_whether_a_frame_is_shown(codec: str, packet: bytes, expected: bool) -> None:
    assert shows_frame(codec, memoryview(packet)) is expected


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_any_bytes_are_a_packet(codec: str) -> None:
    for last in range(256):
        for length in range(1, 12):
            shows_frame(codec, memoryview(bytes(length - 1) + bytes([last])))
            shows_frame(codec, memoryview(bytes([last]) * length))
