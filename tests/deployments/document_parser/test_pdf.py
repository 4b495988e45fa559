"""What is read from the pages of a PDF."""

from zlib import crc32

import numpy as np
import pytest

from deployments.document_parser.pdf import MAX_RENDERED_SIDE_PX, PdfFile
from deployments.document_parser.types import Page
from deployments.errors import InvalidFile, NotFound
from deployments.media import MediaReader, as_media
from deployments.places import Box
from tests.deployments.document_parser.pdf_files import (
    FONTS,
    PdfWriter,
    draw_picture,
    lines,
    one_page,
    picture,
    text,
    unicode_font,
    unicode_text,
)


def open_pdf(content: bytes, max_pages: int = 100) -> PdfFile:
    return PdfFile(MediaReader(as_media(content)), max_pages)


def read_page(content: bytes, number: int = 1) -> Page:
    with open_pdf(content) as pdf:
        return pdf.read_page(number)


def texts(page: Page) -> list[str]:
    return [line.text for line in page.lines]


def covers(box: Box, point: tuple[float, float]) -> bool:
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


LEFT = [
    "The first column begins with this line,",
    "goes on with another line of words,",
    "and then it ends with a hyphen-",
]
RIGHT = [
    "The second column has lines of its own",
    "that stand on the same level as the",
    "first, and a reader takes them last.",
]
COLUMNS = b"".join(text(50, 700 - 12 * n, line) for n, line in enumerate(LEFT)) + b"".join(
    text(320, 700 - 12 * n, line) for n, line in enumerate(RIGHT)
)


def test_lines_have_boxes_from_the_top_left_corner() -> None:
    page = read_page(one_page(text(60, 700, "Hello, world.") + text(60, 400, "Below")))
    assert texts(page) == ["Hello, world.", "Below"]
    assert page.has_usable_text
    x0, y0, x1, y1 = page.lines[0].box
    assert x0 == pytest.approx(0.1, abs=0.002)
    assert covers(page.lines[0].box, (0.12, 1 - 704 / 800))
    assert y1 - y0 < 0.02
    assert 0.08 < x1 - x0 < 0.1


@pytest.mark.parametrize(
    ("rotate", "middle"), [(0, (0.25, 0.1)), (90, (0.9, 0.25)), (180, (0.75, 0.9)), (270, (0.1, 0.75))]
)
def test_boxes_are_those_of_the_displayed_page(rotate: int, middle: tuple[float, float]) -> None:
    # The text is in the middle of the upper left quarter, a tenth below the upper edge.
    page = read_page(one_page(text(105, 717, "A long line of text"), entries=b"/Rotate %d" % rotate))
    [line] = page.lines
    assert line.text == "A long line of text"
    assert covers(line.box, middle)


def test_a_crop_box_is_the_page_and_what_it_hides_is_not_read() -> None:
    content = text(100, 500, "Shown") + text(100, 700, "Hidden")
    page = read_page(one_page(content, entries=b"/CropBox [100 400 500 600]"))
    [line] = page.lines
    assert line.text == "Shown"
    assert line.box[0] == pytest.approx(0, abs=0.01)
    assert covers(line.box, (0.03, 0.485))


def test_media_boxes_need_not_start_at_zero() -> None:
    [line] = read_page(one_page(text(-200, 90, "Moved"), size=(-300, -100, 300, 100), entries=b"/UserUnit 2")).lines
    assert covers(line.box, (110 / 600, 7 / 200))


def test_text_that_is_turned_upright_by_the_rotation_is_read_row_by_row() -> None:
    content = b"".join(
        b"BT /F1 10 Tf 0 1 -1 0 %d %d Tm (%s) Tj ET\n" % (x, y, word)
        for x, row in ((100, (b"North", b"12")), (120, (b"South", b"34")))
        for y, word in zip((100, 400), row, strict=True)
    )
    page = read_page(one_page(content, entries=b"/Rotate 90"))
    assert texts(page) == ["North\t12", "South\t34"]
    assert covers(page.lines[0].box, (110 / 800, 96 / 600))


