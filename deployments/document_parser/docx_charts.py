"""The text of charts in Word documents: titles, and the values as rows of a table (ISO/IEC 29500-1, 21.2)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from lxml import etree

from deployments.document_parser.paragraphs import CELL_SEPARATOR, Block
from deployments.document_parser.word_xml import as_number, attribute, children, descendants, first_child, tag

MAX_ROWS = 200
"""Of a chart with more points, the first ones are read: a curve of thousands of measurements says nothing in words."""
MAX_SERIES = 50
_MAX_TITLES = 10
"""A chart has one, and one for each axis."""
_MAX_TITLE_CHARS = 1000
_MAX_CELL_CHARS = 200

_EMPTY_CELL = "–"
"""Columns are told apart by counting the cells. An empty one is lost where white space is taken together."""
_NUMBERS = ("c:numCache", "c:numLit")


@dataclass
class _Table:
    """Series that have the same categories."""

    categories: dict[int, str]
    names: list[str] = field(default_factory=list)
    values: list[dict[int, str]] = field(default_factory=list)


def chart_blocks(root: etree._Element) -> Iterator[Block]:
    """Yield a chart's titles, then a row for each category with the values of all series.

    Series with x values of their own, as in scatter charts, have rows of their own.
    """
    for title in islice(_outermost(root, "c:title"), _MAX_TITLES):
        yield Block(_text(title)[:_MAX_TITLE_CHARS])
    tables = _tables(list(islice(_outermost(root, "c:ser"), MAX_SERIES)))
    for table in tables:
        # The first column, unless no row has a category.
        first = [table.categories] if table.categories else []
        if any(table.names):
            has_columns = len(table.names) > 1
            yield _row(["" for _ in first] + table.names) if has_columns else Block(table.names[0])
        indices = sorted({*table.categories, *(index for points in table.values for index in points)})
        for index in indices[: MAX_ROWS // len(tables)]:
            yield _row([points.get(index, "") for points in first + table.values])


def _tables(series: list[etree._Element]) -> list[_Table]:
    categories = next((points for each in series if (points := _points_of(each, ("c:cat",)))), {})
    tables: list[_Table] = []
    for each in series:
        own = _points_of(each, ("c:xVal",)) or categories
        table = next((table for table in tables if table.categories == own), None)
        if table is None:
            table = _Table(own)
            tables.append(table)
        table.names.append(_name(each))
        table.values.append(_points_of(each, ("c:val", "c:yVal")))
    return tables


def _row(cells: list[str]) -> Block:
    return Block(CELL_SEPARATOR.join(cell or _EMPTY_CELL for cell in cells), "table_row")


def _outermost(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Yield the descendants of that name that are not within another one."""
    for child in element:
        if tag(child) == name:
            yield child
        else:
            yield from _outermost(child, name)


def _text(title: etree._Element) -> str:
    """Return the text of a title, which is typed or taken from a cell."""
    paragraphs = ["".join(run.text or "" for run in descendants(each, "a:t")) for each in _outermost(title, "a:p")]
    return "\n".join(filter(None, paragraphs)) or " ".join(_points(title).values())


def _name(series: etree._Element) -> str:
    name = first_child(series, "c:tx")
    if name is None:
        return ""
    typed = first_child(name, "c:v")
    return _cell(" ".join(_points(name).values()) if typed is None else typed.text or "")


def _points_of(series: etree._Element, names: tuple[str, ...]) -> dict[int, str]:
    """Return the points of the first child of these names that has any."""
    return next((points for inner in series if tag(inner) in names and (points := _points(inner))), {})


def _points(element: etree._Element) -> dict[int, str]:
    """Return the texts that the file keeps of the cells that an element refers to, by their numbers.

    Categories of several levels have the innermost first.
    """
    points: dict[int, str] = {}
    for cells in element.iter():
        is_number = tag(cells) in _NUMBERS
        for point in children(cells, "c:pt"):
            index, text = as_number(attribute(point, "idx")), first_child(point, "c:v")
            if index is not None and text is not None and (cell := _cell(text.text or "")):
                points.setdefault(index, _rounded(cell) if is_number else cell)
    return points


def _cell(text: str) -> str:
    return " ".join(text.split())[:_MAX_CELL_CHARS]


def _rounded(text: str) -> str:
    """Return a number as one would read it: the file has 0.30000000000000004 for 0.3."""
    try:
        return f"{float(text):.12g}" if "." in text else text
    except ValueError:
        return text
