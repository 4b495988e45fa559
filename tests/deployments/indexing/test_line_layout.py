from collections.abc import Sequence

import pytest

from deployments.indexing.line_layout import runs_on, separators
from deployments.indexing.pieces import Break
from deployments.places import TextLine
from tests.deployments.indexing.fakes import line

GOES_ON = (" ", Break.CLAUSE)
PARAGRAPH = ("\n", Break.SENTENCE)


def joints(*lines: TextLine) -> Sequence[tuple[str, Break]]:
    return list(separators(lines))


def test_lines_of_a_paragraph_follow_each_other() -> None:
    assert joints(line("A line that goes on to the", 0.100), line("Next One, as wide as it", 0.118)) == [GOES_ON]


def test_a_gap_separates_paragraphs() -> None:
    assert joints(line("The end of it", 0.100), line("The next", 0.140)) == [PARAGRAPH]


def test_a_heading_is_a_paragraph_of_its_own() -> None:
    assert joints(line("Heading", 0.100, height=0.03), line("The text", 0.131)) == [PARAGRAPH]


def test_a_short_line_ends_its_paragraph() -> None:
    lines = [line("A full line", 0.100), line("a short one", 0.118, right=0.4), line("Another full line", 0.136)]
    assert joints(*lines) == [GOES_ON, PARAGRAPH]


def test_each_row_of_a_table_is_a_unit() -> None:
    rows = [line(f"{state} 3,211 1,045 295,891 12", 0.1 + 0.018 * row) for row, state in enumerate(("Iowa", "Ohio"))]
    assert joints(*rows) == [PARAGRAPH]


@pytest.mark.parametrize("step", [0.018, -0.018])
def test_each_row_of_a_table_that_is_turned_is_a_unit(step: float) -> None:
    rows = [
        TextLine("Iowa 3,211 1,045 295,891 12", (0.5 + step * row, 0.1, 0.515 + step * row, 0.9)) for row in range(3)
    ]
    assert joints(*rows) == [PARAGRAPH, PARAGRAPH]


@pytest.mark.parametrize("step", [0.018, -0.018])
def test_lines_of_a_paragraph_that_is_turned_follow_each_other(step: float) -> None:
    lines = [TextLine("A line that goes on", (0.5 + step * row, 0.1, 0.515 + step * row, 0.9), 1.0) for row in range(2)]
    assert joints(*lines) == [GOES_ON]


def test_cells_of_a_row_stay_together() -> None:
    cells = [line("Bernal Cutlery", 0.1, right=0.3), line("$23.90", 0.101, left=0.5), line("Total", 0.118, right=0.3)]
    assert joints(*cells) == [(" ", Break.NONE), PARAGRAPH]


@pytest.mark.parametrize("item", ["• Sunglasses", "- Sunglasses", "2. Sunglasses", "(b) Sunglasses"])
def test_each_item_of_a_list_is_a_unit(item: str) -> None:
    assert joints(line("Things to wear in the lake:", 0.100), line(item, 0.118)) == [PARAGRAPH]


def test_a_sentence_goes_on_in_the_next_column() -> None:
    left = [line("The first column ends with", 0.5, 0.1, 0.45), line("a line that has no full", 0.518, 0.1, 0.45)]
    right = [line("Stop and goes on here", 0.1, 0.55, 0.9), line("To the end of it", 0.118, 0.55, 0.9)]
    assert joints(*left, *right) == [GOES_ON, GOES_ON, GOES_ON]


def test_a_hyphenated_word_goes_on_whatever_the_layout() -> None:
    assert joints(line("foot\u00ad", 0.1, right=0.2), line("ball", 0.5, height=0.04)) == [GOES_ON]


def test_a_hyphen_of_the_word_itself_needs_no_space() -> None:
    assert joints(line("a state-of-the-", 0.100), line("art design", 0.118)) == [("", Break.NONE)]


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        ("and so it", "goes on.", True),
        ("and so it ends.", "goes on.", False),
        ("foot\u00ad", "Ball", True),
        ("12", "Chapter 3", False),
        ("", "the first page", True),
    ],
)
def test_a_sentence_runs_over_the_border_of_a_page(before: str, text: str, expected: bool) -> None:
    assert runs_on(before, text) is expected
