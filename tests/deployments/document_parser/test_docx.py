"""What is read from Word documents."""

import io
import random
import struct
import zipfile

import docx as python_docx
import pytest

from deployments.document_parser import office_package
from deployments.document_parser.docx import DocxFile
from deployments.document_parser.docx_charts import MAX_ROWS
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
        (("Budget",), "1.1 Travel"),
        (("Budget", "Travel"), "a) trains"),
        (("Budget", "Travel"), "b) hotels"),
        (("Budget", "Travel"), "(I) in Rome"),
        (("Budget", "Travel"), "with breakfast"),
        (("Budget", "Travel"), "c) taxis"),
        (("Budget", "Travel"), "without a number"),
        (("Budget",), "1.2 Food"),
        (("Budget", "Food"), "a) lunch"),
        ((), "2 Dates"),
        (("Dates",), "2.1 Spring"),
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


def test_the_text_of_charts_is_a_table_behind_their_paragraph() -> None:
    reference = '<w:r><w:drawing><c:chart id="r0"/></w:drawing></w:r>'
    body = paragraph("Before.", reference) + paragraph("After.", reference.replace("r0", "r9"))
    found = read(docx(body, chart1=CHART))
    assert [(item.kind, item.text) for item in found] == [
        ("text", "Before."),
        ("text", "Catches of herring"),
        ("table_row", "North\tSouth"),
        ("table_row", "2019\t0.3"),
        ("table_row", "2020\t12\t7.5"),
        ("text", "After."),
    ]


def test_a_chart_of_many_points_is_cut_off() -> None:
    points = "".join(f'<c:pt idx="{index}"><c:v>{index}</c:v></c:pt>' for index in range(5000))
    series = f"<c:ser><c:yVal><c:numRef><c:numCache>{points}</c:numCache></c:numRef></c:yVal></c:ser>"
    reference = '<w:r><w:drawing><c:chart id="r0"/></w:drawing></w:r>'
    assert len(read(docx(paragraph("A curve.", reference), chart1=series))) == 1 + MAX_ROWS
