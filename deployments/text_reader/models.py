"""The three neural networks of PP-OCR: they find text, see whether it is upside down, and read it.

They run on onnxruntime. Of the code of rapidocr only the step from probabilities to boxes is used: its own pipeline
would download models that it misses, take all cores and log to the terminal.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rapidocr.ch_ppocr_det.utils import DBPostProcess

from deployments.media import Pixels
from deployments.text_reader.weights import DETECTION, RECOGNITION, UPSIDE_DOWN

Quadrilaterals = NDArray[np.float32]
"""Shape (num_boxes, 4, 2): corners x, y in pixels, clockwise from the text's top left. They follow skewed text."""

_LINE_HEIGHT_PX = 48
"""Height that lines are scaled to, for both networks that see single lines."""
_MIN_LINE_WIDTH_PX = 320
_UPSIDE_DOWN_WIDTH_PX = 192
"""The width that the orientation network sees of a line."""
_BLANK = 0
"""The class of "no character here" in connectionist temporal classification (CTC)."""
_MIN_SPACE_PROBABILITY = 0.05
"""Between two words that stand close, the network may find the space less probable than a blank. Between letters of one
word its probability was always below 0.02 (measured on scanned pages and receipts)."""
WORD_REACH = 0.7
"""With this, the boxes of words on rendered pages and scans overlap the true ones best: .90 of their union on average,
where places in proportion to the number of characters have .66 (measured)."""
_DETECTION_STEP_PX = 32
"""The sides of what the detection network sees are multiples of this."""


@dataclass(frozen=True)
class RecognizedLine:
    """What is written on one line."""

    text: str
    confidence: float
    """Between 0 and 1."""
    words: list[tuple[float, float]]
    """Where each word of `text.split()` begins and ends, in fractions of the line's width."""


class OcrModels:
    """The loaded networks. The threads that onnxruntime starts have the niceness of the thread that loads them."""

    def __init__(self, paths: dict[str, Path], num_threads: int) -> None:
        _silence_rapidocr()
        self._detection = _session(paths[DETECTION], num_threads)
        self._upside_down = _session(paths[UPSIDE_DOWN], 1)
        self._recognition = _session(paths[RECOGNITION], num_threads)
        self._find_boxes = DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True)
        characters = self._recognition.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *characters, " "]

    def find_text(self, pixels: Pixels, scale: float) -> Quadrilaterals:
        """Return the boxes of all lines of text in a picture, which the network sees scaled by `scale`."""
        height, width = pixels.shape[:2]
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = (_multiple(width * scale), _multiple(height * scale))
        scaled = np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)
        [probabilities] = self._detection.run(None, {"x": _as_input([scaled])})
        boxes, _ = self._find_boxes(probabilities, (height, width))
        return np.asarray(boxes, np.float32).reshape(-1, 4, 2)

    def are_upside_down(self, lines: Sequence[Pixels]) -> NDArray[np.bool_]:
        """Return for each line of text whether the network takes it to be upside down."""
        scaled = [_scaled_to_line(line, _UPSIDE_DOWN_WIDTH_PX) for line in lines]
        [probabilities] = self._upside_down.run(None, {"x": _as_input(scaled, _UPSIDE_DOWN_WIDTH_PX)})
        return np.asarray(probabilities[:, 1] > 0.5)

    def read(self, lines: Sequence[Pixels]) -> list[RecognizedLine]:
        """Return the text of each line. The widest line decides what they cost."""
        scaled = [_scaled_to_line(line) for line in lines]
        width = max(_MIN_LINE_WIDTH_PX, *(line.shape[1] for line in scaled))
        [probabilities] = self._recognition.run(None, {"x": _as_input(scaled, width)})
        return [
            self._decode(columns, line.shape[1] / width) for columns, line in zip(probabilities, scaled, strict=True)
        ]

    def _decode(self, probabilities: NDArray[np.float32], used: float) -> RecognizedLine:
        """Return what is on a line, by greedy CTC.

        The probabilities have shape (columns, characters); `used` is the part of the columns that the line takes.
        """
        best = probabilities.argmax(axis=1)
        is_character = (best != _BLANK) & (best != np.concatenate([[_BLANK], best[:-1]]))
        columns = np.flatnonzero(is_character)
        if not len(columns):
            return RecognizedLine("", 0.0, [])
        text = ""
        middles: list[float] = []
        """Of each character, in columns."""
        spaces = probabilities[:, -1]
        for column, following in zip(columns, [*columns[1:], len(best)], strict=True):
            character = self._characters[best[column]]
            text += character
            middles.append(column + 0.5)
            is_between_letters = following < len(best) and " " not in (character, self._characters[best[following]])
            if is_between_letters and spaces[column:following].max() >= _MIN_SPACE_PROBABILITY:
                text += " "
                middles.append((column + following + 1) / 2)
        confidence = float(probabilities[columns, best[columns]].mean())
        return RecognizedLine(text, confidence, _word_ranges(text, middles, used * len(best)))


def _word_ranges(text: str, middles: Sequence[float], width: float) -> list[tuple[float, float]]:
    """Return where each word begins and ends on a line of `width`, in fractions of it, from its characters' middles.

    A word goes beyond the middles of its first and last character by WORD_REACH usual distances between characters, as
    far as it has room.
    """
    words = [match.span() for match in re.finditer(r"\S+", text)]
    reach = WORD_REACH * float(np.median(np.diff(middles))) if len(middles) > 1 else width / 2
    edges = [0.0, *((middles[end - 1] + middles[start]) / 2 for (_, end), (start, _) in pairwise(words)), width]
    return [
        (max(left, middles[start] - reach) / width, min(right, middles[end - 1] + reach) / width)
        for (start, end), (left, right) in zip(words, pairwise(edges), strict=True)
    ]


def line_width(line: Pixels) -> int:
    """Return the width in pixels at which a line is read."""
    height, width = line.shape[:2]
    return max(1, int(width * _LINE_HEIGHT_PX / height + 0.5))


def _session(path: Path, num_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena would never give memory back, and every picture has another size.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _as_input(images: Sequence[Pixels], width: int = 0) -> NDArray[np.float32]:
    """Return images of one height as the networks take them: BGR in [-1, 1], padded with 0 to `width`."""
    height = images[0].shape[0]
    batch = np.zeros((len(images), 3, height, width or images[0].shape[1]), np.float32)
    for target, image in zip(batch, images, strict=True):
        target[:, :, : image.shape[1]] = image[:, :, ::-1].transpose(2, 0, 1)
        target[:, :, : image.shape[1]] /= 127.5
        target[:, :, : image.shape[1]] -= 1
    return batch


def _scaled_to_line(line: Pixels, max_width: int = 0) -> Pixels:
    width = line_width(line)
    scaled = cv2.resize(line, (min(width, max_width) if max_width else width, _LINE_HEIGHT_PX))
    return np.asarray(scaled, np.uint8)


def _multiple(side: float) -> int:
    return max(1, round(side / _DETECTION_STEP_PX)) * _DETECTION_STEP_PX


def _silence_rapidocr() -> None:
    """Take away the handler by which rapidocr's logger writes to the terminal; errors are raised anyway."""
    rapidocr_logger = logging.getLogger("RapidOCR")
    rapidocr_logger.handlers[:] = [logging.NullHandler()]
