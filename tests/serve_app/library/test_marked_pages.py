"""A page's picture marks exactly the words that are asked for: all of their ink, and none of the other words'."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deployments.document_parser.pdf import PdfFile
from deployments.indexing import worker
from deployments.media import Pixels
from tests.deployments.document_parser.docx_files import docx, paragraph
from tests.deployments.document_parser.pdf_files import FONTS, PdfWriter, text, unicode_font, unicode_text
from tests.deployments.text_reader.pictures import encoded, font, scanned
from tests.prism.library.served import serving_library
from tests.serve_app.fakes import FakeGraph

Mask = NDArray[np.bool_]

DPI = 110
"""Of the route."""
PADDING = 14
"""How far a mark may go beyond the ink of its words, in pixels: less than a line."""
LETTERS = "אבגדהוזחטיכל"


class Word(NamedTuple):
    x: float
    y: float
    text: str


Draw = Callable[[Sequence[Word]], bytes]
"""Returns a file with these words only."""

SENTENCES = [
    Word(60, 700, "Bees"),
    Word(95, 700, "find"),
    Word(122, 700, "their"),
    Word(152, 700, "hive"),
    Word(181, 700, "by"),
    Word(200, 700, "the"),
    Word(224, 700, "sun."),
    Word(60, 684, "A"),
    Word(74, 684, "swarm"),
    Word(117, 684, "follows"),
    Word(160, 684, "its"),
    Word(179, 684, "old"),
    Word(202, 684, "queen"),
    Word(240, 684, "in"),
    Word(256, 684, "May."),
]
BROKEN = [
    Word(60, 700, "The"),
    Word(86, 700, "keepers"),
    Word(133, 700, "of"),
    Word(151, 700, "the"),
    Word(175, 700, "light-"),
    Word(60, 684, "house"),
    Word(97, 684, "carried"),
    Word(139, 684, "the"),
    Word(163, 684, "lamp"),
    Word(194, 684, "upstairs"),
    Word(239, 684, "by"),
    Word(257, 684, "hand."),
]


def pdf(words: Sequence[Word], rotate: int = 0) -> bytes:
    writer = PdfWriter()
    writer.add_page(b"".join(text(*word, size=12) for word in words), entries=b"/Rotate %d" % rotate)
    return writer.content()


def right_to_left(words: Sequence[Word]) -> bytes:
    """Return a page in Hebrew letters, drawn as squares from the left, with a word in Latin ones."""
    writer = PdfWriter()
    content = b""
    for word in words:
        if word.text.isascii():
            content += text(*word, size=10)
        else:
            content += unicode_text(word.x, word.y, [LETTERS.index(letter) + 1 for letter in word.text[::-1]])
    writer.add_page(content, fonts=unicode_font(writer, LETTERS) + FONTS)
    return writer.content()


HEBREW = [
    Word(250, 700, "אבגד"),
    Word(215, 700, "הוז"),
    Word(178, 700, "Python"),
    Word(144, 700, "חטי"),
    Word(110, 700, "כלא"),
]


def drawn(words: Sequence[Word]) -> Image.Image:
    """Return the words on a page of 150 dots per inch."""
    image = Image.new("RGB", (1240, 900), "white")
    for x, y, word in words:
        ImageDraw.Draw(image).text((2 * x, 2 * (760 - y)), word, "black", font(24))
    return image


def as_pdf(image: Image.Image) -> bytes:
    return encoded(image, "PDF", resolution=150)


def scan(words: Sequence[Word]) -> bytes:
    return as_pdf(Image.fromarray(scanned(np.asarray(drawn(words)))))


def turned_scan(words: Sequence[Word]) -> bytes:
    return as_pdf(drawn(words).transpose(Image.Transpose.ROTATE_90))


def spaced(words: Sequence[Word]) -> list[Word]:
    """Return the same words further apart, as the other font is wider."""
    return [Word(60 + 1.25 * (word.x - 60), 700 - 2 * (700 - word.y), word.text) for word in words]


def picture(words: Sequence[Word]) -> bytes:
    return encoded(drawn(words), "PNG")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "POLL_S", 0.05)
        patch.setattr(worker, "PAUSE_S", 0.01)
        with serving_library(FakeGraph(), tmp_path_factory.mktemp("library"), with_ocr=True) as url:
            yield url


@pytest.mark.parametrize(
    ("name", "draw", "words", "phrase", "exactly"),
    [
        ("text.pdf", pdf, SENTENCES, "by the sun. A swarm", True),
        ("one.pdf", pdf, SENTENCES, "hive", True),
        ("sideways.pdf", lambda words: pdf(words, 90), SENTENCES, "follows its old", True),
        ("upside-down.pdf", lambda words: pdf(words, 180), SENTENCES, "their", True),
        ("hyphen.pdf", pdf, BROKEN, "lighthouse carried", True),
        ("hebrew.pdf", right_to_left, HEBREW, "הוז Python", True),
        ("hebrew-end.pdf", right_to_left, HEBREW, "כלא", True),
        ("scan.pdf", scan, spaced(SENTENCES), "by the sun. A swarm", False),
        ("turned-scan.pdf", turned_scan, spaced(SENTENCES), "follows its old", False),
        ("broken-scan.pdf", scan, spaced(BROKEN), "light-house carried", False),
        ("picture.png", picture, spaced(SENTENCES), "queen in May.", False),
    ],
)
def test_a_page_marks_exactly_these_words(
    url: str, name: str, draw: Draw, words: list[Word], phrase: str, exactly: bool
) -> None:
    file_id = add(url, name, draw(words))
    chunk = next(chunk for chunk in chunks_of(url, file_id) if phrase in chunk["text"].replace("\n", " "))
    start = chunk["text"].replace("\n", " ").index(phrase)
    plain = page_of(url, file_id)
    marked = page_of(url, file_id, chunk_id=chunk["chunk_id"], chars=f"{start}-{start + len(phrase)}")
    changed = (marked != plain).any(axis=2)

    inside, pieces = [], phrase.split()
    for word in words:
        plain_word = word.text.rstrip("-")
        if pieces and pieces[0].startswith(plain_word):
            inside.append(word)
            pieces[0] = pieces[0].removeprefix(plain_word).lstrip("-")
            pieces = [piece for piece in pieces if piece]
    assert not pieces
    own, others = ink(draw(inside), name), ink(draw([word for word in words if word not in inside]), name)
    # The boxes of OCR are those of its columns, which are half a letter wide.
    assert changed[own].mean() > (0.999 if exactly else 0.93)
    assert changed[others].mean() < (0.001 if exactly else 0.03)
    near = np.zeros_like(changed)
    for word in inside:
        rows, columns = np.nonzero(ink(draw([word]), name))
        near[
            max(0, rows.min() - PADDING) : rows.max() + PADDING,
            max(0, columns.min() - PADDING) : columns.max() + PADDING,
        ] = True
    assert not (changed & ~near).any()

    whole = page_of(url, file_id, chunk_id=chunk["chunk_id"])
    assert (whole != plain).any(axis=2)[own | others].mean() > 0.95


@pytest.mark.parametrize(
    "query",
    [
        {"chars": "0-4"},
        {"chars": "7-7", "chunk_id": "its"},
        {"chars": "9-7", "chunk_id": "its"},
        {"chars": "0-99999", "chunk_id": "its"},
        {"chars": "1-", "chunk_id": "its"},
        {"chars": "one-two", "chunk_id": "its"},
    ],
)
def test_wrong_chars_are_refused(url: str, query: dict[str, str]) -> None:
    file_id = add(url, "wrong.pdf", pdf(SENTENCES[:4]))
    if "chunk_id" in query:
        query = {**query, "chunk_id": chunks_of(url, file_id)[0]["chunk_id"]}
    response = requests.get(f"{url}/files/{file_id}/pages/1.png", params=query, timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_REQUEST")


def test_a_picture_has_one_page_and_a_document_without_pages_none(url: str) -> None:
    for name, content, page in (("dot.png", picture(spaced(SENTENCES[:3])), 2), ("note.txt", b"A note.", 1)):
        response = requests.get(f"{url}/files/{add(url, name, content)}/pages/{page}.png", timeout=60)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_the_text_of_a_document_without_pages_has_a_mark_for_each_paragraph(url: str) -> None:
    paragraphs = [
        paragraph("Rules"),
        *(paragraph(f"Rule {n}: &lt;b&gt;bees&lt;/b&gt; &amp; wasps.") for n in range(2, 5)),
    ]
    file_id = add(url, "rules.docx", docx("".join(paragraphs)))
    response = requests.get(f"{url}/files/{file_id}/text", timeout=60)
    assert response.status_code == 200
    assert '<p id="paragraph-3">Rule 3: &lt;b&gt;bees&lt;/b&gt; &amp; wasps.</p>' in response.text
    assert response.headers["Content-Security-Policy"].startswith("sandbox;")
    without = requests.get(f"{url}/files/{add(url, 'paged.pdf', pdf(SENTENCES))}/text", timeout=60)
    assert (without.status_code, without.json()["error"]["code"]) == (404, "NOT_FOUND")


def add(url: str, name: str, content: bytes) -> int:
    """Return the id of a file once it is indexed."""
    uploaded = requests.post(f"{url}/upload", files={"file": (name, content)}, timeout=60).json()
    file_id: int = uploaded["file_id"]
    while (status := get(url, f"/files/{file_id}")["status"]) != "completed":
        assert status != "failed"
        time.sleep(0.05)
    return file_id


def chunks_of(url: str, file_id: int) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = get(url, f"/files/{file_id}", include_content="true")["content"]
    return chunks


def page_of(url: str, file_id: int, **query: str) -> Pixels:
    response = requests.get(f"{url}/files/{file_id}/pages/1.png", params=query, timeout=60)
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))


def ink(content: bytes, name: str) -> Mask:
    """Return which pixels of the file's page are dark."""
    if name.endswith(".png"):
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    else:
        with PdfFile(io.BytesIO(content), max_pages=1) as file:  # type: ignore[arg-type]
            pixels = file.render_page(1, DPI)
    return np.asarray(pixels.max(axis=2) < 128)


def get(url: str, path: str, **query: str) -> dict[str, Any]:
    response = requests.get(url + path, params=query, timeout=60)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body