@pytest.mark.parametrize(
    ("rotate", "transform"), [(0, (-1, 0, 0, -1)), (90, (0, -1, 1, 0)), (180, (1, 0, 0, 1)), (270, (0, 1, -1, 0))]
)
def test_words_that_are_placed_one_by_one_upside_down_are_read_in_order(
    rotate: int, transform: tuple[int, int, int, int]
) -> None:
    a, b, c, d = transform
    content = b"".join(
        b"BT /F1 10 Tf %d %d %d %d %d %d Tm (%s) Tj ET\n"
        % (*transform, 300 + 27 * column * a - 20 * row * c, 400 + 27 * column * b - 20 * row * d, word)
        for row, words in enumerate(((b"One", b"two", b"three", b"four"), (b"five", b"six", b"seven", b"eight")))
        for column, word in enumerate(words)
    )
    page = read_page(one_page(content, entries=b"/Rotate %d" % rotate))
    assert texts(page) == ["One two three four", "five six seven eight"]


def test_text_that_stands_on_its_side_comes_last_with_its_box() -> None:
    content = b"BT /F1 10 Tf 0 1 -1 0 30 300 Tm (On its side) Tj ET\n" + lines(100, 700, "One line", "Another line")
    page = read_page(one_page(content))
    assert texts(page) == ["One line", "Another line", "On its side"]
    x0, y0, x1, y1 = page.lines[2].box
    assert covers(page.lines[2].box, (27 / 600, 1 - 320 / 800))
    assert y1 - y0 > 3 * (x1 - x0)


def test_columns_are_read_one_after_the_other() -> None:
    heading = text(
        50, 740, "A heading that goes over the whole width of the page, above the two columns, for all readers"
    )
    footer = text(290, 60, "7")
    assert texts(read_page(one_page(footer + heading + COLUMNS))) == [
        "A heading that goes over the whole width of the page, above the two columns, for all readers",
        *LEFT,
        *RIGHT,
        "7",
    ]


def test_columns_are_found_if_the_file_goes_from_side_to_side() -> None:
    rows = zip(COLUMNS.splitlines(keepends=True)[:3], COLUMNS.splitlines(keepends=True)[3:], strict=True)
    more = [b"".join(row) for row in rows]
    assert texts(read_page(one_page(b"".join(more)))) == [*LEFT, *RIGHT]


def test_a_column_that_begins_above_the_other() -> None:
    content = lines(320, 706, *RIGHT, *RIGHT, leading=22) + text(50, 697, "1 Heading", size=14)
    content += lines(50, 672, *LEFT[:2], *LEFT[:2], leading=22)
    expected = ["1 Heading", *LEFT[:2], *LEFT[:2], *RIGHT, *RIGHT]
    assert texts(read_page(one_page(content))) == expected


def test_three_columns() -> None:
    words = [[f"column {n} has line {k} of text" for k in range(5)] for n in range(3)]
    content = b"".join(lines(40 + 190 * n, 700, *column) for n, column in enumerate(words))
    assert texts(read_page(one_page(content))) == [line for column in words for line in column]


def test_columns_of_uneven_lines() -> None:
    content = lines(50, 700, *LEFT[:3], *LEFT[:3]) + lines(320, 693, *RIGHT, leading=17)
    assert texts(read_page(one_page(content))) == [*LEFT[:3], *LEFT[:3], *RIGHT]


def test_a_table_is_read_row_by_row_in_whatever_order_it_is_written() -> None:
    cells = [
        ["Item", "Quantity", "Price"],
        ["Brake pad", "2", "19.90"],
        ["Oil filter", "1", "7.50"],
        ["Labour", "3", "90"],
    ]
    columns = b"".join(lines(50 + 180 * n, 700, *(row[n] for row in cells)) for n in range(3))
    rows = b"".join(text(50 + 180 * n, 700 - 12 * k, cell) for k, row in enumerate(cells) for n, cell in enumerate(row))
    expected = ["\t".join(row) for row in cells]
    assert texts(read_page(one_page(rows))) == expected
    assert texts(read_page(one_page(columns))) == expected


def test_cells_of_several_lines_are_read_whole() -> None:
    def table_row(y: float, cells: list[list[str]]) -> bytes:
        return b"".join(lines(50 + 150 * n, y, *cell) for n, cell in enumerate(cells))

    content = table_row(700, [["Axis"], ["Action"], ["Year"]])
    content += table_row(670, [["How a project", "gets its money"], ["Ask the council for", "its help"], ["2023"]])
    content += table_row(630, [["Short"], ["One line of text"], ["2024"]])
    assert texts(read_page(one_page(content))) == [
        "Axis\tAction\tYear",
        "How a project",
        "gets its money",
        "Ask the council for",
        "its help",
        "2023",
        "Short\tOne line of text\t2024",
    ]


