"""A picture -> its lines of text: finds the text, turns the picture upright, reads it, and orders the lines."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.malloc import trim_freed_memory
from deployments.media import Pixels
from deployments.places import Box, TextLine
from deployments.text_reader.layout import Fragment, order_lines
from deployments.text_reader.models import OcrModels, Quadrilaterals, RecognizedLine, read_width
from deployments.text_reader.types import ReadImage

MAX_DETECTION_PIXELS = 1_800_000
"""What the detection network sees at once; it takes about 250 bytes of memory for each pixel (measured)."""
MIN_DETECTION_SIDE_PX = 736
"""A picture with a shorter side is scaled up, as PP-OCR does, but at most by MAX_ENLARGEMENT."""
MAX_ENLARGEMENT = 3.0
MAX_ASPECT = 2.0
"""A picture that is so many times as high as wide is searched in tiles: scaled down as a whole, its text would be too
small."""
TILE_OVERLAP_PX = 96
"""In the scale of the detection network. A line of text on the border of two tiles is whole in one of them."""
MAX_BATCH_WIDTH_PX = 4000
"""Of the lines that are read together: bounds the memory of the recognition network."""
MAX_BATCH_STRETCH = 1.3
"""By so much at most a line is padded to the width of those that are read with it: padding costs as much as text."""
MIN_CONFIDENCE = 0.5
"""What is read with less is not text, but texture or drawing."""
TALL = 1.5
"""A box that is so many times as high as wide holds text that runs up or down."""
NUM_SAMPLED_LINES = 10
"""How many lines, the longest, decide whether a picture is upside down."""
DOUBTFUL_FRACTION = 0.3
"""If the network takes at least so many of them to be upside down, they are read both ways to decide."""


@dataclass(frozen=True)
class _FoundText:
    """Where text is in a picture that has been turned."""

    pixels: Pixels
    boxes: Quadrilaterals
    """In pixels of the turned picture."""
    quarter_turns: int
    """By which it was turned counterclockwise, 0 to 3."""

    def turned(self, quarter_turns: int) -> "_FoundText":
        """Return the same, turned further counterclockwise."""
        boxes, (height, width) = self.boxes, self.pixels.shape[:2]
        for _ in range(quarter_turns):
            # The corner that was at the top right comes to the top left.
            boxes = np.roll(np.stack([boxes[..., 1], width - boxes[..., 0]], axis=-1), -1, axis=1)
            height, width = width, height
        return _FoundText(np.rot90(self.pixels, quarter_turns), boxes, (self.quarter_turns + quarter_turns) % 4)


class TextReader:
    """Reads pictures, one at a time."""

    def __init__(self, models: OcrModels) -> None:
        self._models = models

    def read(self, pixels: Pixels, cancellation: Cancellation) -> ReadImage:
        """Return the text of a picture. A call that is cancelled or late stops before the next step of a network."""
        height, width = pixels.shape[:2]
        try:
            return ReadImage(width, height, self._read_lines(pixels, cancellation))
        finally:
            trim_freed_memory()

    def _read_lines(self, pixels: Pixels, cancellation: Cancellation) -> list[TextLine]:
        boxes = self._find_text(pixels, cancellation)
        if not len(boxes):
            return []
        text = self._turn_upright(_FoundText(np.ascontiguousarray(pixels), boxes, 0), cancellation)
        lines = _cut_lines(text.pixels, text.boxes)
        skew = _skew(text.boxes)
        fragments = [
            Fragment(
                line.text,
                line.confidence,
                box=_bounds(box),
                rectangle=_bounds(_rotated(box, -skew)),
                words=tuple(_bounds(word) for word in _word_boxes(box, line.words, is_turned)),
            )
            for box, line, is_turned in zip(
                text.boxes, self._read(lines, cancellation), _are_turned(text.boxes), strict=True
            )
            if line.confidence >= MIN_CONFIDENCE and line.text.strip()
        ]
        height, width = text.pixels.shape[:2]

        def displayed(box: Box) -> Box:
            return _as_displayed(box, width, height, text.quarter_turns)

        return [
            TextLine(line.text, displayed(line.box), line.confidence, words=tuple(map(displayed, line.words)))
            for line in order_lines(fragments)
        ]

    def _find_text(self, pixels: Pixels, cancellation: Cancellation) -> Quadrilaterals:
        height, width = pixels.shape[:2]
        scale = _detection_scale(height, width)
        tile_height = max(1, int(MAX_DETECTION_PIXELS / (width * scale) / scale))
        found = []
        for start, end, first, last in _tiles(height, tile_height, math.ceil(TILE_OVERLAP_PX / scale)):
            cancellation.check("text was being searched for in the picture")
            boxes = self._models.find_text(pixels[start:end], scale)
            boxes[..., 1] += start
            middle = boxes[..., 1].mean(axis=1)
            found.append(boxes[(first <= middle) & (middle < last)])
        return np.concatenate(found)

    def _turn_upright(self, text: _FoundText, cancellation: Cancellation) -> _FoundText:
        widths, heights = _sizes(text.boxes)
        is_tall = heights > TALL * widths
        if heights[is_tall].sum() > widths[~is_tall].sum():
            text = text.turned(1)
            widths, heights = heights, widths
        sample = np.argsort(-widths)[:NUM_SAMPLED_LINES]
        lines = _cut_lines(text.pixels, text.boxes[sample])
        if self._models.are_upside_down(lines).mean() < DOUBTFUL_FRACTION:
            return text
        confidence = np.mean([line.confidence for line in self._read(lines, cancellation)])
        turned = [np.rot90(line, 2) for line in lines]
        confidence_turned = np.mean([line.confidence for line in self._read(turned, cancellation)])
        return text.turned(2) if confidence_turned > confidence else text

    def _read(self, lines: Sequence[Pixels], cancellation: Cancellation) -> list[RecognizedLine]:
        """Return what is on each line; lines of about one width are read together."""
        results = [RecognizedLine("", 0.0, [])] * len(lines)
        order = sorted(range(len(lines)), key=lambda index: read_width(lines[index]))
        for batch in _batches(order, [read_width(line) for line in lines]):
            cancellation.check("the lines of text were being read")
            for index, result in zip(batch, self._models.read([lines[index] for index in batch]), strict=True):
                results[index] = result
        return results


def _detection_scale(height: int, width: int) -> float:
    """Return how much to scale a picture for the detection network. Only a very tall one is then still too large."""
    searched_height = min(height, MAX_ASPECT * width)
    enlargement = min(max(1.0, MIN_DETECTION_SIDE_PX / min(height, width)), MAX_ENLARGEMENT)
    return min(enlargement, math.sqrt(MAX_DETECTION_PIXELS / (searched_height * width)))


def _tiles(length: int, tile: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield start and end of tiles that overlap, and of the parts of them that do not."""
    first = 0
    while first < length:
        last = length if first + tile >= length else first + tile - overlap
        yield max(0, first - overlap), min(length, last + overlap), first, last
        first = last


