"""Reads the text of Word documents (DOCX, DOCM), in both namespaces of ISO/IEC 29500 (transitional and strict).

The body comes first, in order. A text box stands behind the paragraph that it is anchored in, a table row by row. Then
follow footnotes, endnotes and comments under the headings of the places that they belong to, then headers and footers.
Tracked changes are read as if they were accepted. Hidden text is left out. Headings and list items have the numbers
that Word shows. The charts of the body stand as tables behind the paragraph that they are in; one that is damaged is
left out.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from lxml import etree

from deployments.document_parser.docx_charts import chart_blocks
from deployments.document_parser.docx_numbers import ListNumbers
from deployments.document_parser.office_package import PARSER_OPTIONS, OfficePackage, damage_is_invalid
from deployments.document_parser.paragraphs import Block, Headings, merged, number_paragraphs, row_blocks
from deployments.document_parser.types import DocumentInfo, Paragraph, ParagraphKind
from deployments.document_parser.word_xml import as_number, attribute, child_value, first_child, is_on, tag

_DUBLIN_CORE_TITLE = "{http://purl.org/dc/elements/1.1/}title"

_LEFT_OUT = {
    *("w:pPr", "w:rPr", "w:tblPr", "w:trPr", "w:tcPr", "w:sectPr", "w:sdtPr", "w:tblGrid"),
    *("w:del", "w:moveFrom", "w:rt", "w:instrText", "w:delText", "w:delInstrText", "w:fldData"),
}
"""Properties, deleted text, pronunciations above characters, and the instructions of fields."""
_CHARACTERS = {
    "w:tab": "\t",
    "w:ptab": "\t",
    "w:br": "\n",
    "w:cr": "\n",
    "w:noBreakHyphen": "-",
}
_REFERENCES = {"w:footnoteReference": "footnotes", "w:endnoteReference": "endnotes", "w:commentReference": "comments"}
"""The part that an element refers to."""
_NOTE_KINDS: dict[str, ParagraphKind] = {"footnotes": "footnote", "endnotes": "footnote", "comments": "comment"}

_BODY_TEXT_LEVEL = 9
"""The outline level, from 0, of what is no heading."""
_NO_LIST = "0"
"""The id of no list: it takes a paragraph out of its style's."""
_MAX_STYLE_DEPTH = 20
"""Styles that are based on one another, at most."""
_TITLE_SEARCH_BLOCKS = 20

_HEADING_NAME = re.compile(
    r"(?:heading|überschrift|berschrift|titre|título|titulo|titolo|kop|rubrik|overskrift|otsikko|nagłówek|nagwek|"
    r"nadpis|címsor|cmsor|başlık|balk|titlu|заголовок|επικεφαλίδα|标题|標題|見出し|제목) ?([1-9])"
)
"""Names and ids of the headings' styles, where a program has translated them."""
_TITLE_NAMES = {
    "title",
    "titel",
    "titre",
    "título",
    "titulo",
    "titolo",
    "tytuł",
    "název",
    "название",
    "标题",
    "標題",
    "表題",
    "제목",
}


@dataclass(frozen=True)
class _Style:
    name: str
    based_on: str
    outline_level: int | None
    list_id: str | None
    list_level: int | None


@dataclass
class _Inline:
    """What is found within a paragraph."""

    text: list[str] = field(default_factory=list)
    boxes: list[etree._Element] = field(default_factory=list)
    """The contents of text boxes."""
    charts: list[str] = field(default_factory=list)
    """The relationships that lead to charts."""
    fields: list[bool] = field(default_factory=list)
    """Whether the text belongs to the result of each open field, the outermost first, or to its instruction."""


