"""Pictures with known text: pages, receipts, scans."""

import io
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deployments.media import Pixels
from deployments.places import Box, TextLine

PARAGRAPH = (
    "The lighthouse at Cape Farewell was built in 1871 by the harbour commission. Its lamp burns 24 litres of oil "
    "every night and is seen from 17 miles away. Two keepers live in the tower with their families; the younger one "
    "keeps a diary of ships, storms and birds. In the winter of 1893 the sea broke the lower windows, and the keepers "
    "carried the lamp upstairs by hand. The bill for the repair, invoice INV-1893-007, came to $1,204.50 and was paid "
    "in March by the harbour office."
)
ITEMS = [
    ("Espresso double", "3.20"),
    ("Croissant butter", "2.45"),
    ("Orange juice 330 ml", "4.10"),
    ("Bread rye 750 g", "5.60"),
    ("Cheese Comte", "7.85"),
    ("Subtotal", "23.20"),
    ("VAT 7% included", "1.62"),
    ("TOTAL", "24.82"),
]


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that comes inside Pillow."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


@dataclass
class Page:
    """A white page that is written on."""

    width: int
    height: int
    boxes: dict[str, Box] = field(default_factory=dict)
    """Where each line stands, in fractions of the page."""

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.width, self.height), "white")
        self._draw = ImageDraw.Draw(self.image)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self.image)

    @property
    def text(self) -> str:
        return " ".join(self.boxes)

    def write(self, text: str, left: float, top: float, size: int) -> None:
        self._draw.text((left, top), text, "black", font(size))
        x0, y0, x1, y1 = self._draw.textbbox((left, top), text, font(size))
        self.boxes[text] = (x0 / self.width, y0 / self.height, x1 / self.width, y1 / self.height)

    def write_paragraph(self, text: str, left: float, top: float, width: float, size: int) -> float:
        """Write text in lines of at most `width` pixels; return where the next line would be."""
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if font(size).getlength(longer) > width:
                self.write(line, left, top, size)
                line, top = word, top + 1.4 * size
            else:
                line = longer
        self.write(line, left, top, size)
        return top + 1.4 * size


def page_of_text(width: int = 1240, height: int = 900, size: int = 26) -> Page:
    """A page of one column with a title, as at 150 dots per inch."""
    page = Page(width, height)
    page.write("The Lighthouse Keepers", 100, 60, 2 * size)
    page.write_paragraph(PARAGRAPH, 100, 60 + 4 * size, width - 200, size)
    return page


def receipt(width: int = 560, size: int = 26) -> Page:
    page = Page(width, 640)
    page.write("HARBOUR CAFE", 150, 30, 34)
    page.write("12 Dock Road", 190, 80, size)
    for row, (item, price) in enumerate(ITEMS):
        top = 160 + row * 50
        page.write(item, 40, top, size)
        page.write(price, width - 40 - font(size).getlength(price), top, size)
    return page


def scanned(pixels: Pixels, *, degrees: float = 0.0, seed: int = 0) -> Pixels:
    """Return a page as a scanner gives it: skewed, blurred, grey, with noise, through JPEG."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    skewed = cv2.warpAffine(pixels, turn, (width, height), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))
    blurred = cv2.GaussianBlur(skewed, (0, 0), 0.8).astype(np.float32)
    faded = 30 + blurred * (225 / 255)
    noisy = faded + np.random.default_rng(seed).normal(0, 12, (height, width, 1))
    content = encoded(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def word_recall(expected: str, lines: list[TextLine]) -> float:
    """Return how many of the expected words were read, each as often as it stands there. Case counts."""

    def words(text: str) -> Counter[str]:
        return Counter(re.findall(r"[\w$%.,-]*\w[\w%]*", text))

    wanted, found = words(expected), words(" ".join(line.text for line in lines))
    return (wanted & found).total() / wanted.total()


def overlap(box: Box, other: Box) -> float:
    """Return the intersection of two boxes in relation to their union."""

    def area(x0: float, y0: float, x1: float, y1: float) -> float:
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)

    common = area(max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3]))
    return common / (area(*box) + area(*other) - common)
