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
from deployments.text_reader.spelling import Character, is_full_width, rivals_of, spelled, widest_gaps
from deployments.text_reader.weights import DETECTION, RECOGNITION, UPSIDE_DOWN

Quadrilaterals = NDArray[np.float32]
"""Shape (num_boxes, 4, 2): corners x, y in pixels, clockwise from the text's top left. They follow skewed text."""

_CORE_PROBABILITY = 0.8
"""What is text with this probability is a line, too, if the region around it was none,"""
_MIN_CORE_HEIGHT = 0.5
"""and if it is not much lower than the other lines (their median)."""
_LINE_HEIGHT_PX = 48
"""Height that lines are scaled to, for both networks that see single lines."""
_MIN_LINE_WIDTH_PX = 160
"""A shorter line is padded to this."""
_MARGIN_PX = 32
"""Every line is padded by this at its end: the last character is often misread where nothing follows it."""
_UPSIDE_DOWN_WIDTH_PX = 192
"""The width that the orientation network sees of a line."""
_BLANK = 0
"""The class of "no character here" in connectionist temporal classification (CTC)."""
_MIN_SPACE_PROBABILITY = 0.05
"""Between two words that stand close, the network may find the space less probable than a blank."""
_MIN_SPACE_PROBABILITY_IN_GAP = 0.01
_WORD_GAP_PX = 9
"""Where the gap in the print is so much wider than the line's median, a less probable space is one, too. Of such places
on receipts 17 of 22 were spaces, and of those in narrower gaps 4 of 80 (measured)."""
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
        self._find_cores = DBPostProcess(thresh=_CORE_PROBABILITY, box_thresh=_CORE_PROBABILITY, unclip_ratio=1.6)
        characters = self._recognition.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *characters, " "]
        self._index = {character: index for index, character in enumerate(self._characters)}

    def find_text(self, pixels: Pixels, scale: float) -> Quadrilaterals:
        """Return the boxes of all lines of text in a picture, which the network sees scaled by `scale`."""
        height, width = pixels.shape[:2]
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = (_multiple(width * scale), _multiple(height * scale))
        scaled = np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)
        [probabilities] = self._detection.run(None, {"x": _as_input([scaled])})
        boxes, _ = self._find_boxes(probabilities, (height, width))
        # What touches a line, such as a stroke of a pen, can make its box so large that it seems to be mostly empty.
        unit = np.array([size[0] / width, size[1] / height])
        cv2.fillPoly(probabilities[0, 0], [np.round(box * unit).astype(np.int32) for box in boxes], 0)
        cores, _ = self._find_cores(probabilities, (height, width))
        found, cores = (np.asarray(part, np.float32).reshape(-1, 4, 2) for part in (boxes, cores))
        min_height = _MIN_CORE_HEIGHT * np.median(_short_sides(found)) if len(found) else 0
        return np.concatenate([found, cores[_short_sides(cores) >= min_height]])

    def are_upside_down(self, lines: Sequence[Pixels]) -> NDArray[np.bool_]:
        """Return for each line of text whether the network takes it to be upside down."""
        scaled = [_scaled_to_line(line, _UPSIDE_DOWN_WIDTH_PX) for line in lines]
        [probabilities] = self._upside_down.run(None, {"x": _as_input(scaled, _UPSIDE_DOWN_WIDTH_PX)})
        return np.asarray(probabilities[:, 1] > 0.5)

    def read(self, lines: Sequence[Pixels]) -> list[RecognizedLine]:
        """Return the text of each line. The widest line decides what they cost."""
        scaled = [_scaled_to_line(line) for line in lines]
        width = max(map(read_width, scaled))
        [probabilities] = self._recognition.run(None, {"x": _as_input(scaled, width)})
        return [self._decode(columns, line, width) for columns, line in zip(probabilities, scaled, strict=True)]

    def _decode(self, probabilities: NDArray[np.float32], line: Pixels, width: int) -> RecognizedLine:
        """Return what is on a line, by greedy CTC.

        The probabilities have shape (columns, characters); the columns are those of the line, padded to `width`.
        """
        best = probabilities.argmax(axis=1)
        is_character = (best != _BLANK) & (best != np.concatenate([[_BLANK], best[:-1]]))
        columns = np.flatnonzero(is_character)
        if not len(columns):
            return RecognizedLine("", 0.0, [])
        characters = [self._character(probabilities[column]) for column in columns]
        spaces = _space_probabilities(probabilities[:, -1], columns, [character.value for character in characters])
        is_space = spaces >= _MIN_SPACE_PROBABILITY
        is_doubtful = ~is_space & (spaces >= _MIN_SPACE_PROBABILITY_IN_GAP)
        if is_doubtful.any():
            gaps = widest_gaps(line, (columns + 0.5) * (width / len(best)))
            is_space |= is_doubtful & (gaps >= np.median(gaps) + _WORD_GAP_PX)
        text = ""
        middles: list[float] = []
        """Of each character, in columns."""
        for index, letter in enumerate(spelled(characters)):
            text += letter
            middles.append(columns[index] + 0.5)
            if index < len(is_space) and is_space[index]:
                text += " "
                middles.append((columns[index] + columns[index + 1] + 1) / 2)
        confidence = float(probabilities[columns, best[columns]].mean())
        return RecognizedLine(text, confidence, _word_ranges(text, middles, line.shape[1] / width * len(best)))

    def _character(self, probabilities: NDArray[np.float32]) -> Character:
        value = self._characters[int(probabilities.argmax())]
        return Character(value, {rival: float(probabilities[self._index[rival]]) for rival in rivals_of(value)})


def _space_probabilities(
    spaces: NDArray[np.float32], columns: NDArray[np.intp], characters: Sequence[str]
) -> NDArray[np.float32]:
    """Return how probable a space is after each character but the last, beside what was read as a space 0.

    `spaces` are the probabilities of a space in each column, `columns` those of the characters.
    """
    between = np.array([spaces[left:right].max() for left, right in pairwise(columns)], np.float32)
    # The box of a full-width form has the space after it inside.
    between[[is_full_width(character) for character in characters[:-1]]] = 1
    between[[" " in pair for pair in pairwise(characters)]] = 0
    return between


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


def _short_sides(boxes: Quadrilaterals) -> NDArray[np.float32]:
    sides = np.linalg.norm(boxes[:, 1:3] - boxes[:, :2], axis=2)
    return np.asarray(sides.min(axis=1))


def read_width(line: Pixels) -> int:
    """Return the width in pixels at which a line is read."""
    return max(_MIN_LINE_WIDTH_PX, _line_width(line) + _MARGIN_PX)


def _line_width(line: Pixels) -> int:
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
    width = _line_width(line)
    scaled = cv2.resize(line, (min(width, max_width) if max_width else width, _LINE_HEIGHT_PX))
    return np.asarray(scaled, np.uint8)


def _multiple(side: float) -> int:
    return max(1, round(side / _DETECTION_STEP_PX)) * _DETECTION_STEP_PX


def _silence_rapidocr() -> None:
    """Take away the handler by which rapidocr's logger writes to the terminal; errors are raised anyway."""
    rapidocr_logger = logging.getLogger("RapidOCR")
    rapidocr_logger.handlers[:] = [logging.NullHandler()]
