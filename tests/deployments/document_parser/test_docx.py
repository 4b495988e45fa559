"""What is read from Word documents."""

import io
import random
import struct
import zipfile
from typing import Any

import docx as python_docx
import pytest

from deployments.document_parser import office_package
from deployments.document_parser.docx import DocxFile
from deployments.document_parser.docx_charts import MAX_ROWS, MAX_SERIES
from deployments.document_parser.types import Paragraph
from deployments.errors import InvalidFile
from deployments.media import MediaReader, as_media
from tests.deployments.document_parser.docx_files import docx, paragraph, row, run, style, table, zipped


def open_docx(content: bytes) -> DocxFile:
    return DocxFile(MediaReader(as_media(content)))


def read(content: bytes) -> list[Paragraph]:
    return list(open_docx(content).paragraphs())


def texts(content: bytes) -> list[str]:
    return [item.text for item in read(content)]


def headings(content: bytes) -> list[tuple[tuple[str, ...], str]]:
    return [(item.heading, item.text) for item in read(content)]


def test_a_document_of_a_word_processor() -> None:
    document = python_docx.Document()
    document.core_properties.title = "Plans"
    document.add_heading("The title", 0)
    document.add_heading("Budget", 1)
    document.add_paragraph("What it costs.")
    document.add_heading("Travel", 2)
    document.add_paragraph("By train", style="List Bullet")
    cells = document.add_table(2, 2)
    for cell, text in zip(cells._cells, ("City", "Price", "Rome", "90"), strict=True):
        cell.text = text
    document.add_heading("Staff", 1)
    document.sections[0].header.paragraphs[0].text = "Confidential"
    document.sections[0].footer.paragraphs[0].text = "Page 1"
    buffer = io.BytesIO()
    document.save(buffer)
    content = buffer.getvalue()
    assert open_docx(content).info().title == "Plans"
    assert read(content) == [
        Paragraph(1, (), "The title", "heading"),
        Paragraph(2, (), "Budget", "heading"),
        Paragraph(3, ("Budget",), "What it costs.", "text"),
        Paragraph(4, ("Budget",), "Travel", "heading"),
        Paragraph(5, ("Budget", "Travel"), "By train", "list_item"),
        Paragraph(6, ("Budget", "Travel"), "City\tPrice", "table_row"),
        Paragraph(7, ("Budget", "Travel"), "Rome\t90", "table_row"),
        Paragraph(8, (), "Staff", "heading"),
        Paragraph(9, (), "Confidential", "header"),
        Paragraph(10, (), "Page 1", "footer"),
    ]


STYLES = (
    style("berschrift1", "Überschrift 1")
    + style("a3", "heading 2", '<w:outlineLvl w:val="1"/>')
    + style("Chapter", "Chapter", based_on="a3")
    + style("Titel", "Title")
    + style("Liste", "Aufzählung", '<w:numPr><w:numId w:val="3"/></w:numPr>')
)


def test_headings_are_known_by_outline_level_or_by_their_styles_name_in_any_language() -> None:
    body = "".join(
        [
            paragraph("The report", style="Titel"),
            paragraph("First", style="berschrift1"),
            paragraph("Second", style="a3"),
            paragraph("one"),
            paragraph("Third", style="Chapter"),
            paragraph("two", style="Liste"),
            paragraph("Fourth", properties='<w:outlineLvl w:val="0"/>'),
            paragraph("three", properties='<w:outlineLvl w:val="9"/>'),
        ]
    )
    content = docx(body, styles=STYLES)
    assert headings(content) == [
        ((), "The report"),
        ((), "First"),
        (("First",), "Second"),
        (("First", "Second"), "one"),
        (("First",), "Third"),
        (("First", "Third"), "two"),
        ((), "Fourth"),
        (("Fourth",), "three"),
    ]
    assert [item.kind for item in read(content)].count("list_item") == 1
    assert open_docx(content).info().title == "The report"


