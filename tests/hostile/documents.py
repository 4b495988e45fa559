"""Hostile documents for the library: each may cost its own file, and nobody else more than time."""

import io
import zipfile
import zlib

from tests.deployments.document_parser.docx_files import docx, paragraph, zipped
from tests.deployments.document_parser.pdf_files import PdfWriter, lines, one_page, text
from tests.hostile.item import OK, Collection

INVALID = "INVALID_FILE"
DOCUMENTS = Collection("upload")


@DOCUMENTS.item(INVALID, filename="bomb.docx")
def docx_that_unpacks_to_600_megabytes() -> bytes:
    """Memory: 0.6 MB of ZIP that are 600 MB of XML."""
    buffer = io.BytesIO()
    head, tail = _main("|").split("|")
    paragraphs = (paragraph("x" * 2_000) * 500).encode()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        part.write(head.encode())
        for _ in range(600 * 10**6 // len(paragraphs)):
            part.write(paragraphs)
        part.write(tail.encode())
    return buffer.getvalue()


@DOCUMENTS.item(INVALID, filename="entities.docx")
def docx_with_entities_of_entities() -> bytes:
    """Memory: nine levels of entities, each of a hundred of the level below."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 100}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE w:document [<!ENTITY e0 "lol">{entities}]>'
    return zipped({"word/document.xml": doctype + _main(paragraph("a&e9;"))})


@DOCUMENTS.item(OK, INVALID, filename="nested.docx")
def docx_with_tables_20_000_deep() -> bytes:
    """Stack: tables within tables."""
    depth = 20_000
    return docx("<w:tbl><w:tr><w:tc>" * depth + paragraph("inside") + "</w:tc></w:tr></w:tbl>" * depth)


@DOCUMENTS.item(OK, INVALID, is_slow=True, filename="recursive.pdf")
def pdf_with_forms_that_draw_each_other() -> bytes:
    """CPU and stack: two form XObjects, each of which draws the other one many times."""
    writer = PdfWriter()
    first = len(writer.objects) + 1
    names = b"/Fm1 %d 0 R /Fm2 %d 0 R" % (first, first + 1)
    entries = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << %s >> >>" % names
    for name in (b"/Fm2 Do ", b"/Fm1 Do "):
        writer.add_stream(name * 50, entries)
    writer.add_page(b"/Fm1 Do\n" + text(50, 700, "behind the forms"), x_objects=names)
    return writer.content()


@DOCUMENTS.item(OK, INVALID, filename="huge.pdf")
def pdf_with_a_page_of_ten_million_points() -> bytes:
    """Memory: a page of 3.5 km, without a text layer, so that it is rendered."""
    return one_page(b"0 0 9000000 9000000 re f", size=(0, 0, 10_000_000, 10_000_000))


@DOCUMENTS.item(OK, filename="itself.pdf")
def pdf_with_a_form_that_draws_itself() -> bytes:
    """Stack: a form XObject that draws itself."""
    writer = PdfWriter()
    own = b"/Fm1 %d 0 R" % (len(writer.objects) + 1)
    entries = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << %s >> >>" % own
    writer.add_stream(b"/Fm1 Do", entries)
    writer.add_page(b"/Fm1 Do\n" + text(50, 700, "behind the form"), x_objects=own)
    return writer.content()


@DOCUMENTS.item(OK, filename="objects.pdf")
def pdf_of_100_000_objects() -> bytes:
    """CPU and memory: a table of 100,000 objects, most of which nothing refers to."""
    writer = PdfWriter()
    writer.add_page(text(50, 700, "among the objects"))
    for _ in range(100_000):
        writer.add(b"<< /A 1 >>")
    return writer.content()


@DOCUMENTS.item(OK, filename="drawings.pdf")
def pdf_with_100_000_drawings() -> bytes:
    """CPU: a page of 100,000 rectangles before its only line."""
    return one_page(b"0 0 9 9 re f " * 100_000 + text(50, 700, "in front of the drawings"))


@DOCUMENTS.item(OK, INVALID, filename="stream.pdf")
def pdf_whose_page_unpacks_to_400_megabytes() -> bytes:
    """Memory: a compressed stream of spaces."""
    writer = PdfWriter()
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * 2**20) for _ in range(400)) + packer.flush()
    stream = writer.add(b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(packed), packed))
    writer.pages.append(
        writer.add(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R >>" % stream)
    )
    return writer.content()


@DOCUMENTS.item(INVALID, filename="damaged.pdf")
def pdf_of_zeros() -> bytes:
    """Recovery: a signature without a document."""
    return b"%PDF-1.7\n" + bytes(5_000)


@DOCUMENTS.item(OK, INVALID, filename="page tree.pdf")
def pdf_whose_page_tree_contains_itself() -> bytes:
    """Stack: the root of the page tree is its own child."""
    writer = PdfWriter()
    writer.add_page(lines(50, 700, "one page"))
    writer.pages.append(2)
    return writer.content()


@DOCUMENTS.item(OK, filename="line.txt")
def text_of_one_line_without_a_space() -> bytes:
    """CPU: 0.2 MB in one word, which no sentence ends."""
    return b"a" * 200_000


@DOCUMENTS.item(OK, INVALID, is_slow=True, filename="line 50 MB.txt")
def text_of_50_megabytes_in_one_line() -> bytes:
    """CPU: 50 MB of words without a sentence's end."""
    return b"word " * 10_000_000


@DOCUMENTS.item(OK, filename="nested.html")
def html_nested_100_000_deep() -> bytes:
    """Stack: elements within elements."""
    return b"<!DOCTYPE html><html><body>" + b"<div>" * 100_000 + b"inside" + b"</div>" * 100_000


@DOCUMENTS.item(OK, filename="brackets.md")
def markdown_of_1_000_brackets() -> bytes:
    """CPU: links that open and never close."""
    return b"# Title\n\n" + b"[" * 1_000 + b"a](" * 1_000


@DOCUMENTS.item(OK, filename="../../../etc/\x01pass\x1bwd\r\n.txt")
def text_whose_name_leads_elsewhere() -> bytes:
    """Names: a path upwards, and control characters."""
    return b"The name of this file leads out of the library."


def _main(body: str) -> str:
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>'