class DocxFile:
    def __init__(self, file: io.RawIOBase) -> None:
        """Raises InvalidFile if the file cannot be opened; reading may raise it too."""
        self._package = OfficePackage(file)
        self._main = self._package.main_part
        self._headings = Headings()
        self._references: dict[tuple[str, str], tuple[str, ...]] = {}
        """The headings of the place of each note, by its part and id."""
        self._deleted_break = ""
        """Text before a paragraph's end that was deleted."""
        self._numbers = ListNumbers([])
        self._is_in_body = False

    def info(self) -> DocumentInfo:
        title = ""
        for part in self._package.related("", "core-properties"):
            title = title or (self._package.parse(part).findtext(_DUBLIN_CORE_TITLE) or "")
        if not title.strip():
            blocks = (block for block, _ in zip(self._body(), range(_TITLE_SEARCH_BLOCKS), strict=False))
            title = next((block.text for block in blocks if block.kind == "heading" and not block.level), "")
        return DocumentInfo(num_pages=0, title=" ".join(title.split()))

    def paragraphs(self) -> Iterator[Paragraph]:
        yield from number_paragraphs(self._all_blocks(), self._headings)

    def _all_blocks(self) -> Iterator[Block]:
        yield from self._body()
        # A note may refer to others.
        notes = {name: self._notes(name) for name in _NOTE_KINDS}
        for name, kind in _NOTE_KINDS.items():
            for key, path in list(self._references.items()):
                text = notes[name].get(key[1], "") if key[0] == name else ""
                yield Block(text, kind, heading=path)
        for kind in ("header", "footer"):
            texts = {self._part_text(part): None for part in self._package.related(self._main, kind)}
            for text in texts:
                yield Block(text, kind, heading=())

    def _body(self) -> Iterator[Block]:
        """Yield the blocks of the body, which is never in memory as a whole."""
        self._is_in_body = True
        self._numbers = ListNumbers(map(self._package.parse, self._package.related(self._main, "numbering")))
        tags = [f"{{*}}{name}" for name in ("p", "tbl", "sdt", "customXml", "ins", "moveTo", "AlternateContent")]
        with damage_is_invalid(), self._package.open(self._main) as stream:
            for _, element in etree.iterparse(stream, events=("end",), tag=tags, **PARSER_OPTIONS):
                parent = element.getparent()
                if parent is not None and tag(parent) == "w:body":
                    yield from self._block(element)
                    element.clear()
                    while element.getprevious() is not None:
                        del parent[0]
        yield Block(self._deleted_break)
        self._deleted_break = ""
        self._is_in_body = False

    def _notes(self, name: str) -> dict[str, str]:
        """Return the texts of a part's notes by their ids."""
        return {
            attribute(note, "id"): self._text_of(note)
            for part in self._package.related(self._main, name)
            for note in self._package.parse(part)
        }

    def _part_text(self, part: str) -> str:
        return self._text_of(self._package.parse(part))

    def _text_of(self, element: etree._Element) -> str:
        return "\n".join(text for block in self._blocks(element) if (text := block.text.strip()))

    def _blocks(self, parent: etree._Element) -> Iterator[Block]:
        for child in parent:
            yield from self._block(child)

    def _block(self, element: etree._Element) -> Iterator[Block]:
        name = tag(element)
        if name == "w:p":
            yield from self._paragraph(element)
        elif name == "w:tbl":
            yield from self._table(element)
        elif name == "mc:AlternateContent":
            # One after the other: reading a version counts its list items.
            versions = (list(self._blocks(version)) for version in element)
            yield from next((blocks for blocks in versions if blocks), [])
        elif name == "w:sdt" and _shows_placeholder(element):
            pass
        elif name not in _LEFT_OUT:
            yield from self._blocks(element)

    def _paragraph(self, element: etree._Element) -> Iterator[Block]:
        properties = first_child(element, "w:pPr")
        inline = _Inline()
        self._collect(element, inline)
        kind, level = self._kind(properties)
        block = merged(Block("".join(inline.text), kind, level), self._deleted_break)
        self._deleted_break = block.text if _has_deleted_end(properties) else ""
        if not self._deleted_break:
            yield self._numbered(block, properties)
        for box in inline.boxes:
            yield from self._blocks(box)
        for relationship in inline.charts if self._is_in_body else ():
            part = self._package.target(self._main, "chart", relationship)
            root = self._package.parse_if_readable(part) if part else None
            if root is not None:
                yield from chart_blocks(root)

    def _numbered(self, block: Block, properties: etree._Element | None) -> Block:
        """Count a paragraph of a list; returns it with the number that Word shows before it."""
        list_id, level = self._list_place(properties)
        number = self._numbers.next(list_id, level) if list_id else ""
        return replace(block, text=f"{number} {block.text}") if number and block.text.strip() else block

    def _list_place(self, properties: etree._Element | None) -> tuple[str, int]:
        """Return the list that a paragraph is in, by itself or by its style, and the level; ("", 0) if in none."""
        if properties is None:
            return "", 0
        style_id = child_value(properties, "w:pStyle") or ""
        chain = self._style_chain(style_id)
        list_id, level = _list_of(properties)
        of_styles = next((style for style in chain if style.list_id is not None), None)
        if list_id is None and of_styles is not None:
            list_id = of_styles.list_id
            level = of_styles.list_level if level is None else level
            if level is None:
                level = self._numbers.level_of_style(list_id or "", style_id)
        return ("", 0) if list_id in (None, _NO_LIST) else (list_id, level or 0)

    def _table(self, element: etree._Element) -> Iterator[Block]:
        for row in _inside(element, "w:tr"):
            properties = first_child(row, "w:trPr")
            if properties is not None and first_child(properties, "w:del") is not None:
                continue
            cells = [cell for cell in _inside(row, "w:tc") if not _continues_cell_above(cell)]
            yield from row_blocks([list(self._blocks(cell)) for cell in cells])

    def _collect(self, element: etree._Element, inline: _Inline) -> None:
        for child in element:
            name = tag(child)
            is_shown = all(inline.fields)
            if name == "w:t":
                inline.text += [child.text or ""] if is_shown else []
            elif name in _CHARACTERS:
                inline.text += [_CHARACTERS[name]] if is_shown else []
            elif name == "m:oMath":
                inline.text.append(_math(child))
            elif name == "w:fldChar":
                _follow_field(attribute(child, "fldCharType"), inline.fields)
            elif name == "w:txbxContent":
                inline.boxes.append(child)
            elif name == "c:chart":
                inline.charts.append(attribute(child, "id"))
            elif name == "mc:AlternateContent":
                self._collect_alternative(child, inline)
            elif name in _REFERENCES:
                self._references.setdefault((_REFERENCES[name], attribute(child, "id")), self._headings.path)
            elif name in _LEFT_OUT or (name == "w:r" and _is_hidden(child)):
                pass
            elif name == "w:sdt" and _shows_placeholder(child):
                pass
            else:
                self._collect(child, inline)

    def _collect_alternative(self, element: etree._Element, inline: _Inline) -> None:
        """Collect the first of the versions of the same content that has any: a drawing, and its fallback."""
        for version in element:
            found = _Inline(fields=inline.fields)
            self._collect(version, found)
            if found.text or found.boxes or found.charts:
                inline.text += found.text
                inline.boxes += found.boxes
                inline.charts += found.charts
                return

    def _kind(self, properties: etree._Element | None) -> tuple[ParagraphKind, int]:
        """Return the kind of a paragraph, and the level if it is a heading."""
        if properties is None:
            return "text", 0
        style_id = child_value(properties, "w:pStyle") or ""
        direct = _outline_level(properties)
        chain = self._style_chain(style_id)
        levels = [direct, *(style.outline_level for style in chain)]
        level = next((level for level in levels if level is not None), None)
        if level is None:
            names = [style.name.casefold() for style in chain] or [style_id.casefold()]
            matches = [match for name in names if (match := _HEADING_NAME.fullmatch(name))]
            if matches:
                return "heading", int(matches[0][1])
            if _TITLE_NAMES.intersection(names):
                return "heading", 0
        elif level < _BODY_TEXT_LEVEL:
            return "heading", level + 1
        return ("list_item" if self._list_place(properties)[0] else "text"), 0

    def _style_chain(self, style_id: str) -> list[_Style]:
        """Return a style and those that it is based on."""
        chain: list[_Style] = []
        while style_id in self._styles and len(chain) < _MAX_STYLE_DEPTH:
            chain.append(self._styles[style_id])
            style_id = chain[-1].based_on
        return chain

    @cached_property
    def _styles(self) -> dict[str, _Style]:
        styles = {}
        for part in self._package.related(self._main, "styles"):
            for element in self._package.parse(part):
                if tag(element) != "w:style":
                    continue
                properties = first_child(element, "w:pPr")
                styles[attribute(element, "styleId")] = _Style(
                    child_value(element, "w:name") or "",
                    child_value(element, "w:basedOn") or "",
                    None if properties is None else _outline_level(properties),
                    *((None, None) if properties is None else _list_of(properties)),
                )
        return styles