def test_headings_without_a_table_of_styles() -> None:
    body = paragraph("Top", style="Heading1") + paragraph("text") + paragraph("Sub", style="Titre2") + paragraph("more")
    assert headings(docx(body)) == [((), "Top"), (("Top",), "text"), (("Top",), "Sub"), (("Top", "Sub"), "more")]


def test_styles_that_are_based_on_each_other_end() -> None:
    styles = style("A", "A", based_on="B") + style("B", "B", based_on="A")
    assert texts(docx(paragraph("text", style="A"), styles=styles)) == ["text"]


def test_strict_documents_and_unusual_names_of_the_main_part() -> None:
    body = paragraph("Top", style="h") + table(row("a", "b"))
    content = docx(body, strict=True, styles=style("h", "heading 1", '<w:outlineLvl w:val="0"/>'))
    assert headings(content) == [((), "Top"), (("Top",), "a\tb")]
    assert texts(docx(paragraph("text"), main="word/document2.xml")) == ["text"]


def test_tracked_changes_are_read_as_accepted() -> None:
    body = "".join(
        [
            paragraph(
                "Kept, ",
                f"<w:ins>{run('inserted')}</w:ins>",
                "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>",
                f"<w:moveFrom>{run('moved away')}</w:moveFrom>",
                f"<w:moveTo>{run(', moved here')}</w:moveTo>",
            ),
            paragraph("The end of this paragraph", properties="<w:rPr><w:del/></w:rPr>"),
            paragraph(" was deleted."),
            table(row("there"), row("gone", properties="<w:del/>"), row("new", properties="<w:ins/>")),
        ]
    )
    assert texts(docx(body)) == [
        "Kept, inserted, moved here",
        "The end of this paragraph was deleted.",
        "there",
        "new",
    ]


TEXT_BOX = f"<w:txbxContent>{paragraph('in the box')}{paragraph('twice')}</w:txbxContent>"


