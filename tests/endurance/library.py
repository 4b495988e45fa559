"""`python -m tests.endurance.library`: ten clients upload, search and delete at once, for ten minutes.

Each document has a unique code, so the right result of a search for it is known: that document until it is deleted,
then nothing. Exit status 0: every response was as documented and right, no process died, and `verify` finds no problem
afterwards.
"""

import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from pydantic import BaseModel

from serve_app.library_schemas import FileList, LibraryFileWithContent, SearchAnswer, UploadedFile
from tests.endurance.cases import Case, Context
from tests.endurance.client import Answer, Client, WrongAnswer
from tests.endurance.clients import Findings
from tests.endurance.server import Server
from tests.endurance.timed import run_timed

INDEXED_WITHIN_S = 180.0
POLL_S = 0.3
NUM_SHARED = 5
"""Documents that all clients upload again and again, and nobody deletes."""
UNKNOWN_FILE = 999_999_999
NAME = "note.txt"
"""The file name of every document. It has no code, so that a search for a code can find it in the text only."""

_NAMES = ("ferry", "harbour", "orchard", "library", "bakery", "lighthouse", "workshop", "garden", "station", "museum")
_ids_of_shared: dict[int, int] = {}
_lock = threading.Lock()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test; returns the exit status."""
    return run_timed("library", __doc__, MIX, arguments, prepare=_forget_files, finish=_verify)


def _forget_files(server: Server) -> None:
    """Forget the ids of another server's files."""
    _ids_of_shared.clear()


def _verify(server: Server, findings: Findings) -> Sequence[str]:
    """Return what the library's own check finds."""
    report = requests.post(f"{server.url}/library/verify", timeout=60).json()
    return [f"verify: {problem}" for problem in report["problems"]]


def found_until_deleted(context: Context) -> None:
    """A completed document is found and returned as it was sent; a deleted one is not found any more."""
    client, code = context.client, new_code(context.rng)
    content = document(code, context.rng)
    file_id = upload(client, NAME, content)["file_id"]
    wait_until_completed(client, file_id)
    results = search(client, f'"{code}"')["results"]
    if [result["metadata"]["file_id"] for result in results] != [file_id] or code not in results[0]["metadata"]["text"]:
        raise WrongAnswer(f"A search for {code} found {results}")
    original = requests.get(f"{client.url}/files/{file_id}/content", timeout=60)
    if original.content != content:
        raise WrongAnswer(f"The content of file {file_id} is not what was sent: {original.content[:100]!r}")
    client.expect("200", "DELETE", f"/files/{file_id}")
    expect_gone(client, file_id, code)


def deleted_while_indexed(context: Context) -> None:
    """A document that is deleted while it may be being indexed is not found any more."""
    client, code = context.client, new_code(context.rng)
    file_id = upload(client, NAME, document(code, context.rng))["file_id"]
    time.sleep(context.rng.uniform(0, 1.5))
    client.expect("200", "DELETE", f"/files/{file_id}")
    expect_gone(client, file_id, code)


def uploaded_by_all(context: Context) -> None:
    """The same content has one id, whoever sends it and however often."""
    number = context.rng.randrange(NUM_SHARED)
    content = document(f"shared{number}", random.Random(number))
    body = upload(context.client, NAME, content)
    with _lock:
        expected = _ids_of_shared.setdefault(number, body["file_id"])
    if body["file_id"] != expected:
        raise WrongAnswer(f"The same document has the ids {expected} and {body['file_id']}")
    wait_until_completed(context.client, expected)
    results = search(context.client, f'"shared{number}"')["results"]
    if [result["metadata"]["file_id"] for result in results] != [expected]:
        raise WrongAnswer(f"A search for shared{number} found {results}")
    context.client.expect("409 CONFLICT", "POST", f"/files/{expected}/retry")


