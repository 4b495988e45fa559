"""Reads the text of web pages that a browser would show. Nothing that they refer to is fetched, and no script runs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

from deployments.document_parser.paragraphs import Block, row_blocks
from deployments.document_parser.text_encoding import decode

_PIECE_CHARS = 64 * 1024
"""Given to the parser at a time."""
_DECLARATION_BYTES = 4096
"""At the beginning, where the encoding is declared."""
_CHARSET = re.compile(
    rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE
)

_INVISIBLE = {
    *("script", "style", "template", "noscript", "iframe", "object", "embed", "svg", "canvas", "audio", "video"),
    *("datalist", "textarea", "frameset"),
}
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"),
    *("basefont", "bgsound", "frame", "keygen"),
}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir"),
    *(
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "head",
        "header",
        "hr",
        "html",
        "legend",
    ),
    *("li", "main", "menu", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot"),
    *("th", "thead", "title", "tr", "ul"),
}
"""Elements that begin a new paragraph, besides the headings."""
_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_SPACES = re.compile(r"\s+")


def read_html(content: bytes) -> Iterator[Block]:
    """Yield the blocks of a page."""
    yield from _parse(content, _Page())


def html_title(content: bytes) -> str:
    page = _Page()
    for _ in _parse(content, page):
        break
    return page.title


def _parse(content: bytes, page: "_Page") -> Iterator[Block]:
    text = decode(content, _declared_encoding(content))
    parser = etree.HTMLParser(target=page, huge_tree=True)
    # As strings the parser takes them in an encoding that it cannot doubt.
    for start in range(0, len(text), _PIECE_CHARS):
        parser.feed(text[start : start + _PIECE_CHARS])
        yield from page.take()
    if text:
        parser.close()
    yield from page.take()


def _declared_encoding(content: bytes) -> str | None:
    match = _CHARSET.search(content[:_DECLARATION_BYTES])
    return (match[1] or match[2]).decode("ascii") if match else None


class _Page:
    """What the parser calls; collects the blocks of the elements that have ended."""

    def __init__(self) -> None:
        self.title = ""
        self._blocks: list[Block] = []
        self._text: list[str] = []
        self._open: list[str] = []
        self._invisible_depth = 0
        """Number of open elements within the outermost invisible one, itself included."""
        self._rows: list[list[list[Block]]] = []
        """The cells of each open row, the outermost first."""

    def take(self) -> list[Block]:
        """Return the blocks since the last call."""
        blocks, self._blocks = self._blocks, []
        return blocks

    def start(self, tag: Any, attrib: Any) -> None:
        if self._invisible_depth or tag in _INVISIBLE or _is_hidden(attrib):
            if tag not in _VOID:
                self._invisible_depth += 1
            return
        if tag == "br":
            self._text.append("\n")
        elif tag in _BLOCKS or tag in _HEADING_LEVELS:
            self._end_block()
        if tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._rows[-1].append([])
        if tag not in _VOID:
            self._open.append(tag)

    def end(self, tag: Any) -> None:
        if tag in _VOID:
            return
        if self._invisible_depth:
            self._invisible_depth -= 1
            return
        if tag in _BLOCKS or tag in _HEADING_LEVELS:
            self._end_block()
        if tag == "tr" and self._rows:
            self._add(row_blocks(self._rows.pop()))
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def data(self, data: Any) -> None:
        if self._invisible_depth:
            return
        text = str(data)
        self._text.append(text if "pre" in self._open else _SPACES.sub(" ", text))

    def comment(self, text: Any) -> None:
        pass

    def close(self) -> None:
        self._end_block()
        while self._rows:
            self._add(row_blocks(self._rows.pop()))

    def _end_block(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        if "title" in self._open:
            self.title = self.title or _SPACES.sub(" ", text).strip()
            return
        if "pre" not in self._open:
            text = "\n".join(_SPACES.sub(" ", line).strip() for line in text.split("\n"))
        level = next((_HEADING_LEVELS[tag] for tag in self._open if tag in _HEADING_LEVELS), None)
        if level is not None:
            self._add([Block(text, "heading", level)])
        else:
            self._add([Block(text, "list_item" if "li" in self._open or "dd" in self._open else "text")])

    def _add(self, blocks: list[Block]) -> None:
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += blocks
        else:
            self._blocks += blocks


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    return "hidden" in attributes or bool(_HIDDEN_STYLE.search(attributes.get("style", "")))