def test_text_boxes_stand_once_behind_their_paragraph() -> None:
    shape = (
        f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wps:wsp><wps:txbx>{TEXT_BOX}</wps:txbx>"
        f"</wps:wsp></w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox>{TEXT_BOX}</v:textbox></v:shape>"
        "</w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    old_shape = f"<w:r><w:pict><v:shape><v:textbox>{TEXT_BOX}</v:textbox></v:shape></w:pict></w:r>"
    assert texts(docx(paragraph("before", shape, " after") + paragraph("next"))) == [
        "before after",
        "in the box",
        "twice",
        "next",
    ]
    assert texts(docx(paragraph(old_shape))) == ["in the box", "twice"]
    only_fallback = shape.replace(TEXT_BOX, "", 1)
    assert texts(docx(paragraph(only_fallback))) == ["in the box", "twice"]


def test_tables_are_read_by_rows_with_merged_cells_once_and_nested_ones_behind_their_row() -> None:
    nested = paragraph("outer") + table(row("inner 1", "inner 2")) + paragraph("")
    merged = '<w:tcPr><w:vMerge w:val="restart"/></w:tcPr>' + paragraph("tall")
    continued = "<w:tcPr><w:vMerge/></w:tcPr>" + paragraph("tall")
    wide = '<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>' + paragraph("wide") + paragraph("and long")
    body = table(row(merged, "1"), row(continued, "2"), row(wide, "3"), row(nested, "4"))
    content = docx(body)
    assert texts(content) == ["tall\t1", "2", "wide and long\t3", "outer\t4", "inner 1\tinner 2"]
    assert {item.kind for item in read(content)} == {"table_row"}


def test_a_table_that_only_serves_the_layout_is_read_as_paragraphs() -> None:
    cell = paragraph("Head", properties='<w:outlineLvl w:val="0"/>') + paragraph("A sentence.")
    assert headings(docx(table(row(cell)))) == [((), "Head"), (("Head",), "A sentence.")]
    long_cells = [paragraph("word " * 120), paragraph("more " * 120)]
    assert len(texts(docx(table(row(*long_cells))))) == 2


def test_rows_and_cells_within_content_controls() -> None:
    cell = f"<w:sdt><w:sdtContent><w:tc>{paragraph('b')}</w:tc></w:sdtContent></w:sdt>"
    controlled = f"<w:sdt><w:sdtContent><w:tr><w:tc>{paragraph('a')}</w:tc>{cell}</w:tr></w:sdtContent></w:sdt>"
    assert texts(docx(table(controlled))) == ["a\tb"]


def test_content_controls_are_read_unless_they_show_what_to_fill_in() -> None:
    def control(text: str, properties: str = "") -> str:
        return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{text}</w:sdtContent></w:sdt>"

    body = control(paragraph("Block")) + paragraph("Name: ", control(run("Ada")))
    body += paragraph("Date: ", control(run("Click here"), "<w:showingPlcHdr/>"))
    body += control(paragraph("Click there"), "<w:showingPlcHdr/>")
    assert texts(docx(body)) == ["Block", "Name: Ada", "Date:"]


def field(instruction: str, result: str) -> str:
    def mark(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    instruction = f"<w:r><w:instrText>{instruction}</w:instrText></w:r>"
    return mark("begin") + instruction + mark("separate") + run(result) + mark("end")


def test_fields_are_read_as_their_results() -> None:
    nested = field("IF", "yes").replace(
        "<w:instrText>IF", f"<w:instrText>IF</w:instrText></w:r>{field('MERGE', 'Ada')}<w:r><w:instrText>"
    )
    body = paragraph("See ", field("REF x", "page 3"), ".") + paragraph(nested)
    body += paragraph('<w:fldSimple w:instr="DATE"><w:r><w:t>today</w:t></w:r></w:fldSimple>')
    body += paragraph("The ", "<w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink>")
    assert texts(docx(body)) == ["See page 3.", "yes", "today", "The link"]


def test_hidden_text_is_left_out() -> None:
    body = paragraph("shown", run(" hidden", "<w:vanish/>"), run(" too", '<w:vanish w:val="0"/>'))
    assert texts(docx(body)) == ["shown too"]


def test_special_characters() -> None:
    inner = (
        "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t><w:softHyphen/></w:r>"
    )
    ruby = f"<w:r><w:ruby><w:rt>{run('とう')}</w:rt><w:rubyBase>{run('東')}</w:rubyBase></w:ruby></w:r>"
    assert texts(docx(paragraph(inner) + paragraph(ruby))) == ["a\tb\nc-d", "東"]


def test_formulas_are_read_as_typed() -> None:
    def t(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    formula = (
        f"<m:oMathPara><m:oMath>{t('x=')}<m:f><m:num>{t('a+b')}</m:num><m:den>{t('2')}</m:den></m:f>{t('+')}"
        f"<m:sSup><m:e>{t('c')}</m:e><m:sup>{t('2')}</m:sup></m:sSup>{t('+')}<m:rad><m:e>{t('d')}</m:e></m:rad>"
        f"<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{t('k=0')}</m:sub><m:sup>{t('n')}</m:sup>"
        f"<m:e>{t('k')}</m:e></m:nary>{t('=f')}<m:d><m:e>{t('n')}</m:e></m:d>"
        "</m:oMath></m:oMathPara>"
    )
    assert texts(docx(paragraph("Let ", formula))) == ["Let x=(a+b)/2+c^2+√(d)∑_(k=0)^n k=f(n)"]


def test_notes_and_comments_follow_the_body_under_the_headings_that_they_belong_to() -> None:
    def note(number: int, text: str, kind: str = "footnote") -> str:
        return f'<w:{kind} w:id="{number}">{paragraph(text)}</w:{kind}>'

    def reference(number: int, kind: str = "footnote") -> str:
        return f'<w:r><w:{kind}Reference w:id="{number}"/></w:r>'

    body = paragraph("Top", properties='<w:outlineLvl w:val="0"/>')
    body += paragraph("Claim", reference(2), reference(1), reference(7, "endnote"), reference(0, "comment"))
    body += paragraph("Next", properties='<w:outlineLvl w:val="0"/>')
    content = docx(
        body,
        footnotes=note(-1, "separator") + note(1, "First source") + note(2, "Second source") + note(3, "Unused"),
        endnotes=note(7, "Last source", "endnote"),
        comments=note(0, "Is this true?", "comment"),
    )
    assert read(content) == [
        Paragraph(1, (), "Top", "heading"),
        Paragraph(2, ("Top",), "Claim", "text"),
        Paragraph(3, (), "Next", "heading"),
        Paragraph(4, ("Top",), "Second source", "footnote"),
        Paragraph(5, ("Top",), "First source", "footnote"),
        Paragraph(6, ("Top",), "Last source", "footnote"),
        Paragraph(7, ("Top",), "Is this true?", "comment"),
    ]


def test_headers_and_footers_are_read_once() -> None:
    content = docx(
        paragraph("body"),
        header1=paragraph("ACME"),
        header2=paragraph("ACME"),
        header3=paragraph("First page"),
        footer1=paragraph("Confidential"),
    )
    assert [(item.kind, item.text) for item in read(content)] == [
        ("text", "body"),
        ("header", "ACME"),
        ("header", "First page"),
        ("footer", "Confidential"),
    ]


def test_nothing_outside_the_file_is_read() -> None:
    relationships = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="x/footnotes" Target="file:///etc/hostname" TargetMode="External"/>'
        '<Relationship Id="r2" Type="x/header" Target="../../../../../../etc/hostname"/></Relationships>'
    )
    document = (
        '<!DOCTYPE w:document [<!ENTITY file SYSTEM "file:///etc/hostname"><!ENTITY inner "inner">]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
        "text&file;&inner;</w:t></w:r></w:p></w:body></w:document>"
    )
    content = zipped({"word/document.xml": document, "word/_rels/document.xml.rels": relationships})
    assert texts(content) == ["text"]


def test_entities_are_not_expanded() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 100}">' for n in range(1, 10))
    document = (
        f'<!DOCTYPE w:document [<!ENTITY e0 "lol">{entities}]><w:document '
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>a&e9;</w:t>'
        "</w:r></w:p></w:body></w:document>"
    )
    with pytest.raises(InvalidFile, match="amplification"):
        read(zipped({"word/document.xml": document}))


def test_a_file_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_package, "MAX_UNPACKED_BYTES", 10_000_000)
    content = docx(paragraph("word " * 400) * 6_000)
    assert len(content) < 100_000
    with pytest.raises(InvalidFile, match="unpacks to more than 9 MB"):
        read(content)


