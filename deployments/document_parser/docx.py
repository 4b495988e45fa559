"""Reads the text of Word documents (DOCX, DOCM), in both namespaces of ISO/IEC 29500 (transitional and strict).

The body comes first, in order. A text box stands behind the paragraph that it is anchored in, a table row by row. Then
follow footnotes, endnotes and comments under the headings of the places that they belong to, then headers and footers.
Tracked changes are read as if they were accepted. Hidden text is left out, and so are list numbers, which are not in
the file.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from lxml import etree

from deployments.document_parser.office_package import PARSER_OPTIONS, OfficePackage, damage_is_invalid
from deployments.document_parser.paragraphs import Block, Headings, merged, number_paragraphs, row_blocks
from deployments.document_parser.types import DocumentInfo, Paragraph, ParagraphKind

_NAMESPACES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "w",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
}
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
    is_list: bool


@dataclass
class _Inline:
    """What is found within a paragraph."""

    text: list[str] = field(default_factory=list)
    boxes: list[etree._Element] = field(default_factory=list)
    """The contents of text boxes."""
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
        tags = [f"{{*}}{name}" for name in ("p", "tbl", "sdt", "customXml", "ins", "moveTo", "AlternateContent")]
        with damage_is_invalid(), self._package.open(self._main) as stream:
            for _, element in etree.iterparse(stream, events=("end",), tag=tags, **PARSER_OPTIONS):
                parent = element.getparent()
                if parent is not None and _name(parent) == "w:body":
                    yield from self._block(element)
                    element.clear()
                    while element.getprevious() is not None:
                        del parent[0]
        yield Block(self._deleted_break)
        self._deleted_break = ""

    def _notes(self, name: str) -> dict[str, str]:
        """Return the texts of a part's notes by their ids."""
        return {
            _attribute(note, "id"): self._text_of(note)
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
        name = _name(element)
        if name == "w:p":
            yield from self._paragraph(element)
        elif name == "w:tbl":
            yield from self._table(element)
        elif name == "mc:AlternateContent":
            choices = [list(self._blocks(choice)) for choice in element]
            yield from next((blocks for blocks in choices if blocks), [])
        elif name == "w:sdt" and _shows_placeholder(element):
            pass
        elif name not in _LEFT_OUT:
            yield from self._blocks(element)

    def _paragraph(self, element: etree._Element) -> Iterator[Block]:
        properties = _child(element, "w:pPr")
        inline = _Inline()
        self._collect(element, inline)
        kind, level = self._kind(properties)
        block = merged(Block("".join(inline.text), kind, level), self._deleted_break)
        self._deleted_break = block.text if _has_deleted_end(properties) else ""
        if not self._deleted_break:
            yield block
        for box in inline.boxes:
            yield from self._blocks(box)

    def _table(self, element: etree._Element) -> Iterator[Block]:
        for row in _inside(element, "w:tr"):
            properties = _child(row, "w:trPr")
            if properties is not None and _child(properties, "w:del") is not None:
                continue
            cells = [cell for cell in _inside(row, "w:tc") if not _continues_cell_above(cell)]
            yield from row_blocks([list(self._blocks(cell)) for cell in cells])

    def _collect(self, element: etree._Element, inline: _Inline) -> None:
        for child in element:
            name = _name(child)
            is_shown = all(inline.fields)
            if name == "w:t":
                inline.text += [child.text or ""] if is_shown else []
            elif name in _CHARACTERS:
                inline.text += [_CHARACTERS[name]] if is_shown else []
            elif name == "m:oMath":
                inline.text.append(_math(child))
            elif name == "w:fldChar":
                _follow_field(_attribute(child, "fldCharType"), inline.fields)
            elif name == "w:txbxContent":
                inline.boxes.append(child)
            elif name == "mc:AlternateContent":
                self._collect_alternative(child, inline)
            elif name in _REFERENCES:
                self._references.setdefault((_REFERENCES[name], _attribute(child, "id")), self._headings.path)
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
            if found.text or found.boxes:
                inline.text += found.text
                inline.boxes += found.boxes
                return

    def _kind(self, properties: etree._Element | None) -> tuple[ParagraphKind, int]:
        """Return the kind of a paragraph, and the level if it is a heading."""
        if properties is None:
            return "text", 0
        style_id = _value(properties, "w:pStyle") or ""
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
        is_list = _is_numbered(properties)
        if is_list is None:
            is_list = any(style.is_list for style in chain)
        return ("list_item" if is_list else "text"), 0

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
                if _name(element) != "w:style":
                    continue
                properties = _child(element, "w:pPr")
                styles[_attribute(element, "styleId")] = _Style(
                    _value(element, "w:name") or "",
                    _value(element, "w:basedOn") or "",
                    None if properties is None else _outline_level(properties),
                    properties is not None and bool(_is_numbered(properties)),
                )
        return styles


@lru_cache(maxsize=1024)
def _short_name(tag: str) -> str:
    namespace, _, name = tag.rpartition("}")
    return f"{_NAMESPACES.get(namespace[1:], '')}:{name}"


def _name(element: etree._Element) -> str:
    """Return the name with a short prefix, such as `w:p`; empty for what is no element."""
    return _short_name(element.tag) if isinstance(element.tag, str) else ""


def _attribute(element: etree._Element, name: str) -> str:
    """Return an attribute by its name without namespace; empty if there is none."""
    return next((str(value) for key, value in element.items() if str(key).rpartition("}")[2] == name), "")


def _child(element: etree._Element, name: str) -> etree._Element | None:
    return next((child for child in element if _name(child) == name), None)


def _value(element: etree._Element, name: str) -> str | None:
    """Return the attribute `val` of a child; None if there is no such child."""
    child = _child(element, name)
    return None if child is None else _attribute(child, "val")


def _is_on(element: etree._Element | None, name: str) -> bool:
    """Return whether a switch such as `<w:vanish/>` is there and on."""
    value = None if element is None else _value(element, name)
    return value is not None and value not in ("0", "false", "off")


def _inside(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Yield the children of that name, also those within content controls and tracked changes."""
    for child in element:
        if _name(child) == name:
            yield child
        elif _name(child) in ("w:sdt", "w:sdtContent", "w:customXml", "w:ins", "w:moveTo"):
            yield from _inside(child, name)


def _outline_level(properties: etree._Element) -> int | None:
    value = _value(properties, "w:outlineLvl")
    return int(value) if value and value.isdecimal() else None


def _is_numbered(properties: etree._Element) -> bool | None:
    """Return whether a paragraph or style is in a list; None if it says nothing about that."""
    numbering = _child(properties, "w:numPr")
    number = None if numbering is None else _value(numbering, "w:numId")
    return None if number is None else number != "0"


def _is_hidden(run: etree._Element) -> bool:
    return _is_on(_child(run, "w:rPr"), "w:vanish")


def _shows_placeholder(control: etree._Element) -> bool:
    """Return whether a content control still shows what is to be filled in, such as "Click here to enter text"."""
    return _is_on(_child(control, "w:sdtPr"), "w:showingPlcHdr")


def _has_deleted_end(properties: etree._Element | None) -> bool:
    mark = None if properties is None else _child(properties, "w:rPr")
    return mark is not None and (_child(mark, "w:del") is not None or _child(mark, "w:moveFrom") is not None)


def _continues_cell_above(cell: etree._Element) -> bool:
    properties = _child(cell, "w:tcPr")
    merge = None if properties is None else _value(properties, "w:vMerge")
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
    name = _name(element)
    if name == "m:t":
        return element.text or ""
    if name in ("w:del", "w:moveFrom"):
        return ""
    inner = [(_name(child), _math(child)) for child in element]
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
    found = _child(element, properties)
    character = None if found is None else _value(found, name)
    return default if character is None else character


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"