def test_numbers_of_lines_are_kept_apart_from_the_lines() -> None:
    words = [f"Line {n} of the record of this hearing." for n in range(8)]
    page = read_page(one_page(lines(50, 700, *(str(n + 1) for n in range(8))) + lines(100, 700, *words)))
    assert texts(page) == [*(str(n + 1) for n in range(8)), *words]


def test_a_word_that_goes_on_in_the_next_line_ends_with_a_soft_hyphen() -> None:
    page = read_page(one_page(lines(50, 700, "It was an infor-", "mation about well-known words.")))
    assert texts(page) == ["It was an infor\u00ad", "mation about well-known words."]


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        ("between the Anglo-", "American lawyers", "-"),
        ("TraceMonkey, or Trace-", "Monkey for short", "\u00ad"),
        ("a well-known and well-", "known man", "-"),
        ("a page about infor-", "mation", "\u00ad"),
    ],
)
def test_a_hyphen_that_belongs_to_the_word_stays(first: str, second: str, end: str) -> None:
    page = read_page(one_page(lines(50, 700, first, second)))
    assert texts(page) == [first[:-1] + end, second]


def test_words_of_different_size_and_height_stay_in_their_line() -> None:
    content = text(50, 700, "Brendan") + text(88, 704, "1", size=6) + text(92, 700, ", Mike")
    assert texts(read_page(one_page(content))) == ["Brendan1, Mike"]


def test_text_that_is_drawn_twice_is_read_once() -> None:
    content = lines(50, 700, "A bold line", "Another one") + lines(50.6, 699.7, "A bold line", "Another one")
    assert texts(read_page(one_page(content))) == ["A bold line", "Another one"]


def test_ligatures_and_presentation_forms_become_letters() -> None:
    writer = PdfWriter()
    fonts = unicode_font(writer, "e\ufb03cient\ufb01")
    writer.add_page(unicode_text(50, 700, range(1, 9)), fonts=fonts)
    assert texts(read_page(writer.content())) == ["efficientfi"]


def test_right_to_left_text_is_in_the_order_of_reading() -> None:
    writer = PdfWriter()
    word = "שלום עולם"
    fonts = unicode_font(writer, word)
    # Drawn from the left: the last letter first.
    writer.add_page(unicode_text(50, 700, range(len(word), 0, -1)), fonts=fonts)
    assert texts(read_page(writer.content())) == [word]


def test_an_arabic_ligature_is_lam_before_alef() -> None:
    writer = PdfWriter()
    # The second glyph stands for two letters.
    fonts = unicode_font(writer, "ا\ufefbن")
    writer.add_page(unicode_text(50, 700, [3, 2, 1]), fonts=fonts)
    assert texts(read_page(writer.content())) == ["الان"]


def test_latin_words_in_a_right_to_left_line_leave_no_gap() -> None:
    writer = PdfWriter()
    fonts = unicode_font(writer, "אבגד") + FONTS
    content = unicode_text(250, 700, [1, 2, 3, 4]) + text(210, 700, "Python") + unicode_text(168, 700, [1, 2, 3, 4])
    writer.add_page(content, fonts=fonts)
    [line] = texts(read_page(writer.content()))
    assert "\t" not in line


def test_columns_of_right_to_left_text_begin_on_the_right() -> None:
    writer = PdfWriter()
    characters = "אבגד הוזח טיכל"
    fonts = unicode_font(writer, characters)
    starts = (1, 2, 3, 5, 6)
    right, left = (
        b"".join(unicode_text(x, 700 - 12 * n, range(14, start, -1), size=9) for n, start in enumerate(starts))
        for x in (320, 60)
    )
    writer.add_page(left + right, fonts=fonts)
    page = read_page(writer.content())
    assert texts(page) == [characters[start:] for start in starts] * 2
    assert [line.box[0] > 0.5 for line in page.lines] == [True] * 5 + [False] * 5


def test_chinese_text() -> None:
    writer = PdfWriter()
    characters = "北京是中国的首都"
    fonts = unicode_font(writer, characters)
    writer.add_page(unicode_text(50, 700, range(1, 9)) + unicode_text(50, 688, range(8, 0, -1)), fonts=fonts)
    assert texts(read_page(writer.content())) == [characters, characters[::-1]]