def test_a_file_that_says_that_it_unpacks_to_too_much_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = docx(paragraph("word " * 400) * 6_000)
    monkeypatch.setattr(office_package, "MAX_UNPACKED_BYTES", 10_000_000)
    with pytest.raises(InvalidFile, match="unpacks to more than 9 MB"):
        open_docx(content)
    size = next(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(content)).infolist() if entry.file_size > 10**7)
    with pytest.raises(InvalidFile, match="damaged"):
        read(content.replace(struct.pack("<I", size), struct.pack("<I", 1_000_000)))


def test_an_encrypted_document_says_that_it_needs_a_password() -> None:
    with pytest.raises(InvalidFile, match="needs a password"):
        open_docx(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip", docx("<w:p>")[:300]])
def test_a_file_that_is_no_package_says_so(content: bytes) -> None:
    with pytest.raises(InvalidFile, match="damaged"):
        open_docx(content)


def test_a_package_of_another_program_says_so() -> None:
    with pytest.raises(InvalidFile, match="no text part"):
        open_docx(zipped({"xl/workbook.xml": "<workbook/>"}))


def test_broken_xml_says_so() -> None:
    with pytest.raises(InvalidFile, match="damaged"):
        read(docx(paragraph("good") + "<w:p><w:r>"))


def test_damage_anywhere_is_invalid_or_harmless() -> None:
    content = docx(paragraph("text") + table(row("a", "b")), styles=STYLES, footnotes="", header1=paragraph("head"))
    chance = random.Random(5)
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            file = open_docx(bytes(damaged))
            file.info()
            list(file.paragraphs())
        except InvalidFile:
            pass


def level(number: int, text: str, number_format: str = "decimal", more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="1"/><w:numFmt w:val="{number_format}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def in_list(list_id: int, list_level: int = 0) -> str:
    return f'<w:numPr><w:ilvl w:val="{list_level}"/><w:numId w:val="{list_id}"/></w:numPr>'


def numbering(*levels: str, lists: str = "") -> str:
    abstract = f'<w:abstractNum w:abstractNumId="7">{"".join(levels)}</w:abstractNum>'
    return f'{abstract}<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>{lists}'


def test_headings_and_list_items_have_the_numbers_that_word_shows() -> None:
    levels = [
        level(0, "%1", more='<w:pStyle w:val="H1"/>'),
        level(1, "%1.%2", more='<w:pStyle w:val="H2"/>'),
        level(2, "%3)", "lowerLetter"),
        level(3, "(%4)", "upperRoman"),
        level(4, "•", "bullet"),
    ]
    styles = "".join(
        style(f"H{number}", f"heading {number}", '<w:numPr><w:numId w:val="1"/></w:numPr>') for number in (1, 2)
    )
    body = [
        paragraph("Budget", style="H1"),
        paragraph("Travel", style="H2"),
        paragraph("trains", properties=in_list(1, 2)),
        paragraph("hotels", properties=in_list(1, 2)),
        paragraph("in Rome", properties=in_list(1, 3)),
        paragraph("with breakfast", properties=in_list(1, 4)),
        paragraph("taxis", properties=in_list(1, 2)),
        paragraph("", properties=in_list(1, 2)),
        paragraph("without a number", properties=in_list(0)),
        paragraph("Food", style="H2"),
        paragraph("lunch", properties=in_list(1, 2)),
        paragraph("Dates", style="H1"),
        paragraph("Spring", style="H2"),
    ]
    found = read(docx("".join(body), styles=styles, numbering=numbering(*levels)))
    assert [(item.heading, item.text) for item in found] == [
        ((), "1 Budget"),
        (("1 Budget",), "1.1 Travel"),
        (("1 Budget", "1.1 Travel"), "a) trains"),
        (("1 Budget", "1.1 Travel"), "b) hotels"),
        (("1 Budget", "1.1 Travel"), "(I) in Rome"),
        (("1 Budget", "1.1 Travel"), "with breakfast"),
        (("1 Budget", "1.1 Travel"), "c) taxis"),
        (("1 Budget", "1.1 Travel"), "without a number"),
        (("1 Budget",), "1.2 Food"),
        (("1 Budget", "1.2 Food"), "a) lunch"),
        ((), "2 Dates"),
        (("2 Dates",), "2.1 Spring"),
    ]
    assert {item.kind for item in found} == {"heading", "list_item", "text"}


def test_lists_go_on_or_begin_anew_as_the_file_says() -> None:
    lists = (
        '<w:num w:numId="2"><w:abstractNumId w:val="7"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="7"/>'
        '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num>'
        '<w:num w:numId="4"><w:abstractNumId w:val="99"/></w:num>'
    )
    ids = (1, 1, 2, 3, 3, 1, 4, 98)
    body = "".join(paragraph("item", properties=in_list(list_id)) for list_id in ids)
    found = texts(docx(body, numbering=numbering(level(0, "%1."), lists=lists)))
    numbers = ["1.", "2.", "3.", "5.", "6.", "7.", "", ""]
    assert found == [f"{number} item".strip() for number in numbers]


def items(*levels: int, list_id: int = 1) -> str:
    return "".join(paragraph("item", properties=in_list(list_id, number)) for number in levels)


def numbers(content: bytes) -> list[str]:
    return [text.removesuffix("item").strip() for text in texts(content)]


def test_roman_numerals_become_arabic_only_where_the_switch_for_it_is_on() -> None:
    levels = [level(0, "%1", "upperRoman"), level(1, "%1.%2", more='<w:isLgl w:val="0"/>')]
    levels.append(level(2, "%1.%3", more="<w:isLgl/>"))
    assert numbers(docx(items(0, 1, 2), numbering=numbering(*levels))) == ["I", "I.1", "1.1"]


@pytest.mark.parametrize(
    ("restart", "expected"),
    [("", ["1", "1", "1", "1"]), ("0", ["1", "2", "3", "4"]), ("1", ["1", "2", "1", "2"]), ("9", ["1", "1", "1", "1"])],
)
def test_a_level_begins_anew_after_the_levels_that_the_file_says(restart: str, expected: list[str]) -> None:
    rule = f'<w:lvlRestart w:val="{restart}"/>' if restart else ""
    levels = [level(0, ""), level(1, ""), level(2, "%3", more=rule)]
    found = numbers(docx(items(0, 1, 2, 1, 2, 0, 2, 1, 2), numbering=numbering(*levels)))
    assert [number for number in found if number] == expected


def test_lists_of_a_list_style_have_the_numbers_of_the_style() -> None:
    lists = (
        '<w:abstractNum w:abstractNumId="8"><w:numStyleLink w:val="Steps"/></w:abstractNum>'
        '<w:abstractNum w:abstractNumId="9"><w:numStyleLink w:val="Unknown"/></w:abstractNum>'
        '<w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="9"/></w:num>'
    )
    style_link = '<w:styleLink w:val="Steps"/>'
    body = items(0, 1, list_id=2) + items(0, list_id=3)
    parts = numbering(style_link, level(0, "Step %1"), level(1, "%1.%2"), lists=lists)
    assert numbers(docx(body, numbering=parts)) == ["Step 1", "1.1", ""]


def test_levels_that_no_list_has_are_ignored() -> None:
    override = f'<w:lvlOverride w:ilvl="10">{level(10, "%2.")}</w:lvlOverride>'
    lists = f'<w:num w:numId="2"><w:abstractNumId w:val="7"/>{override}</w:num>'
    parts = numbering(level(8, "%9."), level(9, "%1."), lists=lists)
    body = items(8, 9) + items(10, list_id=2)
    assert numbers(docx(body, numbering=parts)) == ["1.", "", ""]


def test_a_level_that_is_shown_before_it_is_counted_has_the_number_that_its_list_begins_with() -> None:
    override = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'
    lists = f'<w:num w:numId="2"><w:abstractNumId w:val="7"/>{override}</w:num>'
    parts = numbering(level(0, "%1"), level(1, "%1.%2"), lists=lists)
    assert numbers(docx(items(1, 0, 1, list_id=2), numbering=parts)) == ["5.1", "5", "5.1"]


def test_only_one_version_of_alternative_paragraphs_is_read_and_counted() -> None:
    def alternatives(choice: str) -> str:
        versions = f"<mc:Choice Requires='x'>{choice}</mc:Choice><mc:Fallback>{items(0)}</mc:Fallback>"
        return f"<mc:AlternateContent>{versions}</mc:AlternateContent>"

    body = alternatives(items(0)) + items(0) + alternatives("") + items(0)
    assert numbers(docx(body, numbering=numbering(level(0, "%1.")))) == ["1.", "2.", "3.", "4."]


@pytest.mark.parametrize(
    ("number_format", "numbers"),
    [
        ("decimalZero", ["01", "02", "27"]),
        ("upperLetter", ["A", "B", "AA"]),
        ("lowerRoman", ["i", "ii", "xxvii"]),
        ("ordinal", ["1", "2", "27"]),
        ("none", ["", "", ""]),
    ],
)
def test_formats_of_numbers(number_format: str, numbers: list[str]) -> None:
    body = "".join(paragraph("item", properties=in_list(1)) for _ in range(27))
    found = texts(docx(body, numbering=numbering(level(0, "%1", number_format))))
    assert [found[0], found[1], found[26]] == [f"{number} item".strip() for number in numbers]


def test_the_text_around_a_number_is_bounded() -> None:
    body = paragraph("item", properties=in_list(1))
    [text] = texts(docx(body, numbering=numbering(level(0, "%1" + "x" * 100_000))))
    assert len(text) < 100


CHART = """
<c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Catches </a:t></a:r><a:r><a:t>of herring</a:t></a:r></a:p></c:rich>
</c:tx></c:title><c:plotArea><c:barChart>
<c:ser><c:tx><c:strRef><c:f>B1</c:f><c:strCache><c:pt idx="0"><c:v>North</c:v></c:pt></c:strCache></c:strRef></c:tx>
<c:cat><c:strRef><c:strCache><c:pt idx="0"><c:v>2019</c:v></c:pt><c:pt idx="1"><c:v>2020</c:v></c:pt></c:strCache>
</c:strRef></c:cat>
<c:val><c:numRef><c:numCache><c:pt idx="0"><c:v>0.30000000000000004</c:v></c:pt><c:pt idx="1"><c:v>12</c:v></c:pt>
</c:numCache></c:numRef></c:val></c:ser>
<c:ser><c:tx><c:v>South</c:v></c:tx><c:val><c:numRef><c:numCache><c:pt idx="1"><c:v>7.5</c:v></c:pt></c:numCache>
</c:numRef></c:val></c:ser>
</c:barChart></c:plotArea></c:chart>
"""


def chart(relationship: str) -> str:
    return f'<w:r><w:drawing><c:chart id="{relationship}"/></w:drawing></w:r>'


def cells(kind: str, *values: str) -> str:
    """Return the cells that a chart keeps, in a cache of this kind; empty ones are left out as in real files."""
    points = "".join(f'<c:pt idx="{index}"><c:v>{value}</c:v></c:pt>' for index, value in enumerate(values) if value)
    return f"<c:{kind}Ref><c:{kind}Cache>{points}</c:{kind}Cache></c:{kind}Ref>"


def series(name: str = "", **children: str) -> str:
    inner = "".join(f"<c:{kind}>{content}</c:{kind}>" for kind, content in children.items())
    return f"<c:ser><c:tx><c:v>{name}</c:v></c:tx>{inner}</c:ser>"


def chart_rows(content: str) -> list[str]:
    return texts(docx(paragraph("", chart("r0")), chart1=content))


def test_the_text_of_charts_is_a_table_behind_their_paragraph() -> None:
    body = paragraph("Before.", chart("r0")) + paragraph("After.", chart("r9"))
    found = read(docx(body, chart1=CHART))
    assert [(item.kind, item.text) for item in found] == [
        ("text", "Before."),
        ("text", "Catches of herring"),
        ("table_row", "–\tNorth\tSouth"),
        ("table_row", "2019\t0.3\t–"),
        ("table_row", "2020\t12\t7.5"),
        ("text", "After."),
    ]


def test_a_chart_of_many_points_is_cut_off() -> None:
    points = cells("num", *map(str, range(5000)))
    assert chart_rows(series(yVal=points)) == [str(number) for number in range(MAX_ROWS)]
    two_curves = series(xVal=points, yVal=points) + series(xVal=cells("num", "7", "8"), yVal=points)
    assert len(chart_rows(two_curves)) == MAX_ROWS


def test_only_numbers_of_charts_are_rounded() -> None:
    names = cells("str", "3.10", "v1.0000000000000001")
    values = cells("num", "3.10", "0.30000000000000004")
    assert chart_rows(series("2.50", cat=names, val=values)) == ["2.50", "3.10\t3.1", "v1.0000000000000001\t0.3"]


def test_an_empty_cell_of_a_chart_keeps_its_column() -> None:
    names = cells("str", "2019", "", "2021")
    north = series("North", cat=names, val=cells("num", "1", "2", ""))
    assert chart_rows(north + series("", val=cells("num", "", "6", "7.5"))) == [
        "–\tNorth\t–",
        "2019\t1\t–",
        "–\t2\t6",
        "2021\t–\t7.5",
    ]
    assert chart_rows(series("A", val=cells("num", "1")) + series("B", val=cells("num", "2"))) == ["A\tB", "1\t2"]


def test_series_with_x_values_of_their_own_have_rows_of_their_own() -> None:
    x = cells("num", "0.1", "0.2")
    sea = series("Sea", xVal=x, yVal=cells("num", "5", "6"))
    lake = series("Lake", xVal=cells("num", "0.7", "0.8", "0.9"), yVal=cells("num", "7", "8", "9"))
    river = series("River", xVal=x, yVal=cells("num", "3", "4"))
    assert chart_rows(sea + lake) == ["Sea", "0.1\t5", "0.2\t6", "Lake", "0.7\t7", "0.8\t8", "0.9\t9"]
    assert chart_rows(sea + river) == ["–\tSea\tRiver", "0.1\t5\t3", "0.2\t6\t4"]


def test_what_is_read_of_a_chart_is_bounded() -> None:
    many = series("many", cat=cells("str", "row"), val=cells("num", "1")) + "<c:ser/>" * 1000
    assert [len(text.split("\t")) for text in chart_rows(many)] == [1 + MAX_SERIES] * 2
    title = f"<c:title><c:tx><c:rich><a:p><a:r><a:t>{'long ' * 2000}</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    assert sum(map(len, chart_rows(title * 100))) < 20_000
    assert len(chart_rows(series("n" * 10_000, cat=cells("str", "c" * 10_000), val=cells("num", "1")))[1]) < 500


def test_what_is_nested_in_a_chart_is_read_once() -> None:
    inner = series("inner", val=cells("num", "2"))
    assert chart_rows(series("outer", val=cells("num", "1"), ser=inner)) == ["outer", "1"]
    text = "<a:r><a:t>once</a:t></a:r>"
    nested = f"<c:title><a:p>{text}<a:p>{text}</a:p></a:p><c:title><a:p>{text}</a:p></c:title></c:title>"
    assert chart_rows(nested) == ["onceonce\nonce"]


@pytest.mark.parametrize(
    "content",
    [b"<c:chartSpace><c:chart><c:title>", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b""],
    ids=["cut", "picture", "empty"],
)
def test_a_chart_that_cannot_be_read_is_left_out(content: bytes) -> None:
    body = paragraph("Before.", chart("r0"), chart("r1")) + paragraph("After.", chart("r0"))
    found = texts(docx(body, chart1=content, chart2=series("Sea", val=cells("num", "1"))))
    assert found == ["Before.", "Sea", "1", "After."]


def test_only_relationships_to_charts_lead_to_charts_and_only_those_of_the_body() -> None:
    body = paragraph("Body.", chart("r1"))
    content = docx(body, chart1=CHART, header1=paragraph("Head.", chart("r0")) + CHART)
    assert texts(content) == ["Body.", "Head."]


def test_charts_count_among_what_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_package, "MAX_UNPACKED_BYTES", 200_000)
    curve = series(val=cells("num", *map(str, range(1000))))
    assert len(texts(docx(paragraph("", chart("r0") * 2), chart1=curve))) == 2 * MAX_ROWS
    with pytest.raises(InvalidFile, match="unpacks to more than"):
        texts(docx(paragraph("", chart("r0") * 20), chart1=curve))


def test_the_relationships_of_a_part_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_package, "MAX_UNPACKED_BYTES", 1_000_000)
    headers: dict[str, Any] = {f"header{number}": paragraph("Head") for number in range(200)}
    assert texts(docx(paragraph("Text", chart("none") * 100), **headers)) == ["Text", "Head"]
