"""The library from the upload to the search, with the real embedder, OCR and parsers, and the miniatures' words."""

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from deployments.library.types import ChunkRecord
from samples.running_server import RunningServer
from serve_app.citations import picture_url, place_url
from tests.data.contents import CLIP_SENTENCE, SENTENCE
from tests.deployments.answerer.chat_server import ChatServer
from tests.deployments.document_parser.docx_files import docx, paragraph
from tests.deployments.document_parser.pdf_files import PdfWriter, lines, text
from tests.deployments.text_reader.pictures import encoded, overlap, receipt
from tests.e2e.client import DATA, replica_of
from tests.e2e.conftest import StartServer
from tests.e2e.library import ENDED, LibraryClient
from tests.hostile.documents import DOCUMENTS
from tests.hostile.item import OK

pytestmark = pytest.mark.e2e

NEW_LINE = "\n"
FOREIGN = Origin("http://pages.example")
PAGES = (
    ("Bees find their hive by the sun.", "A swarm follows its old queen in May."),
    ("The harbour commission pays 4200 dollars", "for a new lamp of the lighthouse."),
    ("Mountain goats climb dams to lick salt.",),
)
RECEIPT = receipt()
MAX_ANSWER_S = 30.0
"""For a search while hostile documents are read, on a machine that may be busy with other tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatServer]:
    """The language model's server."""
    with ChatServer() as running:
        yield running


@pytest.fixture(scope="module")
def library_server(
    start_server: StartServer, model_cache: Path, folder: Path, chat: ChatServer
) -> Iterator[RunningServer]:
    env = {"MODEL_CACHE_DIR": str(model_cache), "DATA_DIR": str(folder), "LOG_FORMAT": "json"}
    with start_server({"answerer": {"server_url": chat.url}}, env) as running:
        yield running


@pytest.fixture(scope="module")
def library(library_server: RunningServer) -> LibraryClient:
    return LibraryClient(library_server.url)


@dataclass(frozen=True)
class Indexed:
    """One file of each kind, all completed."""

    ids: dict[str, int]
    contents: dict[str, bytes]
    events: list[dict[str, Any]]
    """What a client was told that followed from before the first upload."""


@pytest.fixture(scope="module")
def indexed(library: LibraryClient) -> Indexed:
    contents = {
        "report.pdf": pdf(),
        "trip.docx": docx(
            paragraph("Budget", style="Heading1")
            + paragraph("The hotel in Lisbon costs 90 euros a night.")
            + paragraph("Weather", style="Heading1")
            + paragraph("It rains in the hills every November.")
        ),
        "recipe.txt": b"The dough rests for two hours.\n\nBake the bread at 230 degrees.",
        "receipt.png": encoded(RECEIPT.image, "PNG"),
        "speech.wav": (DATA / "speech.wav").read_bytes(),
        "clip.mp4": (DATA / "clip.mp4").read_bytes(),
    }
    with library.followed() as events:
        ids = {name: library.add(name, content) for name, content in contents.items()}
        for file_id in ids.values():
            library.until_completed(file_id)
        wait_for_events(events, ids)
    return Indexed(ids, contents, events)


def wait_for_events(events: list[dict[str, Any]], ids: dict[str, int]) -> None:
    end = time.monotonic() + 10
    while {e["file_id"] for e in events if e["progress"]["status"] == "completed"} != set(ids.values()):
        assert time.monotonic() < end, events
        time.sleep(0.05)


def pdf() -> bytes:
    writer = PdfWriter()
    for page in PAGES:
        writer.add_page(lines(60, 700, *page, leading=20))
    return writer.content()


def long_text(topic: str, num_sentences: int) -> bytes:
    """Return paragraphs that take the embedder some seconds."""
    sentences = [f"Note {number} about {topic} says nothing that another note says." for number in range(num_sentences)]
    paragraphs = (" ".join(sentences[first : first + 8]) for first in range(0, num_sentences, 8))
    return "\n\n".join(paragraphs).encode()


def pixels_of(response: requests.Response) -> NDArray[np.int_]:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)


def error_of(response: requests.Response, status: int) -> str:
    assert response.status_code == status, response.text
    code: str = response.json()["error"]["code"]
    return code


