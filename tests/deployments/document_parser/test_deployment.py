"""The document parser as the graph calls it: each document is opened in a process that can be killed."""

import asyncio
import random
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

from deployments.document_parser import deployment
from deployments.document_parser.deployment import DocumentParserDeployment
from deployments.document_parser.settings import DocumentParserConfig
from deployments.document_parser.types import DocumentInfo, Paragraph
from deployments.errors import DeadlineExceeded, InvalidFile, NotFound
from deployments.media import as_media
from deployments.sandbox import Sandbox
from tests.deployments.document_parser.docx_files import docx, paragraph
from tests.deployments.document_parser.pdf_files import PdfWriter, one_page, text


@pytest.fixture
def parser() -> Iterator[DocumentParserDeployment]:
    started = DocumentParserDeployment(DocumentParserConfig(max_pages=12_000))
    yield started
    started._sandbox.close()


def run(call: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(call)


def soon(seconds: float = 60) -> float:
    return time.time() + seconds


def test_a_pdf_is_opened_read_and_rendered(parser: DocumentParserDeployment) -> None:
    writer = PdfWriter()
    for number in range(1, 6):
        writer.add_page(text(50, 700, f"Page {number}"))
    media = as_media(writer.content())
    assert run(parser.open(media, "pdf", deadline=soon())) == DocumentInfo(num_pages=5)
    pages = run(parser.read_pages(media, 4, 10, deadline=soon()))
    assert [(page.number, page.lines[0].text) for page in pages] == [(4, "Page 4"), (5, "Page 5")]
    pixels = run(parser.render_page(media, 2, 72, deadline=soon()))
    assert pixels.shape == (800, 600, 3)
    assert (np.asarray(pixels) < 128).any()
    with pytest.raises(NotFound):
        run(parser.render_page(media, 6, 72, deadline=soon()))


def test_other_documents_are_read_from_a_paragraph_on(parser: DocumentParserDeployment) -> None:
    contents = {
        "docx": docx("".join(paragraph(f"p{n}") for n in range(1, 501))),
        "html": b"".join(b"<p>p%d</p>" % n for n in range(1, 501)),
        "markdown": b"\n\n".join(b"p%d" % n for n in range(1, 501)),
        "text": b"\n\n".join(b"p%d" % n for n in range(1, 501)),
    }
    for document_format, content in contents.items():
        media = as_media(content)
        assert run(parser.open(media, document_format, deadline=soon())) == DocumentInfo(num_pages=0)  # type: ignore[arg-type]
        read = run(parser.read_paragraphs(media, document_format, 240, 250, deadline=soon()))  # type: ignore[arg-type]
        assert read == [Paragraph(n, (), f"p{n}") for n in range(241, 491)]
        rest = run(parser.read_paragraphs(media, document_format, 490, 250, deadline=soon()))  # type: ignore[arg-type]
        assert [item.number for item in rest] == list(range(491, 501))


def test_errors_pass_through(parser: DocumentParserDeployment) -> None:
    for document_format in ("pdf", "docx"):
        with pytest.raises(InvalidFile, match="damaged"):
            run(parser.open(as_media(b"rubbish"), document_format, deadline=soon()))  # type: ignore[arg-type]
    with pytest.raises(InvalidFile, match="not text"):
        run(parser.open(as_media(b"a\0b"), "text", deadline=soon()))
    with pytest.raises(DeadlineExceeded):
        run(parser.read_pages(as_media(one_page(b"")), 1, 1, deadline=time.time() - 1))


def test_ten_thousand_pages_are_read_in_bounded_memory(
    parser: DocumentParserDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = PdfWriter()
    for number in range(1, 10_001):
        writer.add_page(text(50, 700, f"This is page number {number} of a long report"))
    media = as_media(writer.content())
    monkeypatch.setattr(parser._sandbox, "_memory_bytes", 64 * 2**20)
    assert run(parser.open(media, "pdf", deadline=soon())).num_pages == 10_000
    for first in (1, 5001, 9801):
        pages = run(parser.read_pages(media, first, 200, deadline=soon(120)))
        assert [page.number for page in pages] == list(range(first, first + 200))
        assert pages[-1].lines[0].text == f"This is page number {first + 199} of a long report"


def doubling_groups() -> bytes:
    """A page that draws a group that draws another one twice, and so on: a billion drawings."""
    writer = PdfWriter()
    inner = writer.add_stream(b"0 0 1 1 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
    for _ in range(25):
        resources = b"/Resources << /XObject << /Fm1 %d 0 R >> >>" % inner
        inner = writer.add_stream(b"/Fm1 Do " * 10, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] " + resources)
    writer.add_page(b"/Fm1 Do", x_objects=b"/Fm1 %d 0 R" % inner)
    return writer.content()


def test_a_page_that_is_made_to_exhaust_the_machine_costs_its_own_call_only(
    parser: DocumentParserDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser._sandbox, "_max_silence_s", 3.0)
    with pytest.raises(InvalidFile, match="made to exhaust|crash"):
        run(parser.read_pages(as_media(doubling_groups()), 1, 1, deadline=soon()))
    assert run(parser.open(as_media(one_page(b"")), "pdf", deadline=soon())).num_pages == 1


def test_damage_anywhere_in_a_pdf_is_invalid_or_harmless(parser: DocumentParserDeployment) -> None:
    writer = PdfWriter()
    for _ in range(3):
        writer.add_page(text(50, 700, "Some words on a page"))
    content = writer.content()
    chance = random.Random(5)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 9)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            run(parser.read_pages(as_media(damaged), 1, 3, deadline=soon()))
        except InvalidFile:
            pass


def test_a_parser_that_hangs_is_killed_at_the_deadline(parser: DocumentParserDeployment) -> None:
    parser._sandbox.close()
    parser._sandbox = Sandbox("tests.deployments.document_parser.endless_parser", deployment.PARSER_MEMORY_BYTES)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run(parser.read_pages(as_media(b"x"), 1, 1, deadline=soon(0.3)))
    assert time.monotonic() - started < 5


def test_indexing_has_the_lowest_priority_and_a_page_that_is_looked_at_has_not(
    parser: DocumentParserDeployment,
) -> None:
    parser._sandbox.close()
    parser._sandbox = Sandbox("tests.deployments.document_parser.priorities", deployment.PARSER_MEMORY_BYTES)
    media = as_media(one_page(b""))
    assert run(parser.read_paragraphs(as_media(b"text"), "text", 0, 1, deadline=soon())) == [19]
    assert run(parser.read_pages(media, 1, 1, deadline=soon())) == [19]
    assert run(parser.render_page(media, 1, 72, deadline=soon())) == 0


def test_a_replica_with_work_that_hangs_is_unhealthy(
    parser: DocumentParserDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser.check_health()
    monkeypatch.setattr(parser._threads, "overdue_s", lambda: 31.0)
    with pytest.raises(RuntimeError, match="31 s after its deadline"):
        parser.check_health()
