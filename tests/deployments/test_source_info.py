from deployments.library.types import ChunkPart
from deployments.source_info import narrowed, source_info

WORDS = [
    ChunkPart(0, 3, {"start": 8.0, "end": 8.2}),
    ChunkPart(4, 8, {"start": 8.2, "end": 8.5}),
    ChunkPart(9, 12, {"start": 8.5, "end": 9.0}),
]


def test_the_place_of_a_quote_is_that_of_its_words() -> None:
    chunk = source_info({"type": "audio"}, WORDS)
    assert chunk == {"type": "audio", "start": 8.0, "end": 9.0, "timestamp": "8.00s"}
    assert narrowed(chunk, WORDS, 4, 8) == {"type": "audio", "start": 8.2, "end": 8.5, "timestamp": "8.20s"}


def test_the_place_of_a_quote_on_the_second_page_is_on_that_page() -> None:
    parts = [
        ChunkPart(0, 5, {"page": 1, "printed_page": "i", "box": [0, 0, 1, 1]}),
        ChunkPart(6, 9, {"page": 2, "extraction": "ocr", "box": [0, 0, 1, 0.5]}),
    ]
    chunk = source_info({"type": "document"}, parts)
    assert chunk == {"type": "document", "page": 1, "printed_page": "i", "boxes": [[0, 0, 1, 1]]}
    assert narrowed(chunk, parts, 6, 9) == {
        "type": "document",
        "page": 2,
        "extraction": "ocr",
        "boxes": [[0, 0, 1, 0.5]],
    }


def test_the_place_of_a_quote_in_a_picture_is_the_region_of_its_lines() -> None:
    regions = [{"x": 10 * n, "y": 20 * n, "width": 5, "height": 6} for n in range(3)]
    parts = [ChunkPart(n, n + 1, {"box": [n], "image_region": region}) for n, region in enumerate(regions)]
    chunk = source_info({"type": "image"}, parts)
    assert chunk["image_region"] == {"x": 0, "y": 0, "width": 25, "height": 46}
    quote = narrowed(chunk, parts, 1, 3)
    assert quote == {
        "type": "image",
        "image_region": {"x": 10, "y": 20, "width": 15, "height": 26},
        "boxes": [[1], [2]],
    }


def test_a_caption_has_no_place_but_the_whole_picture() -> None:
    parts = [ChunkPart(0, 9, {"origin": "caption"})]
    assert narrowed({"type": "image"}, parts, 2, 5) == {"type": "image"}
