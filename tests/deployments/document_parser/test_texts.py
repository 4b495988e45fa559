"""What is read from HTML, Markdown and text files."""

import pytest

from deployments.document_parser.html import html_title, read_html
from deployments.document_parser.markdown import markdown_blocks
from deployments.document_parser.paragraphs import MAX_PARAGRAPH_CHARS, Block, Headings, cut, number_paragraphs
from deployments.document_parser.plain_text import text_blocks
from deployments.document_parser.text_encoding import decode
from deployments.document_parser.types import Paragraph
from deployments.errors import InvalidFile


def paragraphs(blocks: list[Block]) -> list[Paragraph]:
    return list(number_paragraphs(iter(blocks), Headings()))


def html(text: str) -> list[Paragraph]:
    return paragraphs(list(read_html(text.encode())))


def markdown(text: str) -> list[Paragraph]:
    return paragraphs(list(markdown_blocks(text)))


def test_headings_close_those_of_their_level_and_below() -> None:
    blocks = [Block(f"h{level}", "heading", level) for level in (1, 2, 3, 2, 1)]
    assert [item.heading for item in paragraphs(blocks)] == [(), ("h1",), ("h1", "h2"), ("h1",), ()]


def test_long_paragraphs_are_cut_after_lines_sentences_or_words() -> None:
    for unit in ("A line of a log.\n", "A sentence of a text. ", "word "):
        text = unit * 2000
        parts = list(cut(text))
        assert max(map(len, parts)) <= MAX_PARAGRAPH_CHARS
        assert min(map(len, parts[:-1])) > MAX_PARAGRAPH_CHARS / 2
        assert {part.endswith(unit.strip()) and part.startswith(unit[:4]) for part in parts} == {True}
    assert [len(part) for part in cut("x" * 10_000)] == [4000, 4000, 2000]
    assert list(cut(" \n ")) == []


def test_web_pages() -> None:
    page = """<!DOCTYPE html><html><head><title>The  page</title><style>p {color: red}</style></head>
    <body><script>var x = "<p>script</p>";</script><h1>Top</h1><p>One <b>bold</b> word,
    broken<br>here.</p><!-- comment --><h2>Below</h2>loose text<ul><li>first<ul><li>inner</li></ul></li>
    <li><p>second</p></li></ul><pre>  two
  lines</pre><h1>Next</h1><div>in <span>a</span> box</div></body></html>"""
    assert html(page) == [
        Paragraph(1, (), "Top", "heading"),
        Paragraph(2, ("Top",), "One bold word, broken\nhere.", "text"),
        Paragraph(3, ("Top",), "Below", "heading"),
        Paragraph(4, ("Top", "Below"), "loose text", "text"),
        Paragraph(5, ("Top", "Below"), "first", "list_item"),
        Paragraph(6, ("Top", "Below"), "inner", "list_item"),
        Paragraph(7, ("Top", "Below"), "second", "list_item"),
        Paragraph(8, ("Top", "Below"), "two\n  lines", "text"),
        Paragraph(9, (), "Next", "heading"),
        Paragraph(10, ("Next",), "in a box", "text"),
    ]
    assert html_title(page.encode()) == "The page"


def test_what_a_browser_does_not_show_is_left_out() -> None:
    page = """<p>shown</p><p hidden>a</p><div style="display: none"><p>b</p><br></div><template><p>c</p></template>
    <noscript>d</noscript><iframe src="file:///etc/passwd">e</iframe><p style="VISIBILITY:hidden">f</p>
    <svg><text>g</text></svg><input type="hidden" value="h"><textarea>i</textarea><p>also shown</p>"""
    assert [item.text for item in html(page)] == ["shown", "also shown"]


def test_tables_of_web_pages() -> None:
    page = """<table><caption>Prices</caption><tr><th>Item<th>Price<tr><td>Brake <i>pad</i><td><p>19</p><p>EUR</p>
    <tr><td>Kit<td>30<table><tr><td>Screw<td>1</table></table><table><tr><td><h1>Head</h1><p>A layout.</p></table>"""
    assert [(item.text, item.kind) for item in html(page)] == [
        ("Prices", "text"),
        ("Item\tPrice", "table_row"),
        ("Brake pad\t19 EUR", "table_row"),
        ("Kit\t30", "table_row"),
        ("Screw\t1", "table_row"),
        ("Head", "heading"),
        ("A layout.", "text"),
    ]


@pytest.mark.parametrize(
    "page", ["", "<p", "<p>text", "text</p></div></html>", "<b><i>text</b></i>", "<td>text", "<h1><p>text", "&amp;text"]
)
def test_broken_pages_are_read(page: str) -> None:
    assert [item.text.lstrip("&") for item in html(page)] == (["text"] if "text" in page else [])