def assert_sound(library: LibraryClient) -> None:
    """The library's parts agree, and it has no chunk that is not in a completed file."""
    assert library.problems() == []
    stats = library.get("/debug/stats").json()
    assert stats["total_chunks"] == sum(file["total_chunks"] for file in library.all_files())
    assert stats["index_size"] == stats["total_chunks"]


def test_a_question_finds_the_page_of_a_pdf_and_its_lines(library: LibraryClient, indexed: Indexed) -> None:
    best = library.best("How much does the lighthouse get for its lamp?")
    assert best["metadata"]["file_id"] == indexed.ids["report.pdf"]
    place = best["metadata"]["source_info"]
    assert (place["type"], place["page"], len(place["boxes"])) == ("document", 2, 2)
    assert place["boxes"][0] == pytest.approx([0.1, 0.115, 0.42, 0.13], abs=0.03)


def test_a_question_finds_the_heading_of_a_document(library: LibraryClient, indexed: Indexed) -> None:
    best = library.best("What is the price of the accommodation?")
    assert best["metadata"]["file_id"] == indexed.ids["trip.docx"]
    assert best["metadata"]["source_info"]["heading"] == ["Budget"]
    answer = library.post_search("When does it rain?").json()
    assert answer["citations"][0]["source_info"]["heading"] == ["Weather"]
    assert "every November" in answer["response"]


def test_a_question_finds_a_text(library: LibraryClient, indexed: Indexed) -> None:
    assert library.best("How hot must the oven be?")["metadata"]["file_id"] == indexed.ids["recipe.txt"]


def test_the_words_in_a_picture_are_found_in_their_boxes(library: LibraryClient, indexed: Indexed) -> None:
    best = library.best('"Orange juice"')
    assert best["metadata"]["file_id"] == indexed.ids["receipt.png"]
    place = best["metadata"]["source_info"]
    item, price = (RECEIPT.boxes[words] for words in ("Orange juice 330 ml", "4.10"))
    expected = (item[0], min(item[1], price[1]), price[2], max(item[3], price[3]))
    assert max(overlap(tuple(box), expected) for box in place["boxes"]) > 0.5
    region = place["image_region"]
    left, top = region["x"] / RECEIPT.width, region["y"] / RECEIPT.height
    right, bottom = left + region["width"] / RECEIPT.width, top + region["height"] / RECEIPT.height
    assert left <= expected[0] + 0.02
    assert top <= expected[1] + 0.02
    assert right >= expected[2] - 0.02
    assert bottom >= expected[3] - 0.02


def test_what_is_said_is_found_with_its_second(library: LibraryClient, indexed: Indexed) -> None:
    best = library.best("a small blue square at the top right", filter_type="audio")
    assert best["metadata"]["file_id"] == indexed.ids["speech.wav"]
    assert best["metadata"]["text"].strip() == SENTENCE
    place = best["metadata"]["source_info"]
    assert place["type"] == "audio"
    assert 0 <= place["start"] < 1.5 < place["end"] < 5


def test_a_video_is_found_by_its_speech_and_by_its_pictures(library: LibraryClient, indexed: Indexed) -> None:
    results = library.search("red circle on the left", filter_type="video")
    assert {result["metadata"]["file_id"] for result in results} == {indexed.ids["clip.mp4"]}
    by_origin = {result["metadata"]["source_info"]["origin"]: result["metadata"] for result in reversed(results)}
    assert by_origin["speech"]["text"].strip() == CLIP_SENTENCE
    picture = by_origin["picture"]["source_info"]
    assert picture["start"] < 1.0  # the first scene
    assert picture["frame_number"] >= 0


def test_the_url_of_every_passage_opens_its_place(library: LibraryClient, indexed: Indexed) -> None:
    num_pictures = 0
    for name, file_id in indexed.ids.items():
        for passage in library.file(file_id, include_content="true")["content"]:
            place = passage["source_info"]
            chunk = ChunkRecord(
                passage["chunk_id"], file_id, name, place["type"], 0, passage["text"], source_info=place, parts=[]
            )
            path, _, fragment = place_url(chunk).partition("#")
            opened = library.get(path)
            assert opened.status_code == 200
            if "paragraph" in place:
                marked = f'<p id="{fragment}">{passage["text"].partition(NEW_LINE)[0]}</p>'
                assert marked in opened.text
            else:
                assert opened.content == indexed.contents[name]
                assert fragment == fragment_of(place)
            if (picture := picture_url(chunk, (0, len(passage["text"])))) is not None:
                assert pixels_of(library.get(picture)).size
                num_pictures += 1
    assert num_pictures >= len(PAGES) + 2  # the receipt, and a frame


