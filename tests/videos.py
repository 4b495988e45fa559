"""Small videos for tests. Each frame shows its own number in a code that survives compression.

The code is a grid of 4 by 4 cells, black for 0 and white for 1, most significant bit first: 11 bits of the number, then
5 check bits. A rotated or mirrored picture of a number under 100 fails the check, so a picture that can be read is
upright.
"""

import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from deployments.media import Pixels

_CELLS = 4
_NUM_CHECK_BITS = 5
_MAX_NUMBER = 2 ** (_CELLS * _CELLS - _NUM_CHECK_BITS) - 1


def numbered_picture(number: int, width: int = 96, height: int = 64) -> Pixels:
    """Return a picture, shape (height, width, 3), uint8 RGB, that `read_number` reads back; 0 <= number <= 2047."""
    if not 0 <= number <= _MAX_NUMBER:
        raise ValueError(f"{number} does not fit the code")
    word = number << _NUM_CHECK_BITS | _check_bits(number)
    bits = [word >> shift & 1 for shift in reversed(range(_CELLS * _CELLS))]
    cells = np.array(bits, dtype=np.uint8).reshape(_CELLS, _CELLS) * 255
    rows = np.arange(height) * _CELLS // height
    columns = np.arange(width) * _CELLS // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_number(pixels: Pixels) -> int:
    """Return the number in a picture of any size; raises ValueError if it shows none."""
    height, width = pixels.shape[:2]
    word = 0
    for row in range(_CELLS):
        for column in range(_CELLS):
            y, x = (2 * row + 1) * height // (2 * _CELLS), (2 * column + 1) * width // (2 * _CELLS)
            cell = float(pixels[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].mean())
            if 90 < cell < 165:
                raise ValueError(f"the cell in row {row}, column {column} is neither black nor white: {cell:.0f}")
            word = word << 1 | (cell > 127)
    number = word >> _NUM_CHECK_BITS
    if word & 2**_NUM_CHECK_BITS - 1 != _check_bits(number):
        raise ValueError(f"the check bits do not fit {number}")
    return number


def numbered_pictures(count: int, width: int = 96, height: int = 64) -> Iterable[Pixels]:
    return (numbered_picture(number, width, height) for number in range(count))


def plain_picture(colour: Sequence[int], width: int = 96, height: int = 64) -> Pixels:
    """Return a picture filled with one RGB colour."""
    return np.full((height, width, 3), colour, dtype=np.uint8)


def write_video(
    pictures: Iterable[Pixels],
    *,
    container: str = "mp4",
    codec: str = "libx264",
    fps: int | Fraction = 30,
    times_s: Sequence[Fraction] | None = None,
    last_frame_s: float | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    hflip: bool = False,
    pixel_aspect: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    audio_s: float = 0,
    cover: bool = False,
) -> bytes:
    """Return the bytes of a video file of RGB pictures, all of one size.

    Frame k is shown at `times_s[k]`, or at k / fps if `times_s` is not given. `last_frame_s` is the duration of the
    last frame. `rotation` (degrees counter-clockwise) and `hflip` go into the container's display matrix, which players
    apply. `audio_s` adds a tone of this duration, and `cover` adds cover art; without pictures, the file contains only
    these. `codec_options` are passed to the encoder, for example `{"g": "12", "bf": "2"}`.
    """
    pictures = list(pictures)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, container_options=container_options or {}) as output:
            # All streams must exist before the first packet is written.
            video: Any = None
            if pictures:
                video = output.add_stream(codec, rate=Fraction(fps), options=_options(codec, codec_options))
                video.height, video.width = pictures[0].shape[:2]
                video.pix_fmt = pix_fmt
                if times_s is not None:
                    video.codec_context.time_base = Fraction(1, 1000 if codec in ("mpeg4", "mjpeg") else 90000)
                if pixel_aspect is not None:
                    video.codec_context.sample_aspect_ratio = pixel_aspect
                if rotation or hflip:
                    video.set_display_rotation(rotation, hflip=hflip)
            tone: Any = None
            if audio_s:
                tone = output.add_stream("aac" if container in ("mp4", "mov") else "mp3", rate=16000)
            if cover:
                art: Any = output.add_stream("mjpeg", rate=1)
                art.width, art.height, art.pix_fmt = 32, 32, "yuvj420p"
                art.disposition = av.stream.Disposition.attached_pic
                output.mux(_encode(art, [plain_picture((200, 40, 40), 32, 32)], [Fraction(0)]))
            if video is not None:
                frame_times_s = times_s or [number / Fraction(fps) for number in range(len(pictures))]
                packets = _encode(video, pictures, frame_times_s)
                if last_frame_s is not None:
                    last = max(packets, key=lambda packet: packet.pts)
                    last.duration = round(last_frame_s / last.time_base)
                output.mux(packets)
            if tone is not None:
                output.mux(_tone(tone, audio_s))
        return path.read_bytes()


def _encode(stream: Any, pictures: Sequence[Pixels], times_s: Sequence[Fraction]) -> list[Any]:
    packets: list[Any] = []
    for picture, time_s in zip(pictures, times_s, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = stream.codec_context.time_base or 1 / stream.codec_context.framerate
        frame.pts = round(time_s / frame.time_base)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _check_bits(number: int) -> int:
    """Return the check bits. The constants make rotated and mirrored pictures of numbers under 100 invalid."""
    return (number * 12 + 3) % (1 << _NUM_CHECK_BITS)


def _options(codec: str, options: dict[str, str] | None) -> dict[str, str]:
    defaults = {"libx265": {"x265-params": "log-level=none:pools=1:frame-threads=1"}}
    return {"threads": "1", **defaults.get(codec, {}), **(options or {})}


def _tone(stream: Any, seconds: float) -> list[Any]:
    samples = (np.sin(np.arange(int(16000 * seconds)) * 0.17) * 8000).astype(np.int16)
    packets: list[Any] = []
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]
