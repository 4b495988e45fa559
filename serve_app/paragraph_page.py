"""The text of a document without pages as a page of HTML, in which `#paragraph-17` leads to paragraph 17."""

from collections.abc import Sequence
from html import escape

from deployments.library.types import ChunkRecord

PARAGRAPH_PAGE_HEADERS = {
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
}
"""`sandbox` and `default-src 'none'` keep a script in a document's text from running with this server's origin."""

_STYLE = (
    "body{max-width:44rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 sans-serif;color-scheme:light dark}"
    ":target{background:#ffd60066;scroll-margin-top:30vh}"
)


def paragraph_anchor(number: int) -> str:
    """Return the URL fragment that opens a paragraph."""
    return f"paragraph-{number}"


def paragraph_page(title: str, chunks: Sequence[ChunkRecord]) -> str:
    """Return the page; `chunks` are all of a file's, in order."""
    paragraphs: dict[int, list[str]] = {}
    for chunk in chunks:
        for part in chunk.parts:
            paragraphs.setdefault(part.place["paragraph"], []).append(chunk.text[part.start : part.end])
    body = "\n".join(
        f'<p id="{paragraph_anchor(number)}">{escape(" ".join(texts))}</p>' for number, texts in paragraphs.items()
    )
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html>\n<html><head>{head}</head><body>\n{body}\n</body></html>\n"
