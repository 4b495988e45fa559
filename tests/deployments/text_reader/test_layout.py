"""Fragments become lines, in the order in which a person reads them."""

import random

from deployments.text_reader.layout import Fragment, order_lines

LONG = "a line of running text in a column"


def fragment(text: str, left: float, top: float, right: float, bottom: float = 0.0) -> Fragment:
    box = (left, top, right, bottom or top + 20)
    return Fragment(text, 0.9, box, box)


def ordered(fragments: list[Fragment]) -> list[str]:
    shuffled = random.Random(1).sample(fragments, len(fragments))
    return [line.text for line in order_lines(shuffled)]


def column(name: str, left: float, right: float, tops: list[int]) -> list[Fragment]:
    return [fragment(f"{name}{top} {LONG}", left, top, right) for top in tops]


def test_no_fragments_are_no_lines() -> None:
    assert order_lines([]) == []


def test_lines_are_read_from_top_to_bottom() -> None:
    fragments = column("", 100, 500, [300, 100, 200])
    assert ordered(fragments) == [f"{top} {LONG}" for top in (100, 200, 300)]


def test_a_row_becomes_one_line_with_the_box_of_all_its_parts() -> None:
    parts = [
        Fragment("Coffee", 1.0, (10, 100, 90, 120), (10, 100, 90, 120)),
        Fragment("3.20", 0.5, (400, 104, 460, 126), (400, 104, 460, 126)),
    ]
    [line] = order_lines(parts)
    assert line.text == "Coffee 3.20"
    assert line.box == (10, 100, 460, 126)
    assert line.confidence == 0.8  # by the number of characters: 6 and 4


def test_items_and_prices_are_rows_not_columns() -> None:
    rows = [(f"A product with a long name {number}", f"{number}.50") for number in range(8)]
    fragments = []
    for number, (item, price) in enumerate(rows):
        fragments += [fragment(item, 10, number * 40, 300), fragment(price, 420, number * 40 + 3, 470)]
    assert ordered(fragments) == [f"{item} {price}" for item, price in rows]


def test_columns_of_running_text_are_read_one_after_the_other() -> None:
    left, right = column("L", 50, 450, [100, 130, 160, 190]), column("R", 500, 900, [110, 140, 170, 200])
    assert ordered(left + right) == [f.text for f in [*left, *right]]


def test_three_columns_are_read_one_after_the_other() -> None:
    columns = [column(name, left, left + 380, [100, 130, 160]) for name, left in (("A", 0), ("B", 400), ("C", 800))]
    assert ordered(sum(columns, [])) == [f.text for f in sum(columns, [])]


def test_text_that_runs_across_divides_columns_into_bands() -> None:
    title, middle = fragment("Title across", 100, 20, 800), fragment("Heading across", 100, 300, 800)
    bands = [[column("L", 50, 450, tops), column("R", 500, 900, tops)] for tops in ([100, 130, 160], [400, 430, 460])]
    everything = [title, *bands[0][0], *bands[0][1], middle, *bands[1][0], *bands[1][1]]
    assert ordered(everything) == [f.text for f in everything]


def test_a_page_may_have_more_text_across_than_in_columns() -> None:
    above, below = column("top", 50, 900, [0, 30, 60, 90, 120, 150]), column("end", 50, 900, [600, 630, 660, 690])
    left, right = column("L", 50, 450, [300, 330, 360]), column("R", 500, 900, [300, 330, 360])
    everything = [*above, *left, *right, *below]
    assert ordered(everything) == [f.text for f in everything]


def test_a_ragged_edge_does_not_close_a_gutter() -> None:
    left = [fragment(f"L{n} {LONG}", 50, 100 + 30 * n, 440 + (8 if n == 2 else 0)) for n in range(5)]
    right = [fragment(f"R{n} {LONG}", 446 + (4 if n % 2 else 0), 100 + 30 * n, 900) for n in range(5)]
    assert ordered(left + right) == [f.text for f in [*left, *right]]


def test_rows_that_are_staggered_do_not_run_into_one() -> None:
    fragments = [fragment(name, left, top, left + 80) for name, left, top in (("a", 0, 0), ("b", 200, 8), ("c", 0, 22))]
    assert ordered(fragments) == ["a b", "c"]
