"""The displayed page of a PDF: where its own coordinates are, and in which direction text goes."""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from deployments.places import Box

Direction = Literal["right", "down", "left", "up"]
"""Where a line of text goes on the displayed page."""


@dataclass(frozen=True)
class Display:
    """How a page's own coordinates become points on the displayed page, from its top left corner."""

    matrix: NDArray[np.float64]
    """Shape (2, 3)."""
    width: float
    height: float

    @classmethod
    def of(cls, page: "pdfium_c.FPDF_PAGE") -> "Display":
        """Ask pdfium, which applies rotation and crop box."""
        width, height = pdfium_c.FPDF_GetPageWidthF(page), pdfium_c.FPDF_GetPageHeightF(page)
        steps = 10_000
        corners = [_to_page(page, steps, x, y) for x, y in ((0, 0), (steps, 0), (0, steps))]
        origin, across, down = (np.array(corner) for corner in corners)
        to_page = np.stack([(across - origin) / width, (down - origin) / height], axis=1)
        to_display = np.linalg.inv(to_page)
        return cls(np.column_stack([to_display, -to_display @ origin]), width, height)

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return boxes (n, 4) in the page's coordinates as x0, y0, x1, y1 on the displayed page."""
        corners = boxes.reshape(-1, 2, 2) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def shows(self, box: Box) -> bool:
        """Return whether the middle of a box is on the page."""
        x0, y0, x1, y1 = box
        return 0 < x0 + x1 < 2 * self.width and 0 < y0 + y1 < 2 * self.height

    def direction(self, angle: float) -> Direction:
        """Return where text goes that is turned by `angle` (radians, clockwise) in the page's coordinates."""
        (a, c, _), (b, d, _) = self.matrix.tolist()
        dx, dy = a * math.cos(angle) - c * math.sin(angle), b * math.cos(angle) - d * math.sin(angle)
        if abs(dx) >= abs(dy):
            return "right" if dx >= 0 else "left"
        return "down" if dy > 0 else "up"

    def fractions(self, box: Sequence[float]) -> Box:
        """Return a box in fractions of the displayed page, cut to the page."""
        x0, y0, x1, y1 = (
            min(1.0, max(0.0, value / size)) for value, size in zip(box, (self.width, self.height) * 2, strict=True)
        )
        return x0, y0, x1, y1

    def upright(self, box: Box, direction: Direction) -> Box:
        """Return a box of the displayed page as it is when the page is turned so that the text goes to the right."""
        x0, y0, x1, y1 = box
        width, height = self.width, self.height
        match direction:
            case "right":
                return box
            case "left":
                return width - x1, height - y1, width - x0, height - y0
            case "down":
                return y0, width - x1, y1, width - x0
            case "up":
                return height - y1, x0, height - y0, x1

    def turned_back(self, box: Box, direction: Direction) -> Box:
        """Undo `upright`."""
        x0, y0, x1, y1 = box
        width, height = self.width, self.height
        match direction:
            case "right":
                return box
            case "left":
                return width - x1, height - y1, width - x0, height - y0
            case "down":
                return width - y1, x0, width - y0, x1
            case "up":
                return y0, height - x1, y1, height - x0


def _to_page(page: "pdfium_c.FPDF_PAGE", steps: int, x: int, y: int) -> tuple[float, float]:
    page_x, page_y = ctypes.c_double(), ctypes.c_double()
    if not pdfium_c.FPDF_DeviceToPage(page, 0, 0, steps, steps, 0, x, y, page_x, page_y):
        raise RuntimeError("pdfium could not place the page.")
    return page_x.value, page_y.value