def fragment_of(place: dict[str, Any]) -> str:
    if "page" in place:
        return f"page={place['page']}"
    if "image_region" in place:
        region = place["image_region"]
        assert region["x"] + region["width"] <= RECEIPT.width
        assert region["y"] + region["height"] <= RECEIPT.height
        return f"xywh=pixel:{region['x']},{region['y']},{region['width']},{region['height']}"
    return f"t={place['start']:g}" if "start" in place else ""


def test_only_files_of_the_wanted_types_are_found(library: LibraryClient, indexed: Indexed) -> None:
    query = "blue square, lighthouse, bread"
    assert {result["metadata"]["source_info"]["type"] for result in library.search(query, filter_type="image")} == {
        "image"
    }
    both = library.search(query, filter_type=["audio", "document"])
    assert {result["metadata"]["source_info"]["type"] for result in both} == {"audio", "document"}


def test_the_log_has_an_object_for_each_request_and_no_words(
    library_server: RunningServer, library: LibraryClient, indexed: Indexed
) -> None:
    answer = library.post_search("xylophone lighthouse")
    folder = library_server.log.parent / "ray"
    end = time.monotonic() + 10
    found: list[dict[str, Any]] = []
    while not found:  # the line is written after the answer is sent
        assert time.monotonic() < end
        lines = [line for path in folder.glob("**/logs/serve/replica_*.log") for line in path.read_text().splitlines()]
        found = [line for line in map(json.loads, lines) if line.get("request_id") == answer.headers["X-Request-ID"]]
    [line] = [line for line in found if "http_route" in line]
    assert (line["http_method"], line["http_route"], line["http_status"]) == ("POST", "/search", 200)
    assert line["duration_ms"] > 0
    assert not [line for line in lines if "xylophone" in line]


def test_searches_are_in_the_history_until_it_is_cleared(library: LibraryClient, indexed: Indexed) -> None:
    num_results = len(library.search("where do the bees live"))
    newest = library.get("/search/history", limit=1).json()["history"][0]
    assert (newest["query"], newest["results_count"]) == ("where do the bees live", num_results)
    assert requests.delete(f"{library.url}/search/history", timeout=60).json()["deleted"] > 0
    assert library.get("/search/history").json()["history"] == []


def test_originals_are_served_whole_and_in_parts(library: LibraryClient, indexed: Indexed) -> None:
    path = f"/files/{indexed.ids['clip.mp4']}/content"
    content = indexed.contents["clip.mp4"]
    assert library.get(path).content == content
    part = requests.get(library.url + path, headers={"Range": "bytes=100-1099"}, timeout=60)
    assert (part.status_code, part.content) == (206, content[100:1100])
    assert part.headers["Content-Range"] == f"bytes 100-1099/{len(content)}"
    beyond = requests.get(library.url + path, headers={"Range": f"bytes={len(content)}-"}, timeout=60)
    assert error_of(beyond, 416) == "RANGE_NOT_SATISFIABLE"


def test_a_page_shows_the_passage_marked_and_nothing_else(library: LibraryClient, indexed: Indexed) -> None:
    best = library.best("How much does the lighthouse get for its lamp?")
    path = f"/files/{indexed.ids['report.pdf']}/pages/2.png"
    plain = pixels_of(library.get(path))
    marked = pixels_of(library.get(path, chunk_id=best["chunk_id"]))
    assert marked.shape == plain.shape
    changed = (marked != plain).any(axis=2)
    height, width = changed.shape
    inside = np.zeros_like(changed)
    for x0, y0, x1, y1 in best["metadata"]["source_info"]["boxes"]:
        rows, columns = slice(int(y0 * height), int(y1 * height) + 2), slice(int(x0 * width), int(x1 * width) + 2)
        assert changed[rows, columns].mean() > 0.7
        inside[rows, columns] = True
    assert not (changed & ~inside).any()
    first = pixels_of(library.get(path.replace("2.png", "1.png")))
    marked_elsewhere = library.get(path.replace("2.png", "1.png"), chunk_id=best["chunk_id"])
    assert (pixels_of(marked_elsewhere) == first).all()
    assert error_of(library.get(path.replace("2.png", "4.png")), 404) == "NOT_FOUND"


