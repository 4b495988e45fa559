"""Characters that look alike, and gaps between words."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deployments.media import Pixels
from deployments.text_reader.spelling import Character, rivals_of, spelled, widest_gaps
from tests.deployments.text_reader.pictures import font


def characters(text: str, rivals: dict[int, dict[str, float]]) -> list[Character]:
    """What the network saw on a line; what is not in `rivals`, by position, it was sure of."""
    return [
        Character(value, {rival: rivals.get(index, {}).get(rival, 0.0) for rival in rivals_of(value)})
        for index, value in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "rivals", "expected"),
    [
        ("Tota1(RM)", {4: {"l": 0.281}}, "Total(RM)"),
        ("1DEA SDN", {0: {"I": 0.141, "l": 0.002}}, "IDEA SDN"),
        ("CL0SED 24", {2: {"O": 0.32}}, "CLOSED 24"),
        ("Bi11: 20", {2: {"l": 0.461}, 3: {"l": 0.159}}, "Bill: 20"),
        ("2 × 2.90", {2: {"X": 0.307, "x": 0.005}}, "2 X 2.90"),
        ("1 × 17.41", {2: {"X": 0.005, "x": 0.137}}, "1 x 17.41"),
        ("SR06%", {2: {"@": 0.061}}, "SR@6%"),
        ("S 66.0%", {2: {"@": 0.141}}, "S @6.0%"),
        ("CB#：389772", {}, "CB#:389772"),
        # Codes and amounts keep their digits, a formula its sign, and Chinese its characters.
        ("-RM0.01", {3: {"O": 0.248}}, "-RM0.01"),
        ("POS001", {3: {"O": 0.08}}, "POS001"),
        ("06.0%", {0: {"@": 0.01}}, "06.0%"),
        ("No.1", {3: {"I": 0.2}}, "No.1"),
        ("B02", {1: {"O": 0.19}}, "B02"),
        ("A1", {1: {"l": 0.2}}, "A1"),
        ("3 × 4", {2: {"x": 0.01}}, "3 × 4"),
        ("干炒海鲜河粉", {}, "干炒海鲜河粉"),
    ],
)
def test_characters_that_look_alike(text: str, rivals: dict[int, dict[str, float]], expected: str) -> None:
    assert spelled(characters(text, rivals)) == expected


def drawn(words: str, space_px: int) -> tuple[Pixels, NDArray[np.float64]]:
    """A line of words `space_px` apart, 48 pixels high, and the middles of its letters."""
    image = Image.new("RGB", (600, 48), "white")
    draw = ImageDraw.Draw(image)
    left, middles = 10.0, []
    for word in words.split():
        for letter in word:
            draw.text((left, 6), letter, "black", font(30))
            width = font(30).getlength(letter)
            middles.append(left + width / 2)
            left += width
        left += space_px
    return np.asarray(image), np.array(middles)


@pytest.mark.parametrize("is_underlined", [False, True])
@pytest.mark.parametrize("is_negative", [False, True])
def test_the_gap_between_two_words_is_wider_than_those_between_letters(is_underlined: bool, is_negative: bool) -> None:
    line, middles = drawn("CORRUGATED ROOFING", 12)
    line = line.copy()
    if is_underlined:
        line[44:46] = 0
    gaps = widest_gaps(255 - line if is_negative else line, middles)
    assert len(gaps) == len(middles) - 1
    assert gaps.argmax() == len("CORRUGATED") - 1
    assert gaps.max() >= 12
    assert np.sort(gaps)[-2] <= 8


def test_margins_are_no_gaps() -> None:
    line, middles = drawn("Total", 0)
    wide = np.pad(line[:, :120], ((0, 0), (40, 60), (0, 0)), constant_values=255)
    middles += 40
    middles[[0, -1]] = 4, 200  # where the network saw them
    assert widest_gaps(wide, middles).max() <= 8


def test_an_empty_line_is_one_gap() -> None:
    assert widest_gaps(np.full((48, 100, 3), 200, np.uint8), np.array([20.0, 60.0])).tolist() == [41]
