"""Turns decoded frames into images as a player shows them: rotated, with square pixels, scaled down."""

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.errors import InvalidFile
from deployments.media import Pixels

_CONVERTIBLE_COLORSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
"""AVCOL_SPC_* values that libswscale converts: RGB, BT.709, unspecified, FCC, BT.601 (two values), SMPTE 240M, BT.2020.
Rarer ones such as ICtCp are treated as BT.709: the colours are wrong, but the image is recognizable."""
_MAX_PIXEL_ASPECT = 4
"""The pixels of anamorphic video are up to twice as wide as high. A more extreme ratio is taken for damage
and ignored."""


def display_size(frame: Any, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return (width, height) of a frame as a player shows it, with square pixels and rotated.

    `pixel_aspect` is the width of a stored pixel divided by its height. Pixels are made square by stretching one side,
    never by shrinking. The rotation is that of the container's display matrix.
    """
    width, height = _square_pixel_size(frame, pixel_aspect)
    return (height, width) if _display_matrix(frame)[0, 1] else (width, height)


def display_pixels(frame: Any, pixel_aspect: Fraction | None, max_side_px: int) -> Pixels:
    """Return the image of a frame as a player shows it, shape (height, width, 3), uint8 RGB.

    It is scaled down to a longer side of `max_side_px`, never up. HDR video is not tone-mapped. Raises InvalidFile for
    a pixel format that cannot be converted.
    """
    is_convertible = frame.colorspace in _CONVERTIBLE_COLORSPACES
    colorspace = {} if is_convertible else {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
    try:
        pixels = frame.to_ndarray(format="rgb24", threads=1, **colorspace)
    except av.FFmpegError as error:
        raise InvalidFile(
            f"The video's pixel format, {frame.format.name}, cannot be converted. Export the video as H.264."
        ) from error
    width, height = _square_pixel_size(frame, pixel_aspect)
    scale = min(1.0, max_side_px / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (frame.width, frame.height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    matrix = _display_matrix(frame)
    if matrix[0, 1]:
        pixels = pixels.transpose(1, 0, 2)
    if matrix[:, 0].sum() < 0:
        pixels = pixels[:, ::-1]
    if matrix[:, 1].sum() < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _square_pixel_size(frame: Any, pixel_aspect: Fraction | None) -> tuple[int, int]:
    if not pixel_aspect or not 1 / _MAX_PIXEL_ASPECT <= pixel_aspect <= _MAX_PIXEL_ASPECT:
        return frame.width, frame.height
    if pixel_aspect > 1:
        return round(frame.width * pixel_aspect), frame.height
    return frame.width, round(frame.height / pixel_aspect)


def _display_matrix(frame: Any) -> NDArray[np.int64]:
    """Return the frame's display matrix, rounded to quarter turns and mirroring.

    Shape (2, 2), entries -1, 0 or 1: a stored point (x, y) is shown at (x, y) @ matrix. So entry [0, 1] is not 0 if the
    axes are swapped, and a negative entry in column 0 or 1 mirrors the shown x or y axis. FFmpeg stores a 3x3 matrix
    (libavutil/display.h), whose upper left 2x2 part rotates and scales.
    """
    if "DISPLAYMATRIX" not in {item.type.name for item in frame.side_data}:
        return np.eye(2, dtype=np.int64)
    stored = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), dtype=np.int32)
    rotation = stored.reshape(3, 3)[:2, :2].astype(np.int64)
    is_upright = abs(rotation[0, 0]) + abs(rotation[1, 1]) >= abs(rotation[0, 1]) + abs(rotation[1, 0])
    return np.where(np.eye(2, dtype=bool) == is_upright, np.where(rotation < 0, -1, 1), 0)