def test_a_frame_is_the_one_on_screen_at_its_second(library: LibraryClient, indexed: Indexed) -> None:
    shares = []
    for seconds in (0.5, 1.5):
        picture = pixels_of(library.get(f"/files/{indexed.ids['clip.mp4']}/frames/{seconds}.jpg"))
        red, blue = picture[..., 0] - picture[..., 2] > 80, picture[..., 2] - picture[..., 0] > 80
        shares.append((red.mean() > 0.02, blue.mean() > 0.02))
    assert shares == [(True, False), (False, True)]  # a red circle, then a blue square


def test_followers_are_told_each_files_progress_and_what_they_missed(library: LibraryClient, indexed: Indexed) -> None:
    events = indexed.events
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    for file_id in indexed.ids.values():
        progress = [event["progress"] for event in events if event["file_id"] == file_id]
        statuses = [each["status"] for each in progress]
        assert statuses[0] == "pending"
        assert statuses[-1] == "completed"
        assert "processing" in statuses
        assert progress[-1]["fraction"] == 1
        assert [each["fraction"] for each in progress] == sorted(each["fraction"] for each in progress)
    since, last = numbers[2], numbers[-1]
    missed = [event for event in events if event["seq"] > since]
    assert library.replay(since, last) == missed
    assert library.events(since, last) == missed


def test_health_and_metrics_show_what_was_done(library: LibraryClient, indexed: Indexed) -> None:
    health = library.get("/health").json()
    assert (health["status"], health["library"]["state"]) == ("healthy", "ready")
    figures = {}
    for line in library.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            figures[name] = float(value)
    assert figures["prism_uploads_total"] >= len(indexed.ids)
    assert figures["prism_searches_total"] >= 1
    assert figures["prism_processing_seconds_count"] >= len(indexed.ids)
    assert figures["prism_active_files"] == 0