def test_vertical_lines_are_read_from_the_right() -> None:
    writer = PdfWriter()
    characters = "東京都千代田区丸"
    fonts = unicode_font(writer, characters)
    columns = [range(1, 5), range(5, 9)]
    content = b"".join(
        unicode_text(300 - 20 * n, 700 - 11 * k, [code])
        for n, column in enumerate(columns)
        for k, code in enumerate(column)
    )
    writer.add_page(content, fonts=fonts)
    assert "".join(texts(read_page(writer.content()))) == characters


def test_page_labels_are_printed_numbers() -> None:
    writer = PdfWriter(catalog=b"/PageLabels << /Nums [0 << /S /r >> 2 << /S /D /St 3 >>] >>")
    for _ in range(3):
        writer.add_page()
    with open_pdf(writer.content()) as pdf:
        assert [pdf.read_page(number).printed_number for number in (1, 2, 3)] == ["i", "ii", None]


def test_the_title_is_that_of_the_file() -> None:
    writer = PdfWriter()
    writer.trailer = b"/Info %d 0 R" % writer.add(b"<< /Title (Annual report) >>")
    writer.add_page()
    with open_pdf(writer.content()) as pdf:
        assert pdf.info().title == "Annual report"
        assert pdf.info().num_pages == 1


FORM = b"/AcroForm << /Fields [] /DA (/F1 10 Tf) /DR << /Font << %s >> >> >>" % FONTS


def field(kind: bytes, rect: str, entries: bytes) -> bytes:
    return b"<< /Type /Annot /Subtype /Widget /FT /%s /T (f%d) /Rect [%s] /F 4 %s >>" % (
        kind,
        crc32(rect.encode()),
        rect.encode(),
        entries,
    )


def test_what_is_filled_into_a_form_is_read_at_its_place() -> None:
    writer = PdfWriter(catalog=FORM)
    fields = [
        field(b"Tx", "150 695 300 710", b"/V (Ada Lovelace)"),
        field(b"Tx", "150 600 300 640", b"/Ff 4096 /V (Two\\nlines)"),
        field(b"Ch", "150 550 300 565", b"/Ff 131072 /Opt [(Red) (Green)] /V (Green)"),
        field(b"Btn", "150 500 160 510", b"/V /Yes /AS /Yes /AP << /N << /Yes null /Off null >> >>"),
        field(b"Btn", "150 480 160 490", b"/V /Off /AS /Off /AP << /N << /Yes null /Off null >> >>"),
        field(b"Tx", "150 450 300 465", b"/Ff 8192 /V (secret)"),
        field(b"Tx", "150 400 300 415", b"/V (hidden)").replace(b"/F 4", b"/F 2"),
        b"<< /Type /Annot /Subtype /FreeText /Rect [400 695 500 710] /Contents (A note) /DA (/F1 10 Tf) >>",
        b"<< /Type /Annot /Subtype /Link /Rect [0 0 600 800] /A << /S /URI /URI (http://example.com) >> >>",
    ]
    numbers = [writer.add(item) for item in fields]
    writer.catalog = FORM.replace(
        b"/Fields []", b"/Fields [%s]" % b" ".join(b"%d 0 R" % number for number in numbers[:7])
    )
    content = text(50, 698, "Name:") + text(50, 500, "Agreed")
    writer.add_page(content, entries=b"/Annots [%s]" % b" ".join(b"%d 0 R" % number for number in numbers))
    page = read_page(writer.content())
    assert texts(page) == ["Name:\tAda Lovelace\tA note", "Two", "lines", "Green", "Agreed\t[x]"]
    assert covers(page.lines[0].box, (0.4, 1 - 702 / 800))


def test_a_page_of_garbage_has_no_usable_text() -> None:
    for characters in ("\ue001\ue002\ue003\ue004\ue005", "\ufffd\ufffd\ufffda", "\x01\x03\x04\x05\x06"):
        writer = PdfWriter()
        fonts = unicode_font(writer, characters)
        writer.add_page(unicode_text(50, 700, [1, 2, 3, 4] * 20), fonts=fonts)
        page = read_page(writer.content())
        assert page.lines == []
        assert not page.has_usable_text


