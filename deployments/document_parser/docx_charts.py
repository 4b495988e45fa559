"""The text of charts in Word documents: titles, and the values as rows of a table (ISO/IEC 29500-1, 21.2)."""

from collections.abc import Iterator

from lxml import etree

from deployments.document_parser.paragraphs import CELL_SEPARATOR, Block
from deployments.document_parser.word_xml import as_number, attribute, descendants, first_child, tag

MAX_ROWS = 200
"""Of a chart with more points, the first ones are read: a curve of thousands of measurements says nothing in words."""


def chart_blocks(root: etree._Element) -> Iterator[Block]:
    """Yield a chart's titles, then a row for each category with the values of all series."""
    for title in descendants(root, "c:title"):
        yield Block(_text(title))
    series = list(descendants(root, "c:ser"))
    categories = _first_points(series, ("c:cat", "c:xVal"))
    values = [_first_points([each], ("c:val", "c:yVal")) for each in series]
    header = CELL_SEPARATOR.join(filter(None, (_name(each) for each in series)))
    yield Block(header, "table_row" if len(series) > 1 else "text")
    for index in sorted({*categories, *(index for points in values for index in points)})[:MAX_ROWS]:
        cells = [categories.get(index, ""), *(points.get(index, "") for points in values)]
        yield Block(CELL_SEPARATOR.join(filter(None, cells)), "table_row")


def _text(title: etree._Element) -> str:
    """Return the text of a title, which is typed or taken from a cell."""
    paragraphs = ["".join(run.text or "" for run in descendants(each, "a:t")) for each in descendants(title, "a:p")]
    return "\n".join(filter(None, paragraphs)) or " ".join(_points(title).values())


def _name(series: etree._Element) -> str:
    name = first_child(series, "c:tx")
    if name is None:
        return ""
    typed = first_child(name, "c:v")
    return " ".join(_points(name).values()) if typed is None else typed.text or ""


def _first_points(series: list[etree._Element], names: tuple[str, ...]) -> dict[int, str]:
    """Return the points of the first child of these names in any of the series."""
    for each in series:
        for inner in each:
            if tag(inner) in names and (points := _points(inner)):
                return points
    return {}


def _points(element: etree._Element) -> dict[int, str]:
    """Return the texts that the file keeps of the cells that an element refers to, by their numbers.

    Categories of several levels have the innermost first.
    """
    points: dict[int, str] = {}
    for point in descendants(element, "c:pt"):
        index, text = as_number(attribute(point, "idx")), first_child(point, "c:v")
        if index is not None and text is not None and text.text:
            points.setdefault(index, _rounded(text.text.strip()))
    return points


def _rounded(text: str) -> str:
    """Return a number as one would read it: the file has 0.30000000000000004 for 0.3."""
    try:
        return f"{float(text):.12g}" if "." in text else text
    except ValueError:
        return text