def test_very_deep_and_long_pages_are_read() -> None:
    assert [item.text for item in html("<div>" * 20_000 + "deep")] == ["deep"]
    assert len(html("<p>word</p>" * 50_000)) == 50_000
    assert len(html("<pre>" + "x" * 11_000_000)) == 11_000_000 / MAX_PARAGRAPH_CHARS


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        ('<meta charset="windows-1251"><p>Привет</p>', "cp1251"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><p>東京</p>', "shift_jis"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><html><p>Größe</p></html>', "latin-1"),
        ("<p>Größe, 東京</p>", "utf-8"),
        ('<meta charset="latin-1"><p>Größe, 東京</p>', "utf-16"),
        ('<meta charset="no-such-encoding"><p>Größe</p>', "utf-8"),
    ],
)
def test_the_encoding_of_web_pages(page: str, encoding: str) -> None:
    [block] = read_html(page.encode(encoding))
    assert block.text in page


def test_markdown() -> None:
    text = """---
title: front matter
---
Top
===

A paragraph with *emphasis*, `code`, a [link](http://example.com) and
a second line.

## Below

1. first
   - inner
2. second

| Item | Price |
|---|---|
| Brake | 19 |

```python
# no heading
```

<div>some <b>HTML</b></div>

# Next
![a picture](x.png)
"""
    assert markdown(text) == [
        Paragraph(1, (), "Top", "heading"),
        Paragraph(2, ("Top",), "A paragraph with emphasis, code, a link and\na second line.", "text"),
        Paragraph(3, ("Top",), "Below", "heading"),
        Paragraph(4, ("Top", "Below"), "first", "list_item"),
        Paragraph(5, ("Top", "Below"), "inner", "list_item"),
        Paragraph(6, ("Top", "Below"), "second", "list_item"),
        Paragraph(7, ("Top", "Below"), "Item\tPrice", "table_row"),
        Paragraph(8, ("Top", "Below"), "Brake\t19", "table_row"),
        Paragraph(9, ("Top", "Below"), "# no heading", "text"),
        Paragraph(10, ("Top", "Below"), "some HTML", "text"),
        Paragraph(11, (), "Next", "heading"),
        Paragraph(12, ("Next",), "a picture", "text"),
    ]


def test_long_markdown_is_read_piece_by_piece_with_the_same_result() -> None:
    part = "## Part\n\nSome words.\n\n```\n# code\n\n\ncode\n```\n\n- item\n\n  more of it\n\n"
    found = markdown("# Top\n\n" + part * 3000)
    assert len(found) == 1 + 5 * 3000
    assert found[1:6] == [
        Paragraph(2, ("Top",), "Part", "heading"),
        Paragraph(3, ("Top", "Part"), "Some words.", "text"),
        Paragraph(4, ("Top", "Part"), "# code\n\n\ncode", "text"),
        Paragraph(5, ("Top", "Part"), "item", "list_item"),
        Paragraph(6, ("Top", "Part"), "more of it", "list_item"),
    ]
    assert [item.text for item in found[-5:]] == [item.text for item in found[1:6]]


def test_paragraphs_of_text_files_are_separated_by_empty_lines() -> None:
    text = "First\nline.\n\nSecond.\n \n\t\n\nThird.\fOn a new page.\n"
    assert [item.text for item in paragraphs(list(text_blocks(text)))] == [
        "First\nline.",
        "Second.",
        "Third.",
        "On a new page.",
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe, 東京, 😀", "utf-8"),
        ("Größe, 東京, 😀", "utf-8-sig"),
        ("Größe, 東京, 😀", "utf-16"),
        ("Größe, 東京, 😀", "utf-32"),
        ("A text in two bytes for each letter: Größe", "utf-16-le"),
        ("A text in two bytes for each letter: Größe", "utf-16-be"),
        ("Die Größe der Straße ist für die Übung nicht wichtig, sagte er später. " * 5, "cp1252"),
        ("Это длинный русский текст, написанный для проверки кодировки в старом файле. " * 5, "cp1251"),
        ("日本語の文章は、古い文字コードで保存されていることがあります。" * 5, "shift_jis"),
    ],
)
def test_the_encoding_of_text_files(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_line_ends_are_made_the_same() -> None:
    assert decode(b"a\r\nb\rc\n") == "a\nb\nc\n"


def test_a_text_whose_end_is_damaged_is_still_read() -> None:
    assert decode("Größe".encode("utf-16")[:-1]).startswith("Größ")


def test_content_that_is_no_text_says_so() -> None:
    with pytest.raises(InvalidFile, match="not text"):
        decode(bytes(range(256)))


def test_stray_control_characters_are_left_out() -> None:
    assert decode(b"a text of a DOS program" * 5 + b"\x1a") == "a text of a DOS program" * 5