def test_glyph_numbers_that_look_like_letters_are_garbage() -> None:
    # Fonts without a table of characters are often read as if every code were 29 lower.
    words = "the quick brown fox jumps over the lazy dog and then it goes home to have its dinner with the others"
    shifted = "".join(chr(ord(char) - 29) if char != " " else " " for char in words)
    assert not read_page(one_page(text(20, 700, shifted, size=8))).has_usable_text
    assert read_page(one_page(text(20, 700, words, size=8))).has_usable_text


def test_bullets_and_formulas_do_not_make_a_page_garbage() -> None:
    writer = PdfWriter()
    fonts = FONTS + unicode_font(writer, "\uf0b7")
    content = b"".join(
        unicode_text(50, 700 - 12 * n, [1]) + text(65, 700 - 12 * n, f"Point number {n}") for n in range(5)
    )
    writer.add_page(content, fonts=fonts)
    assert texts(read_page(writer.content())) == [f"Point number {n}" for n in range(5)]


def page_with_picture(content: bytes, *place: float, **options: bytes) -> Page:
    writer = PdfWriter()
    x_objects = picture(writer)
    writer.add_page(draw_picture(*place) + content, x_objects=x_objects, **options)
    return read_page(writer.content())


def test_a_scan_needs_ocr() -> None:
    page = page_with_picture(b"", 0, 0, 600, 800)
    assert not page.has_usable_text
    assert page.lines == []


def test_a_scan_with_a_stamp_needs_ocr_for_the_whole_page() -> None:
    page = page_with_picture(text(50, 780, "Case 1:22-cv-01 Document 5 Filed 01/02/23"), 0, 0, 600, 800)
    assert not page.has_usable_text
    assert page.lines == []


def test_a_text_layer_behind_a_scan_is_used() -> None:
    words = [f"This is line {n} of a page that was scanned and then recognized." for n in range(40)]
    page = page_with_picture(b"3 Tr\n" + lines(50, 760, *words, leading=18), 0, 0, 600, 800)
    assert page.has_usable_text
    assert texts(page) == words
    assert page.pictures_to_read == ()


def test_a_text_layer_that_was_recognized_in_the_wrong_script_is_not_used() -> None:
    words = ["Z0|5 4 6 [20I6] 0512 1.306 : ( ) 57 2,000 2015-09-07"] * 30
    page = page_with_picture(b"3 Tr\n" + lines(50, 760, *words, leading=18), 0, 0, 600, 800)
    assert not page.has_usable_text
    assert read_page(one_page(lines(50, 760, *words, leading=18))).has_usable_text


def test_a_page_of_text_with_a_large_picture_says_where_that_is() -> None:
    words = [f"This is line {n} of a page with a picture below." for n in range(10)]
    page = page_with_picture(lines(50, 760, *words), 60, 80, 480, 320)
    assert page.has_usable_text
    assert texts(page) == words
    assert page.pictures_to_read == (pytest.approx((0.1, 0.5, 0.9, 0.9)),)
    turned = page_with_picture(lines(50, 760, *words), 60, 80, 480, 320, entries=b"/Rotate 180")
    assert turned.pictures_to_read == (pytest.approx((0.1, 0.1, 0.9, 0.5)),)


def test_small_pictures_are_not_read() -> None:
    assert page_with_picture(text(50, 760, "Some text with a logo"), 400, 700, 100, 60).pictures_to_read == ()


def test_a_picture_in_a_group_is_found() -> None:
    writer = PdfWriter()
    x_objects = picture(writer)
    group = writer.add_stream(
        b"1 0 0 1 0 0 cm /Im1 Do",
        b"/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Matrix [600 0 0 800 0 0] /Resources << /XObject << %s >> >>"
        % x_objects,
    )
    writer.add_page(b"/Fm1 Do\n" + text(50, 780, "Stamp"), x_objects=b"/Fm1 %d 0 R" % group)
    assert not read_page(writer.content()).has_usable_text


def test_text_drawn_as_curves_needs_ocr_and_an_empty_page_does_not() -> None:
    assert not read_page(one_page(b"100 100 m 200 200 l S")).has_usable_text
    empty = read_page(one_page(b""))
    assert empty.has_usable_text
    assert empty.lines == []


