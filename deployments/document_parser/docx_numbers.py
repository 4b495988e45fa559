"""The numbers of headings and list items in Word documents, such as "3.2" and "a)".

They are not in the text: a paragraph refers to a list (`w:num`) and a level of it, and what Word shows is counted
(ISO/IEC 29500-1, 17.9).
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lxml import etree

from deployments.document_parser.word_xml import as_number, attribute, child_value, children, is_on, tag

_MAX_LEVEL = 8
"""From 0; files can have no deeper ones (17.9.3)."""
_MAX_TEXT = 50
"""Characters around the numbers of a level ("Section "), at most: each paragraph repeats them."""
_MAX_LETTERS = 20
"""Word repeats the letter for numbers above 26 ("aa", "bb"); no list goes further than this."""
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"))
_ROMAN_DIGITS = (*_ROMAN, (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_MAX_ROMAN = 4999
_WITHOUT_NUMBER = ("bullet", "none")
_PLACE = re.compile(r"%([1-9])")


@dataclass(frozen=True)
class _Level:
    start: int
    format: str
    text: str
    """With `%1` to `%9` for the numbers of the levels from the outermost on."""
    is_legal: bool
    """Whether all numbers are in Arabic numerals."""
    style: str
    """Id of the style whose paragraphs are at this level."""
    restart: int
    """Begins anew after a paragraph of any level, from 0, below this number (17.9.10)."""


@dataclass
class _List:
    """A `w:num`."""

    key: str
    """Of the `w:abstractNum`: lists with the same one go on counting."""
    levels: dict[int, _Level]
    restarts: dict[int, int] = field(default_factory=dict)
    """Levels that begin anew with the first paragraph of this list, and their first numbers."""


class ListNumbers:
    """Counts the paragraphs of all lists of one document."""

    def __init__(self, roots: Iterable[etree._Element]) -> None:
        """`roots` are those of the document's parts with `w:numbering`."""
        self._lists: dict[str, _List] = {}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._restarted: set[tuple[str, int]] = set()
        for root in roots:
            abstract = {}
            of_styles: dict[str, dict[int, _Level]] = {}
            links = {}
            for each in children(root, "w:abstractNum"):
                key = attribute(each, "abstractNumId")
                abstract[key] = _levels(children(each, "w:lvl"))
                # A list of a list style has no levels, but a link to the one that defines the style (17.9.21, 17.9.27).
                of_styles[child_value(each, "w:styleLink") or ""] = abstract[key]
                links[key] = child_value(each, "w:numStyleLink")
            for key, link in links.items():
                abstract[key] = abstract[key] or (of_styles.get(link, {}) if link else {})
            for each in children(root, "w:num"):
                self._lists[attribute(each, "numId")] = _read_list(each, abstract)

    def level_of_style(self, list_id: str, style: str) -> int:
        """Return the level of a list that is a style's; the first one if none is."""
        levels = self._lists[list_id].levels if list_id in self._lists else {}
        return next((level for level, definition in levels.items() if definition.style == style), 0)

    def next(self, list_id: str, level: int) -> str:
        """Count a paragraph; returns what Word shows before it, empty for a bullet or an unknown list."""
        counted = self._lists.get(list_id)
        if counted is None or level not in counted.levels:
            return ""
        counts = self._counts[counted.key]
        if level in counted.restarts and (list_id, level) not in self._restarted:
            self._restarted.add((list_id, level))
            counts.pop(level, None)
        first = counted.restarts.get(level, counted.levels[level].start)
        counts[level] = counts.get(level, first - 1) + 1
        for deeper in [other for other in counts if other > level]:
            if deeper not in counted.levels or level < counted.levels[deeper].restart:
                del counts[deeper]
        return self._label(counted, level, counts)

    def _label(self, counted: _List, level: int, counts: dict[int, int]) -> str:
        own = counted.levels[level]
        if own.format in _WITHOUT_NUMBER:
            return ""

        def shown(match: re.Match[str]) -> str:
            index = int(match[1]) - 1
            if index not in counted.levels or index > level:
                return ""
            count = counts.get(index, counted.restarts.get(index, counted.levels[index].start))
            return _formatted(count, "decimal" if own.is_legal else counted.levels[index].format)

        return _PLACE.sub(shown, own.text).strip()


def _read_list(element: etree._Element, abstract: dict[str, dict[int, _Level]]) -> _List:
    key = child_value(element, "w:abstractNumId") or ""
    found = _List(key, dict(abstract.get(key, {})))
    for override in children(element, "w:lvlOverride"):
        level = _level_number(override)
        if level is None:
            continue
        start = as_number(child_value(override, "w:startOverride"))
        if start is not None:
            found.restarts[level] = start
        found.levels.update(_levels(children(override, "w:lvl")))
    return found


def _levels(elements: Iterable[etree._Element]) -> dict[int, _Level]:
    levels = {}
    for element in elements:
        level = _level_number(element)
        if level is not None:
            start = as_number(child_value(element, "w:start"))
            restart = as_number(child_value(element, "w:lvlRestart"))
            levels[level] = _Level(
                start=0 if start is None else start,  # 17.9.25: zero if there is none
                format=_format(element),
                text=(child_value(element, "w:lvlText") or "")[:_MAX_TEXT],
                is_legal=is_on(element, "w:isLgl"),
                style=child_value(element, "w:pStyle") or "",
                restart=level if restart is None else min(restart, level),
            )
    return levels


def _level_number(element: etree._Element) -> int | None:
    """Return the level that an element is about; None if there is no such level."""
    level = as_number(attribute(element, "ilvl"))
    return level if level is not None and level <= _MAX_LEVEL else None


def _format(element: etree._Element) -> str:
    """Return the format of a level's number; a newer one stands beside one that all programs know."""
    for inner in element.iter():
        if tag(inner) == "w:numFmt" and attribute(inner, "val") != "custom":
            return attribute(inner, "val")
    return "decimal"


def _formatted(count: int, number_format: str) -> str:
    """Return a number in a format of 17.18.59. Those of other scripts, and words, are shown in Arabic numerals."""
    match number_format:
        case "lowerLetter" | "upperLetter" if 1 <= count <= 26 * _MAX_LETTERS:
            letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
            return letters if number_format == "lowerLetter" else letters.upper()
        case "lowerRoman" | "upperRoman" if 1 <= count <= _MAX_ROMAN:
            return _roman(count) if number_format == "lowerRoman" else _roman(count).upper()
        case "decimalZero":
            return f"{count:02}"
        case "none":
            return ""
    return str(count)


def _roman(count: int) -> str:
    letters = ""
    for size, digits in _ROMAN_DIGITS:
        times, count = divmod(count, size)
        letters += digits * times
    return letters