def test_the_same_content_is_one_file(library: LibraryClient, indexed: Indexed) -> None:
    again = library.upload("another name.pdf", indexed.contents["report.pdf"])
    assert again["duplicate"]
    assert (again["file_id"], again["filename"], again["status"]) == (
        indexed.ids["report.pdf"],
        "report.pdf",
        "completed",
    )
    content = long_text("twins", 8)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: library.upload("twins.txt", content), range(4)))
    assert len({answer["file_id"] for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False, True, True, True]
    library.until_completed(answers[0]["file_id"])
    assert len([file for file in library.all_files() if file["filename"] == "twins.txt"]) == 1


def test_files_that_cannot_be_opened_fail_alone_and_can_be_tried_again(library: LibraryClient) -> None:
    encrypted = PdfWriter(
        trailer=b"/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
        % (b"11" * 32, b"22" * 32)
    )
    encrypted.add_page(text(50, 700, "secret"))
    damaged_id = library.add("torn.pdf", b"%PDF-1.7\n" + b"torn " * 1000)
    encrypted_id = library.add("locked.pdf", encrypted.content())
    next_id = library.add("next.txt", b"The next file is not harmed.")
    for file_id, word in ((damaged_id, "damaged"), (encrypted_id, "password")):
        error = library.until(file_id, ["failed"])["error"]
        assert error["code"] == "INVALID_FILE"
        assert word in error["message"]
    library.until_completed(next_id)
    assert error_of(library.post(f"/files/{next_id}/retry"), 409) == "CONFLICT"
    retried = library.post(f"/files/{damaged_id}/retry").json()
    assert (retried["status"], retried["error"]) == ("pending", None)
    assert library.until(damaged_id, ["failed"])["error"]["code"] == "INVALID_FILE"
    assert_sound(library)


def test_a_file_that_is_deleted_while_it_is_indexed_is_gone(library: LibraryClient) -> None:
    deleted_id = library.add("long.txt", long_text("walruses", 3000))
    next_id = library.add("after.txt", b"Penguins come after the walruses.")
    library.until(deleted_id, ["processing"], fraction=0.01)
    assert library.delete(deleted_id).status_code == 200
    assert error_of(library.get(f"/files/{deleted_id}"), 404) == "NOT_FOUND"
    assert error_of(library.get(f"/files/{deleted_id}/content"), 404) == "NOT_FOUND"
    library.until_completed(next_id)
    assert all(result["metadata"]["file_id"] != deleted_id for result in library.search("notes about walruses"))
    assert_sound(library)


QUESTION = "How long does the dough rest?"
REPLY = "The dough rests for two hours."


@pytest.fixture
def talking(chat: ChatServer, indexed: Indexed) -> Iterator[ChatServer]:
    """The language model knows the answer to QUESTION."""
    before, chat.pieces = chat.pieces, [f" {word}" for word in REPLY.split()]
    yield chat
    chat.pieces, chat.pause_s = before, 0.0


def test_a_language_model_answers_and_its_sentence_leads_to_the_words(
    library: LibraryClient, indexed: Indexed, talking: ChatServer
) -> None:
    body = library.post_search(QUESTION).json()
    assert body["response"].startswith(f"{REPLY} [1]")
    assert (body["answered_by"], body["answer_note"]) == ("first", "")
    citation = body["citations"][0]
    assert (citation["file_id"], citation["quote"]) == (indexed.ids["recipe.txt"], REPLY)
    [cited] = [result for result in body["results"] if result["chunk_id"] == citation["chunk_id"]]
    start, end = citation["chars"]
    assert cited["metadata"]["text"][start:end] == REPLY
    assert talking.requests[-1]["messages"][-1]["content"].endswith(QUESTION)


def test_an_answer_is_streamed_sentence_by_sentence(library: LibraryClient, talking: ChatServer) -> None:
    talking.pause_s = 0.1
    times: dict[str, float] = {}
    text, done = "", {}
    with library.stream_search(QUESTION) as events:
        for name, data in events:
            times.setdefault(name, time.monotonic())
            text += data["text"] if name == "token" else ""
            done = data
    assert list(times) == ["results", "token", "citation", "done"]
    assert times["token"] - times["results"] > 0.3  # the model needs longer than that for its first sentence
    assert text == done["response"]
    assert text.startswith(REPLY)


def test_a_client_that_leaves_stops_the_model(library: LibraryClient, talking: ChatServer) -> None:
    talking.pieces, talking.pause_s, num_left = [REPLY, " "] * 150, 0.1, talking.num_left
    with library.stream_search(QUESTION) as events:
        assert next(events)[0] == "results"
        assert next(events)[0] == "token"
    end = time.monotonic() + 10  # saying it all would take 30 s
    while talking.num_left == num_left:
        assert time.monotonic() < end
        time.sleep(0.05)
    talking.pieces, talking.pause_s = [REPLY], 0.0
    assert library.post_search(QUESTION).json()["answered_by"] == "first"


@pytest.mark.faults
def test_when_the_answerers_process_is_killed_the_answer_quotes_the_passages(
    library_server: RunningServer, library: LibraryClient, talking: ChatServer
) -> None:
    talking.pieces, talking.pause_s, num_requests = ["Hm. "] * 300, 0.1, len(talking.requests)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(library.post_search, QUESTION)
        while len(talking.requests) == num_requests:
            time.sleep(0.01)
        replica_of(library_server.pid, "Answerer").kill()
        response = answer.result()
    assert response.status_code == 200
    body = response.json()
    assert body["answered_by"] == "extractive"
    assert REPLY in body["response"]
    assert "Answerer stopped" in body["answer_note"]
    talking.pieces, talking.pause_s = [REPLY], 0.0
    assert library.post_search(QUESTION).json()["answered_by"] == "first"


@pytest.mark.faults
@pytest.mark.parametrize(
    "deployment", ["Library", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Embedder", "Indexing"))]
)
def test_a_killed_process_loses_and_doubles_nothing(
    library_server: RunningServer, library: LibraryClient, deployment: str
) -> None:
    content = long_text(f"the end of {deployment}", 1500)
    file_id = library.add("interrupted.txt", content)
    library.until(file_id, ["processing"], fraction=0.01)
    replica = replica_of(library_server.pid, deployment)
    with ThreadPoolExecutor(3) as clients:
        searches = [clients.submit(library.post_search, f"notes about {deployment} {n}") for n in range(4)]
        upload = clients.submit(library.upload, "meanwhile.txt", long_text(f"a time without {deployment}", 8))
        replica.kill()
        searches += [clients.submit(library.post_search, f"more about {deployment} {n}") for n in range(4)]
        answers = [search.result() for search in searches]
        added = upload.result()
    assert not added["duplicate"]
    for answer in answers:
        # Without its process, the embedder may be back too late for a search.
        assert answer.status_code == 200 or (deployment == "Embedder" and answer.status_code == 503), answer.text
    library.until_completed(file_id)
    assert library.text_of(file_id).split() == content.decode().split()
    library.until_completed(added["file_id"])
    assert library.search(f"notes about the end of {deployment}")
    assert_sound(library)


def test_foreign_pages_can_neither_upload_nor_follow(library: LibraryClient) -> None:
    assert error_of(library.post_upload("page.txt", b"from a page", Origin=FOREIGN), 403) == "FORBIDDEN"
    with pytest.raises(InvalidStatus) as refusal, connect(library.url.replace("http", "ws", 1) + "/ws", origin=FOREIGN):
        pass
    assert refusal.value.response.status_code == 403


def test_hostile_documents_cost_nobody_else_more_than_time(
    library_server: RunningServer, library: LibraryClient, folder: Path
) -> None:
    replicas = {
        name: replica_of(library_server.pid, name) for name in ("Library", "Indexing", "DocumentParser", "TextReader")
    }
    outside = sorted(folder.parent.iterdir())
    documents = [document for document in DOCUMENTS.items if not document.is_slow]
    ids = {}
    for document in documents:
        content = document.make()
        assert isinstance(content, bytes)
        response = library.post_upload(document.filename, content)
        assert response.status_code == 200, (document.name, response.text)
        ids[document.name] = response.json()["file_id"]
    good = library.add("harmless.txt", b"The harmless file tells of a bishop who fished.")
    waiting, slowest = {*ids.values(), good}, 0.0
    while waiting:
        start = time.monotonic()
        library.search("Who went fishing?")
        slowest = max(slowest, time.monotonic() - start)
        waiting -= {file["file_id"] for file in library.all_files() if file["status"] in ENDED}
        time.sleep(0.2)
    ends = {document.name: library.file(ids[document.name]) for document in documents}
    wrong = {
        document.name: end["error"] or end["status"]
        for document in documents
        for end in [ends[document.name]]
        if (end["error"]["code"] if end["error"] else OK) not in document.outcomes
    }
    assert wrong == {}
    assert slowest < MAX_ANSWER_S
    assert library.best("Who went fishing?")["metadata"]["file_id"] == good
    assert ends["text whose name leads elsewhere"]["filename"] == "passwd.txt"
    assert sorted(folder.parent.iterdir()) == outside
    assert {name: replica_of(library_server.pid, name) for name in replicas} == replicas
    assert_sound(library)


@pytest.mark.slow
def test_a_second_server_leaves_the_folder_alone_and_names_its_holder(
    start_server: StartServer, library_server: RunningServer, library: LibraryClient, folder: Path, model_cache: Path
) -> None:
    num_files = len(library.all_files())
    holder: psutil.Process = replica_of(library_server.pid, "Library")
    env = {"MODEL_CACHE_DIR": str(model_cache), "DATA_DIR": str(folder)}
    with start_server({"serving": {"lazy_loading": True}}, env, ready_path="/livez") as second:
        response = LibraryClient(second.url).post_upload("second.txt", b"For the second server.")
        assert error_of(response, 503) == "MODEL_NOT_LOADED"
        assert f"process {holder.pid} on" in response.json()["error"]["message"]
        assert LibraryClient(second.url).get("/health").json()["status"] == "degraded"
    assert len(library.all_files()) == num_files
    assert_sound(library)
