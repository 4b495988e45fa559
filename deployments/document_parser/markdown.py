"""Reads Markdown (CommonMark with tables) as the text that a reader sees."""

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from deployments.document_parser.paragraphs import Block, row_blocks

_MIN_PIECE_CHARS = 64 * 1024
"""The parser keeps about a hundred bytes for each character, so a long text is parsed piece by piece."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_HTML_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)


def markdown_blocks(text: str) -> Iterator[Block]:
    parser = MarkdownIt("commonmark").enable("table")
    for piece in _pieces(_FRONT_MATTER.sub("", text)):
        yield from _blocks(parser.parse(piece))


def _pieces(text: str) -> Iterator[str]:
    """Yield parts of the text that end at an empty line before an unindented one, outside of code."""
    lines: list[str] = []
    num_chars, fence = 0, ""
    for line in text.splitlines(keepends=True):
        if num_chars >= _MIN_PIECE_CHARS and not fence and not lines[-1].strip() and not line[0].isspace():
            yield "".join(lines)
            lines, num_chars = [], 0
        if match := _FENCE.match(line):
            if not fence:
                fence = match[1]
            elif match[1].startswith(fence):
                fence = ""
        lines.append(line)
        num_chars += len(line)
    yield "".join(lines)


def _blocks(tokens: Sequence[Token]) -> Iterator[Block]:
    level = num_lists = 0
    row: list[list[Block]] | None = None
    for token in tokens:
        match token.type:
            case "heading_open":
                level = int(token.tag[1])
            case "heading_close":
                level = 0
            case "list_item_open" | "list_item_close":
                num_lists += token.nesting
            case "tr_open":
                row = []
            case "tr_close":
                yield from row_blocks(row or [])
                row = None
            case "inline" if row is not None:
                row.append([Block(_inline_text(token))])
            case "inline" if level:
                yield Block(_inline_text(token), "heading", level)
            case "inline":
                yield Block(_inline_text(token), "list_item" if num_lists else "text")
            case "fence" | "code_block":
                yield Block(token.content)
            case "html_block":
                yield Block(_HTML_TAG.sub("", token.content))


def _inline_text(token: Token) -> str:
    parts = []
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(_inline_text(child))
    return "".join(parts)