def refused(context: Context) -> None:
    """Wrong requests get the documented errors."""
    client = context.client
    client.expect("404 NOT_FOUND", "GET", f"/files/{UNKNOWN_FILE}")
    client.expect("404 NOT_FOUND", "DELETE", f"/files/{UNKNOWN_FILE}")
    client.expect("404 NOT_FOUND", "POST", f"/files/{UNKNOWN_FILE}/retry")
    client.expect("400 INVALID_REQUEST", "POST", "/search", json={"query": ""})
    client.expect("400 INVALID_REQUEST", "POST", "/search", json={"query": "a", "limit": 101})
    client.expect("400 INVALID_FILE_TYPE", "POST", "/upload", files={"file": ("a.txt", b"\x00\x01\x02" * 100)})
    client.expect("400 INVALID_REQUEST", "POST", "/upload", files={"file": ("a.txt", b"")})


def listed(context: Context) -> None:
    """Lists have their schema, and at most `limit` entries."""
    body = checked(FileList, context.client.expect("200", "GET", "/files?limit=3&type=document"))
    if len(body["files"]) > 3 or body["total"] < len(body["files"]):
        raise WrongAnswer(f"A list of 3 files is {body}")
    context.client.expect("200", "GET", "/search/history?limit=2")
    context.client.expect("200", "GET", "/debug/stats")


def clients_leave(context: Context) -> None:
    """Clients disconnect during an upload and during a search; the other cases notice if that does harm."""
    code = new_code(context.rng)
    files = {"file": (NAME, document(code, context.rng))}
    context.client.leave_in_upload("/upload", files=files)
    context.client.leave_before_answer("/search", json={"query": code})


MIX: Mapping[Case, int] = {
    found_until_deleted: 6,
    deleted_while_indexed: 3,
    uploaded_by_all: 3,
    refused: 1,
    listed: 2,
    clients_leave: 1,
}
"""Relative frequency of each case."""


def new_code(rng: random.Random) -> str:
    return f"code{rng.randrange(10**9):09d}"


def document(code: str, rng: random.Random) -> bytes:
    """Return a text of about two pages with the code in its middle."""
    sentences = [
        f"The {rng.choice(_NAMES)} by the {rng.choice(_NAMES)} opened in {rng.randrange(1800, 2020)} and had "
        f"{rng.randrange(2, 900)} visitors on its first day."
        for _ in range(60)
    ]
    sentences[30] = f"The number that was written above the door of the {rng.choice(_NAMES)} was {code}."
    return "\n\n".join(" ".join(sentences[k : k + 5]) for k in range(0, 60, 5)).encode()


def upload(client: Client, name: str, content: bytes) -> dict[str, Any]:
    return checked(UploadedFile, client.expect("200", "POST", "/upload", files={"file": (name, content)}))


def search(client: Client, query: str) -> dict[str, Any]:
    body = checked(SearchAnswer, client.expect("200", "POST", "/search", json={"query": query}))
    if body["citations"] and not body["results"]:
        raise WrongAnswer(f"An answer cites without results: {body}")
    return body


def wait_until_completed(client: Client, file_id: int) -> None:
    end = time.monotonic() + INDEXED_WITHIN_S
    while True:
        body = checked(LibraryFileWithContent, client.expect("200", "GET", f"/files/{file_id}"))
        if body["status"] == "completed":
            return
        if body["status"] == "failed" or time.monotonic() > end:
            raise WrongAnswer(f"A plain text was not indexed: {body}")
        time.sleep(POLL_S)


def expect_gone(client: Client, file_id: int, code: str) -> None:
    client.expect("404 NOT_FOUND", "GET", f"/files/{file_id}")
    body = search(client, f'"{code}"')
    if body["results"] or body["citations"]:
        raise WrongAnswer(f"A deleted file is found: {body}")


def checked(schema: type[BaseModel], answer: Answer) -> dict[str, Any]:
    """Return the body; raises WrongAnswer if it does not have the schema."""
    try:
        schema.model_validate(answer.body)
    except ValueError as error:
        raise WrongAnswer(f"A body of another schema: {error}") from error
    body: dict[str, Any] = answer.body
    return body


if __name__ == "__main__":
    sys.exit(main())