def _batches(order: Sequence[int], widths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices in `order` in batches; `widths` increase in that order."""
    batch: list[int] = []
    for index in order:
        is_too_wide = batch and widths[index] * (len(batch) + 1) > MAX_BATCH_WIDTH_PX
        if is_too_wide or (batch and widths[index] > MAX_BATCH_STRETCH * widths[batch[0]]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _sizes(boxes: Quadrilaterals) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the widths and heights of boxes, along their sides."""
    widths = np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1)
    heights = np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)
    return widths, heights


def _cut_lines(pixels: Pixels, boxes: Quadrilaterals) -> list[Pixels]:
    """Return what is inside each box, straightened; text that runs down among others is turned."""
    widths, heights = _sizes(boxes)
    lines = []
    for box, width, height, is_turned in zip(boxes, widths, heights, _are_turned(boxes), strict=True):
        size = (max(1, round(float(width))), max(1, round(float(height))))
        corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
        transform = cv2.getPerspectiveTransform(box, corners)
        line = cv2.warpPerspective(pixels, transform, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if is_turned:
            line = np.rot90(line)
        lines.append(np.asarray(line, np.uint8))
    return lines


def _are_turned(boxes: Quadrilaterals) -> NDArray[np.bool_]:
    """Return for each box whether its text is taken to run down, unlike that of the others."""
    widths, heights = _sizes(boxes)
    return np.asarray((heights > TALL * widths) & (heights > 2 * np.median(heights)))


def _word_boxes(
    line: NDArray[np.float32], words: Sequence[tuple[float, float]], is_turned: bool
) -> Iterator[NDArray[np.float32]]:
    """Yield the corners of each word on a line with these corners; the text of a turned one runs down."""
    top_left, top_right, bottom_right, bottom_left = line
    for start, end in words:
        if is_turned:
            sides = [(top_left, bottom_left), (top_right, bottom_right)]
        else:
            sides = [(top_left, top_right), (bottom_left, bottom_right)]
        yield np.stack([first + (last - first) * part for first, last in sides for part in (start, end)])


def _skew(boxes: Quadrilaterals) -> float:
    """Return by what angle in radians the text runs downwards: the median over the longer half of the boxes."""
    widths, _ = _sizes(boxes)
    long = boxes[widths >= np.median(widths)]
    sides = long[:, 1] - long[:, 0]
    return float(np.median(np.arctan2(sides[:, 1], sides[:, 0])))


def _rotated(points: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]], np.float32)


def _bounds(points: NDArray[np.float32]) -> Box:
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def _as_displayed(box: Box, width: int, height: int, quarter_turns: int) -> Box:
    """Return a box of a turned picture as fractions of the picture before it was turned."""
    fractions = np.clip(np.array(box) / [width, height, width, height], 0, 1)
    x0, y0, x1, y1 = fractions.tolist()
    for _ in range(quarter_turns):
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    return x0, y0, x1, y1
