"""Uploads, and what is told of the files."""

import hashlib
from typing import Any

import pytest

from tests.serve_app.library.conftest import LibraryApi

TEXT = b"The lighthouse was built in 1837."
PLACE = {"type": "document", "heading": [], "paragraph": 1}


def error_of(response: Any, status: int) -> tuple[str, str]:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["success"] is False
    return body["error"]["code"], body["error"]["message"]


def test_an_upload_is_answered_with_exactly_the_fields_of_the_contract(api: LibraryApi) -> None:
    response = api.client.post("/upload", files={"file": ("notes.txt", TEXT)})
    assert response.status_code == 200
    assert response.json() == {
        "file_id": 1,
        "filename": "notes.txt",
        "status": "processing",
        "message": "File uploaded successfully",
        "checksum": hashlib.sha256(TEXT).hexdigest(),
        "duplicate": False,
    }


def test_the_same_content_again_is_the_first_file_in_its_present_state(api: LibraryApi) -> None:
    first = api.upload(TEXT)
    api.index((TEXT.decode(), PLACE, []))
    answer = api.client.post("/upload", files={"file": ("other.txt", TEXT)}).json()
    assert answer["file_id"] == first
    assert answer["filename"] == "notes.txt"
    assert answer["status"] == "completed"
    assert answer["message"] == "File already exists"
    assert answer["duplicate"] is True


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        ({"image": ("a.txt", TEXT)}, {}, "field 'file'"),
        ({"file": ("a.txt", TEXT)}, {"prompt": "x"}, "no field 'prompt'"),
        ({"file": ("a.txt", b"")}, {}, "empty"),
        ({"file": ("a.bin", bytes(100))}, {}, "Supported: PDF"),
    ],
)
def test_a_wrong_upload_is_refused(api: LibraryApi, files: Any, data: Any, words: str) -> None:
    code, message = error_of(api.client.post("/upload", files=files, data=data), 400)
    assert code in ("INVALID_REQUEST", "INVALID_FILE_TYPE")
    assert words in message
    assert api.client.get("/files").json()["total"] == 0


def test_an_upload_must_be_a_form(api: LibraryApi) -> None:
    code, message = error_of(api.client.post("/upload", json={"file": "aGk="}), 400)
    assert code == "INVALID_REQUEST"
    assert "multipart/form-data" in message


def test_files_are_listed_and_filtered(api: LibraryApi, png: bytes) -> None:
    text = api.upload(TEXT, "notes.txt", path="boats/2024/notes.txt")
    api.index((TEXT.decode(), PLACE, []))
    picture = api.upload(png, "picture.png")

    def ids(query: str) -> list[int]:
        return [record["file_id"] for record in api.client.get(f"/files?{query}").json()["files"]]

    assert ids("") == [picture, text]
    assert ids("type=document") == [text]
    assert ids("status=pending") == [picture]
    assert ids("q=BOATS/2024") == [text]
    assert ids("limit=1&offset=1") == [text]
    assert ids(f"checksum={hashlib.sha256(png).hexdigest()}") == [picture]
    body = api.client.get("/files?limit=1").json()
    assert (body["total"], body["limit"], body["offset"]) == (2, 1, 0)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "type=film", "status=done", "checksum=xyz"])
def test_a_wrong_filter_is_refused_by_name(api: LibraryApi, query: str) -> None:
    code, message = error_of(api.client.get(f"/files?{query}"), 400)
    assert code == "INVALID_REQUEST"
    assert query.partition("=")[0] in message


def test_a_file_is_shown_with_its_text_and_places(api: LibraryApi) -> None:
    file_id = api.upload(TEXT)
    assert api.client.get(f"/files/{file_id}").json()["status"] == "pending"
    api.index((TEXT.decode(), PLACE, []))
    body = api.client.get(f"/files/{file_id}?include_content=true").json()
    assert (body["status"], body["total_chunks"], body["mime_type"]) == ("completed", 1, "text/plain")
    assert [(passage["text"], passage["source_info"]) for passage in body["content"]] == [(TEXT.decode(), PLACE)]
    assert "content" not in api.client.get(f"/files/{file_id}").json()


def test_a_failed_file_says_why_and_can_be_tried_again_and_no_other(api: LibraryApi) -> None:
    file_id = api.upload(TEXT)
    assert error_of(api.client.post(f"/files/{file_id}/retry"), 409)[0] == "CONFLICT"
    api.fail("INVALID_FILE", "The document needs a password.")
    body = api.client.get(f"/files/{file_id}").json()
    assert (body["status"], body["error"]) == (
        "failed",
        {"code": "INVALID_FILE", "message": "The document needs a password."},
    )
    assert api.client.post(f"/files/{file_id}/retry").json()["status"] == "pending"


def test_a_deleted_file_is_gone(api: LibraryApi) -> None:
    file_id = api.upload(TEXT)
    api.index((TEXT.decode(), PLACE, []))
    assert api.client.delete(f"/files/{file_id}").json() == {"file_id": file_id, "message": "File deleted"}
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", ""), ("POST", "/retry"), ("GET", "/pages/1.png")]:
        assert error_of(api.client.request(method, f"/files/{file_id}{path}"), 404)[0] == "NOT_FOUND"
    assert api.client.post("/search", json={"query": "lighthouse"}).json()["results"] == []


@pytest.mark.parametrize("file_id", ["x", "1.5", "99999999999999999999999", "-1"])
def test_what_is_no_id_is_refused(api: LibraryApi, file_id: str) -> None:
    response = api.client.get(f"/files/{file_id}")
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in ("INVALID_REQUEST", "NOT_FOUND")


def test_the_original_is_sent_whole_and_in_parts(api: LibraryApi) -> None:
    url = f"/files/{api.upload(TEXT)}/content"
    whole = api.client.get(url)
    assert (whole.status_code, whole.content) == (200, TEXT)
    assert whole.headers["Accept-Ranges"] == "bytes"
    part = api.client.get(url, headers={"Range": "bytes=4-13"})
    assert (part.status_code, part.content) == (206, b"lighthouse")
    assert part.headers["Content-Range"] == f"bytes 4-13/{len(TEXT)}"
    outside = api.client.get(url, headers={"Range": "bytes=1000-"})
    assert error_of(outside, 416)[0] == "RANGE_NOT_SATISFIABLE"
    assert api.client.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    head = api.client.head(url)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(TEXT)))


def test_a_page_of_html_cannot_act_in_the_servers_name(api: LibraryApi) -> None:
    html = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>"
    response = api.client.get(f"/files/{api.upload(html, 'x.html')}/content")
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox")


def test_a_name_of_any_characters_is_kept_and_sent_safely(api: LibraryApi) -> None:
    name = 'Übersicht "2024".txt'
    file_id = api.upload(TEXT, name)
    assert api.client.get(f"/files/{file_id}").json()["filename"] == name
    disposition = api.client.get(f"/files/{file_id}/content").headers["Content-Disposition"]
    assert disposition == "inline; filename*=UTF-8''%C3%9Cbersicht%20%222024%22.txt"
