"""Finds the pictures on a PDF's page that may hold text which is not in the text layer."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from deployments.document_parser.display import Display
from deployments.places import Box, TextLine

_MAX_OBJECTS = 5_000
"""Objects of a page that are looked at. A scan is among its first."""
_MAX_DEPTH = 4
"""Of objects in groups (form XObjects)."""

_MIN_PICTURE = 0.2
"""Share of the page: smaller pictures are logos and photos more often than scans."""
_MIN_SCAN = 0.5
"""Share of the page: a picture so large without text in it is the page itself."""
_MIN_LETTERS = 0.5
"""Share of a text's visible characters. A text layer that was recognized in the wrong script has fewer."""
_MAX_UNREAD_TEXT = 0.02
"""Share of a picture that lines cover which do not belong to it, such as the stamp of a court on a scan. The lines of a
text layer behind a scan cover far more."""


@dataclass(frozen=True)
class Pictures:
    has_objects: bool
    """Whether anything is drawn on the page."""
    boxes: list[Box]
    """The large pictures, in fractions of the displayed page."""

    def without_text(self, lines: Sequence[TextLine]) -> list[Box]:
        """Return the pictures that are not covered by lines of text, and scans where the text has few letters."""
        has_letters = _has_letters(lines)
        boxes = [line.box for line in lines]
        return [
            box
            for box in self.boxes
            if _covered(box, boxes) < _MAX_UNREAD_TEXT * _area(box) or (is_scan(box) and not has_letters)
        ]


def is_scan(box: Box) -> bool:
    """Return whether a picture is most of its page."""
    return _area(box) >= _MIN_SCAN


def _has_letters(lines: Sequence[TextLine]) -> bool:
    characters = "".join(["".join(line.text.split()) for line in lines])
    return sum(map(str.isalpha, characters)) >= _MIN_LETTERS * len(characters)


def find_pictures(page: pdfium.PdfPage, display: Display) -> Pictures:
    num_objects = max(0, pdfium_c.FPDFPage_CountObjects(page))
    objects = (pdfium_c.FPDFPage_GetObject(page, index) for index in range(min(num_objects, _MAX_OBJECTS)))
    budget = iter(range(_MAX_OBJECTS))
    corners = list(_images(objects, np.eye(3), _MAX_DEPTH, budget))
    if not corners:
        return Pictures(bool(num_objects), [])
    boxes = [display.fractions(box) for box in display.boxes(np.array(corners)).tolist()]
    return Pictures(True, [box for box in boxes if _area(box) >= _MIN_PICTURE])


def _images(
    objects: "Iterator[pdfium_c.FPDF_PAGEOBJECT]", matrix: NDArray[np.float64], depth: int, budget: Iterator[int]
) -> Iterator[NDArray[np.float64]]:
    """Yield the box of each picture in the page's coordinates, shape (4,). `matrix` is that of the group."""
    for item in objects:
        if next(budget, None) is None:
            return
        kind = pdfium_c.FPDFPageObj_GetType(item)
        if kind == pdfium_c.FPDF_PAGEOBJ_IMAGE:
            # An image is the unit square.
            square = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
            x, y, _ = matrix @ _matrix(item) @ square
            yield np.array([x.min(), y.min(), x.max(), y.max()])
        elif kind == pdfium_c.FPDF_PAGEOBJ_FORM and depth:
            num_inner = max(0, pdfium_c.FPDFFormObj_CountObjects(item))
            inner = (pdfium_c.FPDFFormObj_GetObject(item, index) for index in range(num_inner))
            yield from _images(inner, matrix @ _matrix(item), depth - 1, budget)


def _matrix(item: "pdfium_c.FPDF_PAGEOBJECT") -> NDArray[np.float64]:
    m = pdfium_c.FS_MATRIX()
    pdfium_c.FPDFPageObj_GetMatrix(item, ctypes.byref(m))
    return np.array([[m.a, m.c, m.e], [m.b, m.d, m.f], [0, 0, 1]])


def _area(box: Box) -> float:
    x0, y0, x1, y1 = box
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def _covered(box: Box, lines: Sequence[Box]) -> float:
    return sum(_area((max(box[0], x0), max(box[1], y0), min(box[2], x1), min(box[3], y1))) for x0, y0, x1, y1 in lines)
