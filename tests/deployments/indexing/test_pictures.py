from deployments.errors import InvalidFile
from deployments.indexing.settings import IndexingConfig
from deployments.places import TextLine
from tests.deployments.indexing.fakes import FakeServices, fail, index, sources, texts

RECEIPT = [
    TextLine("Bernal Cutlery", (0.1, 0.1, 0.5, 0.12), 0.9),
    TextLine("$23.90", (0.7, 0.1, 0.8, 0.12), 0.9),
    TextLine("Thank you", (0.1, 0.2, 0.4, 0.22), 0.9),
]


def test_a_picture_is_found_by_its_caption_and_by_its_text() -> None:
    chunks = index("image", "jpg", FakeServices(scanned=RECEIPT))
    assert texts(chunks) == ["A red cube on a table.", "Bernal Cutlery $23.90\nThank you"]
    assert sources(chunks) == [
        {"type": "image"},
        {
            "type": "image",
            "extraction": "ocr",
            "image_region": {"x": 100, "y": 200, "width": 700, "height": 240},
            "boxes": [[0.1, 0.1, 0.5, 0.12], [0.7, 0.1, 0.8, 0.12], [0.1, 0.2, 0.4, 0.22]],
        },
    ]
    assert chunks[1].parts[1].place == {
        "box": [0.7, 0.1, 0.8, 0.12],
        "image_region": {"x": 700, "y": 200, "width": 100, "height": 40},
    }


def test_a_picture_without_text_has_only_its_caption() -> None:
    assert texts(index("image", "png", FakeServices(scanned=[]))) == ["A red cube on a table."]


def test_captions_can_be_switched_off() -> None:
    services = FakeServices(scanned=RECEIPT)
    assert texts(index("image", "png", services, IndexingConfig(caption_images=False))) == [
        "Bernal Cutlery $23.90\nThank you"
    ]
    assert "caption_image" not in services.calls


def test_a_picture_that_cannot_be_decoded_fails_for_good() -> None:
    error, may_retry = fail("image", "png", FakeServices(caption=InvalidFile("It is cut off.")))
    assert (error.code, error.message, may_retry) == ("INVALID_FILE", "It is cut off.", False)
