"""The text reader finds every word, where it stands, in reading order, however the page lies."""

import time

import numpy as np
import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded
from deployments.media import Pixels
from deployments.text_reader.reader import TextReader
from deployments.text_reader.types import ReadImage
from tests.deployments.text_reader.pictures import (
    ITEMS,
    PARAGRAPH,
    Page,
    overlap,
    page_of_text,
    receipt,
    scanned,
    word_recall,
)

NEVER = Cancellation(float("inf"))


def read(reader: TextReader, pixels: Pixels) -> ReadImage:
    return reader.read(pixels, NEVER)


def test_a_page_is_read_with_the_boxes_of_its_lines(reader: TextReader) -> None:
    page = page_of_text()
    result = read(reader, page.pixels)
    assert (result.width, result.height) == (1240, 900)
    assert word_recall(page.text, result.lines) == 1
    assert [line.text for line in result.lines] == list(page.boxes)
    for line in result.lines:
        assert overlap(line.box, page.boxes[line.text]) > 0.5
        assert 0.9 < line.confidence <= 1


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_page_is_read_upright_with_boxes_where_it_is_displayed(reader: TextReader, quarter_turns: int) -> None:
    page = page_of_text()
    result = read(reader, np.rot90(page.pixels, quarter_turns))
    assert word_recall(page.text, result.lines) >= 0.98
    assert result.lines[0].text == "The Lighthouse Keepers"
    x0, y0, x1, y1 = page.boxes["The Lighthouse Keepers"]
    displayed = {1: (y0, 1 - x1, y1, 1 - x0), 2: (1 - x1, 1 - y1, 1 - x0, 1 - y0), 3: (1 - y1, x0, 1 - y0, x1)}
    assert overlap(result.lines[0].box, displayed[quarter_turns]) > 0.5


@pytest.mark.parametrize("degrees", [0, 3, -3])
def test_a_scan_is_read_whether_or_not_it_is_skewed(reader: TextReader, degrees: float) -> None:
    page = page_of_text()
    result = read(reader, scanned(page.pixels, degrees=degrees))
    assert word_recall(page.text, result.lines) >= 0.97
    assert result.lines[0].text == "The Lighthouse Keepers"
    assert [line.text.split()[0] for line in result.lines] == [text.split()[0] for text in page.boxes]


def test_a_row_of_a_receipt_is_one_line(reader: TextReader) -> None:
    page = receipt()
    result = read(reader, scanned(page.pixels, degrees=1))
    assert word_recall(page.text, result.lines) >= 0.97
    assert [line.text for line in result.lines[-len(ITEMS) :]] == [f"{item} {price}" for item, price in ITEMS]


@pytest.mark.parametrize("degrees", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_columns_are_read_one_after_the_other(reader: TextReader, degrees: float) -> None:
    page = Page(1400, 1000)
    page.write("A title that runs across both of the columns of the page", 120, 40, 40)
    words = PARAGRAPH.split()
    left, right = " ".join(words[:44]), " ".join(words[44:])
    page.write_paragraph(left, 100, 140, 540, 26)
    page.write_paragraph(right, 760, 150, 540, 26)
    page.write("A footer that runs across both of the columns of the page too", 120, 900, 40)
    lines = read(reader, scanned(page.pixels, degrees=degrees)).lines
    assert [line.text.split()[:3] for line in lines] == [text.split()[:3] for text in page.boxes]


@pytest.mark.parametrize("factor", [0.5, 0.4])
def test_small_text_is_read(reader: TextReader, factor: float) -> None:
    page = page_of_text()
    small = page.image.resize((int(page.width * factor), int(page.height * factor)))
    assert word_recall(page.text, read(reader, np.asarray(small)).lines) >= 0.95


def test_a_large_photo_is_read(reader: TextReader) -> None:
    page = page_of_text(3600, 2700, 76)
    assert word_recall(page.text, read(reader, page.pixels).lines) >= 0.97


@pytest.mark.slow
def test_a_long_screenshot_is_read_in_tiles(reader: TextReader) -> None:
    page = Page(700, 7000)
    for number in range(150):
        page.write(f"Message number {number} of the long conversation", 40, 20 + number * 46, 22)
    lines = read(reader, page.pixels).lines
    assert word_recall(page.text, lines) >= 0.99
    assert len(lines) == 150


def test_white_on_black_is_read(reader: TextReader) -> None:
    page = page_of_text()
    assert word_recall(page.text, read(reader, 255 - page.pixels).lines) >= 0.97


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (400, 400)])
def test_a_picture_without_text_has_no_lines(reader: TextReader, size: tuple[int, int]) -> None:
    result = read(reader, np.full((*size, 3), 200, np.uint8))
    assert result.lines == []
    assert (result.height, result.width) == size


def test_noise_has_no_lines(reader: TextReader) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    assert read(reader, noise).lines == []


def test_cancelled_and_late_calls_stop_between_two_steps(reader: TextReader) -> None:
    cancelled = Cancellation(float("inf"))
    cancelled.cancel()
    with pytest.raises(WorkCancelled):
        reader.read(page_of_text().pixels, cancelled)
    with pytest.raises(DeadlineExceeded, match="text was being searched for"):
        reader.read(page_of_text().pixels, Cancellation(time.time() - 1))