def test_a_page_is_rendered_as_it_is_displayed() -> None:
    content = one_page(b"0 0 1 rg 0 700 100 100 re f", entries=b"/Rotate 90")
    with open_pdf(content) as pdf:
        pixels = pdf.render_page(1, dpi=36)
    assert pixels.shape == (300, 400, 3)
    assert pixels.dtype == np.uint8
    # The upper left corner has become the upper right one, and is blue.
    assert pixels[10, 390].tolist() == [0, 0, 255]
    assert pixels[10, 10].tolist() == [255, 255, 255]


def test_forms_are_rendered_with_what_is_filled_in() -> None:
    writer = PdfWriter()
    number = writer.add(field(b"Tx", "0 700 600 800", b"/V (MMMM)"))
    writer.catalog = FORM.replace(b"/Fields []", b"/Fields [%d 0 R]" % number)
    writer.add_page(entries=b"/Annots [%d 0 R]" % number)
    with open_pdf(writer.content()) as pdf:
        assert (pdf.render_page(1, dpi=36)[:50] != 255).any()


@pytest.mark.parametrize("size", [(0, 0, 14400, 14400), (0, 0, 14400, 1), (0, 0, 0.01, 0.01), (0, 0, 1e9, 1e9)])
def test_rendering_is_bounded_whatever_the_size_of_the_page(size: tuple[float, ...]) -> None:
    with open_pdf(one_page(text(0, 0, "x"), size=size)) as pdf:
        pixels = pdf.render_page(1, dpi=300)
    assert max(pixels.shape[:2]) <= MAX_RENDERED_SIDE_PX
    assert min(pixels.shape[:2]) >= 1


def test_a_page_that_is_not_there_is_not_found() -> None:
    with open_pdf(one_page(b"")) as pdf, pytest.raises(NotFound, match="has 1 page"):
        pdf.render_page(2, dpi=72)


def test_a_pdf_that_needs_a_password_says_so() -> None:
    writer = PdfWriter(
        trailer=b"/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
        % (b"11" * 32, b"22" * 32)
    )
    writer.add_page(text(50, 700, "secret"))
    with pytest.raises(InvalidFile, match="needs a password"):
        open_pdf(writer.content())


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"%PDF-1.7\n" + b"\0" * 5000, b"no PDF"])
def test_a_damaged_pdf_says_so(content: bytes) -> None:
    with pytest.raises(InvalidFile, match="damaged"):
        open_pdf(content)


def test_a_pdf_without_pages_says_so() -> None:
    with pytest.raises(InvalidFile, match="no pages"):
        open_pdf(PdfWriter().content())


def test_too_many_pages_are_refused() -> None:
    writer = PdfWriter()
    for _ in range(3):
        writer.add_page()
    with pytest.raises(InvalidFile, match="has 3 pages; at most 2 are accepted"):
        open_pdf(writer.content(), max_pages=2)


def test_a_pdf_whose_table_of_objects_is_wrong_is_read() -> None:
    content = one_page(text(50, 700, "still there"))
    assert texts(read_page(content.replace(b"startxref\n", b"startxref\n9"))) == ["still there"]


def test_a_damaged_page_has_no_text_and_the_others_have_theirs() -> None:
    writer = PdfWriter()
    writer.add_page(text(50, 700, "first"))
    writer.pages.append(writer.add(b"(not a page)"))
    writer.add_page(text(50, 700, "third"))
    with open_pdf(writer.content()) as pdf:
        pages = [pdf.read_page(number) for number in (1, 2, 3)]
        with pytest.raises(InvalidFile, match="Page 2"):
            pdf.render_page(2, dpi=72)
    assert [texts(page) for page in pages] == [["first"], [], ["third"]]
    assert pages[1].has_usable_text


def test_groups_that_contain_themselves_end() -> None:
    writer = PdfWriter()
    number = len(writer.objects) + 1
    own = b"/Fm1 %d 0 R" % number
    writer.add_stream(
        b"/Fm1 Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << %s >> >>" % own
    )
    writer.add_page(b"/Fm1 Do\n" + text(50, 700, "after"), x_objects=own)
    assert texts(read_page(writer.content())) == ["after"]


def test_a_page_of_very_many_pieces_is_read_in_bounded_time() -> None:
    content = b"".join(text(20 + 20 * (n % 28), 790 - n / 28, "ab", size=1) for n in range(15_000))
    assert sum(len(line.text.split()) for line in read_page(one_page(content)).lines) == 15_000