def _inside(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Yield the children of that name, also those within content controls and tracked changes."""
    for child in element:
        if tag(child) == name:
            yield child
        elif tag(child) in ("w:sdt", "w:sdtContent", "w:customXml", "w:ins", "w:moveTo"):
            yield from _inside(child, name)


def _outline_level(properties: etree._Element) -> int | None:
    return as_number(child_value(properties, "w:outlineLvl"))


def _list_of(properties: etree._Element) -> tuple[str | None, int | None]:
    """Return the id of the list that a paragraph or style is in, and the level there; None for what is not said."""
    numbering = first_child(properties, "w:numPr")
    if numbering is None:
        return None, None
    return child_value(numbering, "w:numId"), as_number(child_value(numbering, "w:ilvl"))


def _is_hidden(run: etree._Element) -> bool:
    return is_on(first_child(run, "w:rPr"), "w:vanish")


def _shows_placeholder(control: etree._Element) -> bool:
    """Return whether a content control still shows what is to be filled in, such as "Click here to enter text"."""
    return is_on(first_child(control, "w:sdtPr"), "w:showingPlcHdr")


def _has_deleted_end(properties: etree._Element | None) -> bool:
    mark = None if properties is None else first_child(properties, "w:rPr")
    return mark is not None and (first_child(mark, "w:del") is not None or first_child(mark, "w:moveFrom") is not None)


def _continues_cell_above(cell: etree._Element) -> bool:
    properties = first_child(cell, "w:tcPr")
    merge = None if properties is None else child_value(properties, "w:vMerge")
    return merge is not None and merge != "restart"


def _follow_field(mark: str, fields: list[bool]) -> None:
    if mark == "begin":
        fields.append(False)
    elif mark == "separate" and fields:
        fields[-1] = True
    elif mark == "end" and fields:
        fields.pop()


def _math(element: etree._Element) -> str:
    """Return a formula in one line, as it would be typed."""
    name = tag(element)
    if name == "m:t":
        return element.text or ""
    if name in ("w:del", "w:moveFrom"):
        return ""
    inner = [(tag(child), _math(child)) for child in element]
    if name == "m:d":
        first, last = (_math_character(element, "m:dPr", mark, default) for mark, default in _BRACKETS)
        return f"{first}{', '.join(text for part, text in inner if part == 'm:e')}{last}"
    if name == "m:nary":
        inner.append(("m:chr", _math_character(element, "m:naryPr", "m:chr", "∫")))
    if name not in _FORMULAS:
        return "".join(text for _, text in inner)
    parts = dict(inner)
    return _FORMULAS[name].format(
        *(parts.get(part, "") if part in _VERBATIM_PARTS else _grouped(parts.get(part, "")) for part in _FORMULA_PARTS)
    )


_BRACKETS = (("m:begChr", "("), ("m:endChr", ")"))
_FORMULA_PARTS = ("m:e", "m:sub", "m:sup", "m:num", "m:den", "m:chr", "m:lim")
_VERBATIM_PARTS = ("m:e", "m:chr")
"""Without brackets."""
_FORMULAS = {
    "m:f": "{3}/{4}",
    "m:sSub": "{0}_{1}",
    "m:sSup": "{0}^{2}",
    "m:sSubSup": "{0}_{1}^{2}",
    "m:rad": "√({0})",
    "m:nary": "{5}_{1}^{2} {0}",
    "m:limLow": "{0}_{6} ",
    "m:limUpp": "{0}^{6} ",
}
"""How the parts of a formula are written, by their position in _FORMULA_PARTS."""


def _math_character(element: etree._Element, properties: str, name: str, default: str) -> str:
    """Return a character that is a property of a formula, such as its bracket."""
    found = first_child(element, properties)
    character = None if found is None else child_value(found, name)
    return default if character is None else character


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"
