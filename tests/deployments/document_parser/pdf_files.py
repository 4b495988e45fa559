"""Writes small PDF files object by object, so that tests can have what no PDF library writes."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

FONTS = b"/F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


@dataclass
class PdfWriter:
    """Objects get numbers from 1; the first two are the catalog and the page tree."""

    objects: list[bytes] = field(default_factory=lambda: [b"", b""])
    pages: list[int] = field(default_factory=list)
    catalog: bytes = b""
    """More entries of the catalog."""
    trailer: bytes = b""
    """More entries of the trailer."""

    def add(self, content: bytes) -> int:
        self.objects.append(content)
        return len(self.objects)

    def add_stream(self, data: bytes, entries: bytes = b"", *, compress: bool = False) -> int:
        if compress:
            data, entries = zlib.compress(data), entries + b" /Filter /FlateDecode"
        return self.add(b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data))

    def add_page(
        self,
        content: bytes = b"",
        *,
        size: Sequence[float] = (0, 0, 600, 800),
        fonts: bytes = FONTS,
        x_objects: bytes = b"",
        entries: bytes = b"",
    ) -> None:
        stream = self.add_stream(content)
        box = " ".join(map(str, size)).encode()
        self.pages.append(
            self.add(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents %d 0 R "
                b"/Resources << /Font << %s >> /XObject << %s >> >> %s >>" % (box, stream, fonts, x_objects, entries)
            )
        )

    def content(self) -> bytes:
        kids = b" ".join(b"%d 0 R" % page for page in self.pages)
        self.objects[0] = b"<< /Type /Catalog /Pages 2 0 R %s >>" % self.catalog
        self.objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(self.pages))
        parts, offsets, position = [b"%PDF-1.7\n"], [], 9
        for number, item in enumerate(self.objects, 1):
            offsets.append(position)
            parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, item))
            position += len(parts[-1])
        table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        size = len(self.objects) + 1
        parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table))
        parts.append(b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (size, self.trailer))
        parts.append(b"startxref\n%d\n%%%%EOF\n" % position)
        return b"".join(parts)


def text(x: float, y: float, words: str, size: float = 10, font: str = "F1") -> bytes:
    """Return the content that draws `words` from the point (x, y) on, in the page's own coordinates."""
    escaped = words.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return b"BT /%s %g Tf 1 0 0 1 %g %g Tm (%s) Tj ET\n" % (font.encode(), size, x, y, escaped)


def lines(x: float, y: float, *words: str, leading: float = 12) -> bytes:
    return b"".join(text(x, y - number * leading, line) for number, line in enumerate(words))


def unicode_font(writer: PdfWriter, characters: str) -> bytes:
    """Return a font named F2 whose codes, from 1, stand for these characters, each drawn as a square of 1 em."""
    rows = "".join(f"<{code:02x}> <{char.encode('utf-16-be').hex()}>\n" for code, char in enumerate(characters, 1))
    to_unicode = writer.add_stream(
        f"begincmap 1 begincodespacerange <00> <ff> endcodespacerange\n{len(characters)} beginbfchar\n{rows}"
        "endbfchar endcmap".encode()
    )
    glyph = writer.add_stream(b"1000 0 0 -200 1000 800 d1 0 -200 1000 1000 re f")
    return (
        b"/F2 << /Type /Font /Subtype /Type3 /FontBBox [0 -200 1000 800] /FontMatrix [.001 0 0 .001 0 0] "
        b"/CharProcs << /square %d 0 R >> /Encoding << /Type /Encoding /Differences [1 %s] >> "
        b"/FirstChar 1 /LastChar %d /Widths [%s] /ToUnicode %d 0 R /Resources << >> >>"
        % (glyph, b"/square " * len(characters), len(characters), b"1000 " * len(characters), to_unicode)
    )


def unicode_text(x: float, y: float, codes: Sequence[int], size: float = 10) -> bytes:
    """Return the content that draws the characters with these codes of `unicode_font`."""
    return b"BT /F2 %g Tf 1 0 0 1 %g %g Tm <%s> Tj ET\n" % (size, x, y, b"".join(b"%02x" % code for code in codes))


def picture(writer: PdfWriter) -> bytes:
    """Return a picture named Im1, a black pixel."""
    stream = writer.add_stream(
        b"\0", b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8"
    )
    return b"/Im1 %d 0 R" % stream


def draw_picture(x: float, y: float, width: float, height: float) -> bytes:
    return b"q %g 0 0 %g %g %g cm /Im1 Do Q\n" % (width, height, x, y)


def one_page(content: bytes, **options: object) -> bytes:
    writer = PdfWriter()
    writer.add_page(content, **options)  # type: ignore[arg-type]
    return writer.content()
