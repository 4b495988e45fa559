"""A decoded frame as a person sees it: turned, its pixels square, scaled down for the captioner."""

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.errors import InvalidFile
from deployments.media import Pixels

_CONVERTIBLE_COLORSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
"""AVCOL_SPC_* that libswscale converts: RGB, BT.709, unspecified, FCC, BT.601 twice, SMPTE 240M, BT.2020. Rarer ones,
as ICtCp, are taken for BT.709: their colors are off, the picture can be recognized."""
_WIDEST_PIXEL = 4
"""Anamorphic video has pixels up to twice as wide as high; beyond this the ratio in the file is damage, and ignored."""


def displayed_size(frame: Any, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return (width, height) of a frame as a player shows it.

    `pixel_aspect` is the width of a stored pixel over its height; the picture is widened or heightened, never shrunk,
    to make pixels square. Then it is turned as the container's display matrix says.
    """
    width, height = _square_pixel_size(frame, pixel_aspect)
    return (height, width) if _display_matrix(frame)[0, 1] else (width, height)


def displayed_pixels(frame: Any, pixel_aspect: Fraction | None, max_side_px: int) -> Pixels:
    """Return the pixels of a frame as a player shows it, shape (height, width, 3), uint8 RGB.

    The longer side is at most `max_side_px`; smaller pictures keep their size. Values of HDR video are taken as they
    are, without tone mapping. Raises InvalidFile for a pixel format that cannot be converted.
    """
    is_convertible = frame.colorspace in _CONVERTIBLE_COLORSPACES
    colorspace = {} if is_convertible else {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
    try:
        pixels = frame.to_ndarray(format="rgb24", threads=1, **colorspace)
    except av.FFmpegError as error:
        raise InvalidFile(
            f"The video's pixel format, {frame.format.name}, cannot be shown. Export it as H.264."
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
    if not pixel_aspect or not 1 / _WIDEST_PIXEL <= pixel_aspect <= _WIDEST_PIXEL:
        return frame.width, frame.height
    if pixel_aspect > 1:
        return round(frame.width * pixel_aspect), frame.height
    return frame.width, round(frame.height / pixel_aspect)


def _display_matrix(frame: Any) -> NDArray[np.int64]:
    """Return the quarter turn or mirroring nearest to the frame's display matrix.

    Shape (2, 2), entries -1, 0 or 1: a stored point (x, y) is shown at (x, y) @ matrix. The layout is FFmpeg's
    (libavutil/display.h): 3 by 3 numbers, of which the upper left 2 by 2 turn and scale.
    """
    if "DISPLAYMATRIX" not in {item.type.name for item in frame.side_data}:
        return np.eye(2, dtype=np.int64)
    stored = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), dtype=np.int32)
    turn = stored.reshape(3, 3)[:2, :2].astype(np.int64)
    is_upright = abs(turn[0, 0]) + abs(turn[1, 1]) >= abs(turn[0, 1]) + abs(turn[1, 0])
    kept = np.where(np.eye(2, dtype=bool) == is_upright, turn, 0)
    return np.where(np.eye(2, dtype=bool) == is_upright, np.where(kept < 0, -1, 1), 0)
