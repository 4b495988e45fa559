from dataclasses import replace

import pytest

from deployments.document_parser.types import Paragraph
from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.indexing import documents
from tests.deployments.indexing.fakes import FakeServices, fail, index, line, page, remarks, scan, sources, texts


def test_a_passage_knows_its_page_and_the_boxes_of_its_lines() -> None:
    pages = [page(1, "The first line of the page and", "the second one."), page(2, "Another page.", printed="iv")]
    first, second = index("document", "pdf", FakeServices(pages))
    assert first.text == "The first line of the page and the second one."
    assert first.source_info == {
        "type": "document",
        "page": 1,
        "boxes": [[0.1, 0.1, 0.9, 0.115], [0.1, 0.118, 0.9, 0.133]],
    }
    assert [part.place for part in first.parts] == [
        {"page": 1, "box": [0.1, 0.1, 0.9, 0.115]},
        {"page": 1, "box": [0.1, 0.118, 0.9, 0.133]},
    ]
    assert second.source_info == {
        "type": "document",
        "page": 2,
        "printed_page": "iv",
        "boxes": [[0.1, 0.1, 0.9, 0.115]],
    }


def test_a_page_without_usable_text_is_read_by_ocr_and_marked() -> None:
    services = FakeServices([page(1, "With text."), scan(2)])
    first, second = index("document", "pdf", services)
    assert "extraction" not in first.source_info
    assert (second.text, second.source_info["page"], second.source_info["extraction"]) == ("Read by OCR.", 2, "ocr")
    assert services.calls.count("render_page") == 1


def test_a_sentence_that_runs_over_two_pages_is_on_the_page_where_it_begins() -> None:
    first, second = index("document", "pdf", FakeServices([page(1, "It goes"), page(2, "on. The rest.")]))
    assert texts([first, second]) == ["It goes on.", "The rest."]
    assert first.source_info["page"] == 1
    assert first.source_info["boxes"] == [[0.1, 0.1, 0.9, 0.115]]
    assert [part.place["page"] for part in first.parts] == [1, 2]
    assert second.source_info["page"] == 2


def test_pages_are_read_in_batches() -> None:
    services = FakeServices([page(number, f"This is page {number}.") for number in range(1, 41)])
    assert [info["page"] for info in sources(index("document", "pdf", services))] == list(range(1, 41))
    assert services.calls.count("read_pages") == 3


def test_a_damaged_page_costs_nothing_but_itself() -> None:
    def error(first: int, count: int) -> BaseException | None:
        return DeadlineExceeded("page 3") if first <= 3 < first + count else None

    services = FakeServices([page(number, f"Page {number}.") for number in range(1, 6)], read_pages_error=error)
    assert [info["page"] for info in sources(index("document", "pdf", services))] == [1, 2, 4, 5]
    assert remarks("document", "pdf", services) == "1 of 5 pages cannot be read."


def test_a_scan_that_cannot_be_rendered_costs_nothing_but_itself() -> None:
    services = FakeServices([page(1, "Page 1."), scan(2)], render_error=lambda page: InvalidFile("damaged"))
    assert [info["page"] for info in sources(index("document", "pdf", services))] == [1]


def test_pictures_on_a_page_of_text_are_read_too() -> None:
    with_picture = replace(page(1, "Text of the page."), pictures_to_read=((0.0, 0.5, 1.0, 1.0),))
    scanned = [line("Text of the page.", 0.1), line("Text of the picture.", 0.7)]
    chunks = index("document", "pdf", FakeServices([with_picture], scanned=scanned))
    assert texts(chunks) == ["Text of the page.", "Text of the picture."]
    assert ["extraction" in part.place for chunk in chunks for part in chunk.parts] == [False, True]


def test_a_file_without_a_readable_page_fails() -> None:
    services = FakeServices([scan(1), scan(2)], render_error=lambda page: InvalidFile("damaged"))
    error, may_retry = fail("document", "pdf", services)
    assert (error.code, may_retry) == ("INVALID_FILE", False)
    assert error.message == "None of the PDF's pages can be read; it has 2."


def test_a_file_with_many_unreadable_pages_in_a_row_fails_before_the_last_one() -> None:
    services = FakeServices(
        [scan(number) for number in range(1, 1001)], render_error=lambda page: InvalidFile("damaged")
    )
    error, _ = fail("document", "pdf", services)
    assert error.message == "16 pages in a row cannot be read: damaged"
    assert services.calls.count("render_page") == documents.MAX_UNREADABLE_IN_A_ROW


PARAGRAPHS = [
    Paragraph(1, (), "A preface."),
    Paragraph(2, (), "2 Budget", "heading"),
    Paragraph(3, ("2 Budget",), "2.1 Travel", "heading"),
    Paragraph(4, ("2 Budget", "2.1 Travel"), "Trains are paid."),
    Paragraph(5, ("2 Budget", "2.1 Travel"), "Planes\tare not", "table_row"),
    Paragraph(6, ("2 Budget",), "2.2 Food", "heading"),
    Paragraph(7, ("2 Budget", "2.2 Food"), "Lunch is."),
    Paragraph(8, ("2 Budget", "2.2 Food"), "A footnote.", "footnote"),
    Paragraph(9, ("2 Budget",), "2.3 Left empty", "heading"),
]


@pytest.mark.parametrize("file_format", ["docx", "html", "markdown", "text", "TXT"])
def test_headings_stand_before_their_text_and_no_chunk_crosses_them(file_format: str) -> None:
    chunks = index("document", file_format, FakeServices(paragraphs=PARAGRAPHS))
    assert texts(chunks) == [
        "A preface.",
        "2 Budget\n2.1 Travel\nTrains are paid.\nPlanes are not",
        "2.2 Food\nLunch is.",
        "A footnote.",
        "2.3 Left empty",
    ]
    assert sources(chunks) == [
        {"type": "document", "heading": [], "paragraph": 1},
        {"type": "document", "heading": ["2 Budget", "2.1 Travel"], "paragraph": 2},
        {"type": "document", "heading": ["2 Budget", "2.2 Food"], "paragraph": 6},
        {"type": "document", "heading": ["2 Budget", "2.2 Food"], "paragraph": 8},
        {"type": "document", "heading": ["2 Budget"], "paragraph": 9},
    ]
    assert [part.place for part in chunks[2].parts] == [{"paragraph": 6}, {"paragraph": 7}]


def test_many_paragraphs_are_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PARAGRAPHS_PER_CALL", 500)
    services = FakeServices(paragraphs=[Paragraph(number, (), f"Word{number}.") for number in range(1, 1001)])
    assert " ".join(texts(index("document", "text", services))).split() == [f"Word{n}." for n in range(1, 1001)]
    assert services.calls.count("read_paragraphs") == 3


def test_an_unknown_format_fails() -> None:
    error, may_retry = fail("document", "odt", FakeServices())
    assert (error.code, may_retry) == ("INVALID_FILE_TYPE", False)


def test_an_empty_document_is_completed() -> None:
    assert index("document", "text", FakeServices()) == []
