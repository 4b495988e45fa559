"""The library's endurance test notices what it is there for."""

import random
from typing import Any

import pytest

from tests.endurance import library
from tests.endurance.client import Answer, WrongAnswer


class Answering:
    """Answers each request with the next of its bodies, as a server would."""

    url = "http://127.0.0.1:1"

    def __init__(self, *bodies: Any) -> None:
        self._bodies = list(bodies)

    def expect(self, expected: str, method: str, path: str, **arguments: Any) -> Any:
        return Answer(200, "", self._bodies.pop(0))


HIT = {
    "chunk_id": "c",
    "similarity": 0.5,
    "metadata": {"file_id": 7, "filename": "note.txt", "text": "a", "source_info": {"type": "document"}},
}


def test_a_deleted_file_that_is_still_found_is_wrong() -> None:
    body = {
        "results": [HIT],
        "response": "",
        "citations": [],
        "query_time": 0.1,
        "answered_by": None,
        "answer_note": "",
    }
    with pytest.raises(WrongAnswer, match="A deleted file is found"):
        library.expect_gone(Answering({}, body), 7, "code1")  # type: ignore[arg-type]


def test_a_text_that_fails_to_be_indexed_is_wrong() -> None:
    with pytest.raises(WrongAnswer, match="another schema"):
        library.wait_until_completed(Answering({"status": "completed"}), 7)  # type: ignore[arg-type]


def test_documents_have_their_code_once() -> None:
    code = library.new_code(random.Random(1))
    assert library.document(code, random.Random(2)).decode().count(code) == 1
