"""Search by words and by meaning."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.library import lookup
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.types import ChunkPart, NewChunk, SearchRequest
from tests.deployments.library.contents import (
    IN_EACH_WAY,
    add,
    found,
    lease,
    new_chunks,
    search,
    upload,
    vector_of,
    vectors_of,
)
from tests.deployments.library.databases import BOTH, ONLY_SQLITE, new_library

INVOICE = "The invoice INV-2022-001 over 110,000 euros grew by 1.25x since March."
CAR = "The vehicle 1C4RJFBG2NC123456 is an automobile of the physician."
TRAVEL = "Running costs: the travel budget covers trains and state-of-the-art hotels in Zürich."
POEM = "Two roads diverged in a yellow wood."


@pytest.fixture(scope="module", params=BOTH)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library that no test changes."""
    library = Library(new_library(request, tmp_path_factory.mktemp("filled")))
    for name, text in (("invoice", INVOICE), ("car", CAR), ("travel/Kostenplan_2024", TRAVEL), ("poem", POEM)):
        add(library, f"{name}.txt", [text])
    yield library
    library.close()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("INV-2022-001", INVOICE),
        ("inv-2022-001", INVOICE),
        ("110,000", INVOICE),
        ("1.25x", INVOICE),
        ("1C4RJFBG2NC123456", CAR),
        ("what does (INV-2022-001) say?", INVOICE),
        ("TRAVEL", TRAVEL),
        ("zurich", TRAVEL),
        ("runs", TRAVEL),
        ("diverging road", POEM),
        ("state of the art", TRAVEL),
        ("state-of-the-art", TRAVEL),
        ("hotel-budget", TRAVEL),
        ("kostenplan", TRAVEL),
        ("Kostenplan_2024.txt", TRAVEL),
        ("buget", TRAVEL),
        ("hotles", TRAVEL),
        ("invioce", INVOICE),
        ("inv0ice yelow", POEM),
        ('"yellow wood"', POEM),
        ("“two roads” invoice", POEM),
        ("„yellow wood“", POEM),
        ('invoice "', INVOICE),
        ("AND OR NOT NEAR( budget*", TRAVEL),
        ("text: ^budget -trains", TRAVEL),
    ],
)
def test_words_find_their_text_first(filled: Library, query: str, text: str) -> None:
    assert found(filled, query)[0] == text


@pytest.mark.parametrize(
    "query",
    [
        "INV-2022-002",
        '"wood yellow"',
        '"INV-2022-001" poem "yellow wood"',
        "xqzvw plonkish",
        "?!",
        "-",
        '""',
        "\x00",
        "'; DROP TABLE files; --",
    ],
)
def test_what_matches_nothing_finds_nothing(filled: Library, query: str) -> None:
    hits = found(filled, query)
    assert hits == [] or query == "INV-2022-002"  # whose parts occur
    assert "yellow wood" not in "".join(hits)


def test_stop_words_are_left_out_unless_there_are_no_others(library: Library) -> None:
    add(library, "a.txt", ["the of and to in what"])
    add(library, "b.txt", ["a treaty"])
    assert found(library, "what is the treaty") == ["a treaty"]
    assert found(library, "the") == ["the of and to in what"]
    add(library, "c.txt", ["said the WHO yesterday"])
    assert "said the WHO yesterday" in found(library, "treaty WHO")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("学習", "機械学習は楽しい"),
        ("学", "機械学習は楽しい"),
        ("機械の学習", "機械学習は楽しい"),
        ('"学習は"', "機械学習は楽しい"),
        ("北京", "我在北京大学学习中文"),
        ("서울", "서울은한국의수도이다"),
        ("ภาษา", "ภาษาไทยไม่มีช่องว่าง"),
        ("ABC", "ＡＢＣ株式会社"),
        ("office", "the oﬃce"),
    ],
)
def test_scripts_without_spaces_and_compatibility_forms(library: Library, query: str, text: str) -> None:
    for number, content in enumerate([text, "something else 別"]):
        add(library, f"{number}.txt", [content])
    assert found(library, query) == [text]
    assert found(library, '"習学"') == []


def test_meaning_finds_what_shares_no_word(filled: Library) -> None:
    assert found(filled, "car doctor vehicle") == [CAR]
    [hit] = search(filled, "doctor car", words_only=False)
    assert hit.chunk.text == CAR
    assert hit.similarity >= 0.3


def test_what_is_hardly_similar_is_no_result(filled: Library) -> None:
    assert search(filled, "completely unrelated question", words_only=False) == []


def test_similarity_is_the_cosine_whatever_else_there_is(library: Library) -> None:
    add(library, "a.txt", [INVOICE])
    [alone] = search(library, "invoice over euros", words_only=False)
    expected = float(vector_of(INVOICE)[0] @ vector_of("invoice over euros")[0])
    assert alone.similarity == pytest.approx(expected, abs=1e-3)
    for number in range(5):
        add(library, f"{number}.txt", [f"invoice over euros number {number}"])
    assert alone.similarity in [hit.similarity for hit in search(library, "invoice over euros", words_only=False)]
    assert all(hit.similarity == 0 for hit in search(library, "invoice over euros"))


def test_types_are_filtered_before_ranking(library: Library) -> None:
    add(library, "many.txt", ["budget of the year"] * 150)
    add(library, "talk.mp3", ["somebody mentions a budget in passing, and much else besides"], "audio")
    add(library, "clip.mp4", ["the budget on a slide"], "video")
    audio = ["somebody mentions a budget in passing, and much else besides"]
    assert found(library, "budget of the year", "audio") == audio
    assert found(library, "budget of the year", "audio", words_only=False) == audio
    assert set(found(library, "budget", "audio", "video")) == {*audio, "the budget on a slide"}
    assert found(library, "budget", "image", words_only=False) == []


def test_phrases_are_required_of_similar_chunks_too(library: Library) -> None:
    add(library, "a.txt", ["a car was bought"])
    add(library, "b.txt", ["an automobile was bought"])
    assert found(library, '"automobile was" bought', words_only=False) == ["an automobile was bought"]


def test_a_query_that_is_a_files_name_finds_it_first(library: Library) -> None:
    for number in range(20):
        add(library, f"papers/article_{number}.txt", [f"article about {number + 60}, again {number + 60} of them"])
    add(library, "papers/article_77.txt", ["the first page", "it says nothing of that number"])
    hits = search(library, "Article 77", words_only=False)
    assert [hit.chunk.filename for hit in hits[:2]] == ["article_77.txt", "article_17.txt"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert search(library, "article 77 papers txt")[0].chunk.filename == "article_77.txt"


def test_words_that_many_files_have_in_their_names_put_none_first(library: Library) -> None:
    for number in range(5):
        add(library, f"minutes/{number}.txt", [f"something else {number}"])
    add(library, "other.txt", ["minutes"])
    assert found(library, "minutes", words_only=False)[0] == "minutes"


def test_a_common_word_counts_little_where_nothing_fits(library: Library) -> None:
    for number in range(20):
        add(library, f"{number}.txt", [f"other things {number}"])
    add(library, "letters.txt", ["capital letters and nothing else here"])
    add(library, "car.txt", ["car doctor"])
    assert found(library, "automobile physician zebra capital", words_only=False)[0] == "car doctor"
    assert found(library, "capital letters", words_only=False)[0] == "capital letters and nothing else here"


def test_short_words_are_not_taken_for_others(library: Library) -> None:
    add(library, "a.txt", ["they make furniture"])
    assert found(library, "bake") == []
    assert found(library, "furnitrue") == ["they make furniture"]


@pytest.mark.parametrize("place", [{"page": 3}, {"heading": ["Checks"]}])
def test_a_tables_row_comes_before_its_header(library: Library, place: dict[str, Any]) -> None:
    header = "Firearm background checks November 2015 State Handguns Long guns Totals"
    rows = ["Ohio 12 31 43\nIowa 7 2 9 totals", "Kentucky 264 31 295\nMaine 4 5 9", "Utah 2015 3 4\nTexas 8 7 15"]
    note = "Kentucky checks its figures every November."
    upload(library, "checks.txt")
    job = lease(library)
    chunks = [NewChunk(text, {"type": "document", **place}, []) for text in (header, *rows, note)]
    library.add_chunks(job.job_id, job.lease, 0, chunks, vectors_of([chunk.text for chunk in chunks]))
    library.complete_job(job.job_id, job.lease, len(chunks))
    for number in range(20):
        add(library, f"{number}.txt", [f"something else {number}"])
    question = "How many firearm background checks did Kentucky have in total in November 2015?"
    assert found(library, question, words_only=False)[:2] == [rows[1], header]
    assert found(library, "firearm background checks November", words_only=False)[0] == header
    assert found(library, "Kentucky 264 2015", words_only=False)[0] == rows[1]  # a row is no header of the next one
    hits = search(library, question, words_only=False)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_speech_is_found_at_the_sentence_that_was_asked_for(library: Library) -> None:
    sentences = ("Shakespeare on scenery. ", "This is a recording of LibriVox. ", "It is free.")
    parts = []
    for number, sentence in enumerate(sentences):
        first = sum(map(len, sentences[:number]))
        parts.append(ChunkPart(first, first + len(sentence), {"start": 4.0 * number, "end": 4.0 * number + 3}))
    info = {"type": "audio", "start": 0.0, "end": 11.0, "timestamp": "0.00s"}
    upload(library, "talk.mp3", file_type="audio")
    job = lease(library)
    library.add_chunks(job.job_id, job.lease, 0, [NewChunk("".join(sentences), info, parts)], vectors_of(sentences[:1]))
    library.complete_job(job.job_id, job.lease, 1)
    times = [search(library, query)[0].chunk.source_info for query in ("scenery", "LibriVox recording", "free talk")]
    assert [(time["start"], time["end"], time["timestamp"]) for time in times] == [
        (0.0, 11.0, "0.00s"),
        (4.0, 11.0, "4.00s"),
        (8.0, 11.0, "8.00s"),
    ]
    assert search(library, "talk")[0].chunk.source_info == info


def test_a_document_without_pages_is_found_at_the_paragraph_that_was_asked_for(library: Library) -> None:
    paragraphs = ("Machines\n", "Sleeves are rolled up.\n", "The key of the lathe hangs at the door.")
    parts = []
    for number, text in enumerate(paragraphs):
        first = sum(map(len, paragraphs[:number]))
        parts.append(ChunkPart(first, first + len(text), {"paragraph": 7 + number}))
    info = {"type": "document", "heading": ["Machines"], "paragraph": 7}
    upload(library, "rules.docx")
    job = lease(library)
    library.add_chunks(job.job_id, job.lease, 0, [NewChunk("".join(paragraphs), info, parts)], vectors_of([" "]))
    library.complete_job(job.job_id, job.lease, 1)
    found_at = [
        search(library, query)[0].chunk.source_info["paragraph"]
        for query in ("machines", "rolled sleeves at machines", "lathe key", "rules")
    ]
    assert found_at == [7, 8, 9, 7]


def test_a_lesser_neighbour_is_left_out(library: Library) -> None:
    much, little = "budget budget", "the budget and very many other things of no interest at all to whoever asks for it"
    add(library, "a.txt", [much, little, "far away", little + " again"])
    add(library, "b.txt", ["something else", "more of that", "and more", "and still more"])
    hits = found(library, "budget")
    assert hits == [much, little + " again"]


def test_a_neighbour_with_another_word_stays(library: Library) -> None:
    add(library, "a.txt", ["first words", "second words"])
    assert sorted(found(library, "first second")) == ["first words", "second words"]


def test_the_order_is_always_the_same(library: Library) -> None:
    for number in range(20):
        add(library, f"{number}.txt", ["the same text"])
    first = [(hit.chunk.file_id, hit.score) for hit in search(library, "same text", words_only=False)]
    assert [file_id for file_id, _ in first] == list(range(1, 11))
    library.rebuild(Cancellation(time.time() + 60))
    assert [(hit.chunk.file_id, hit.score) for hit in search(library, "same text", words_only=False)] == first


def test_chunk_ids_survive_a_rebuild(library: Library) -> None:
    add(library, "a.txt", ["some words"])
    [before] = search(library, "words")
    library.rebuild(Cancellation(time.time() + 60))
    [after] = search(library, "words")
    assert before.chunk == after.chunk


def test_common_words_rank_what_rarer_words_found(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"common filler{i}" for i in range(10)] + ["rare filler", "rare common filler"]
    texts += [f"other{i}" for i in range(40)]
    for number, text in enumerate(texts):
        add(library, f"{number}", [text])
    monkeypatch.setattr(lookup, "MAX_RANKED", 10)
    assert found(library, "common rare")[0] == "rare common filler"
    assert len(found(library, "common rare")) == 2
    monkeypatch.setattr("deployments.library.words.MAX_RANKED", 10)
    monkeypatch.setattr("deployments.library.postgres.words.MAX_RANKED", 10)
    newest = sorted(hit.chunk.file_id for hit in search(library, "common", limit=100))
    assert newest == [*range(2, 11), 12]  # file 11 has the rare word only


def test_a_search_sees_all_of_a_file_or_nothing(library: Library) -> None:
    """Files are completed and deleted, while a search goes on that each of their chunks answers by word and meaning."""
    texts = [f"visible part{i}" for i in range(8)]
    wrong: list[int] = []
    done = threading.Event()

    def keep_searching() -> None:
        while not done.is_set():
            for words_only in (True, False):
                numbers = [len(search(library, f"part{i}", words_only=words_only)) for i in (0, 7)]
                hits = search(library, "visible", limit=50, words_only=words_only)
                if len({hit.chunk.file_id for hit in hits}) > 1 or max(numbers) > 1:
                    wrong.append(len(hits))

    thread = threading.Thread(target=keep_searching)
    thread.start()
    for number in range(15):
        file = upload(library, f"{number}.txt")
        job = lease(library)
        library.add_chunks(job.job_id, job.lease, 0, new_chunks(texts), vectors_of(texts))
        library.complete_job(job.job_id, job.lease, len(texts))
        library.delete_file(file.file_id)
    done.set()
    thread.join()
    assert wrong == []


@ONLY_SQLITE
def test_a_search_reads_only_the_rows_that_it_found(library: Library) -> None:
    for number in range(50):
        add(library, f"{number}.txt", [INVOICE, CAR, TRAVEL, POEM])
    asked: list[tuple[str, Any]] = []
    engine = library._database._readers

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, parameters: Any, context: object, many: bool) -> None:
        asked.append((statement, parameters))

    assert len(search(library, '"INV-2022-001" euros of the physcian', words_only=False)) == 10
    event.remove(engine, "before_cursor_execute", note)
    selects = [(statement, parameters) for statement, parameters in asked if statement.startswith("SELECT")]
    assert len(selects) > 5
    with library._database.reading() as session:
        plan = [
            step[-1]
            for statement, parameters in selects
            for step in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    by_id = [f"SEARCH {table} USING INTEGER PRIMARY KEY (rowid=?)" for table in ("chunks", "vectors", "files")]
    first_file = "SCAN files USING COVERING INDEX ix_files_status"  # begins the transaction
    steps = {step for step in plan if any(table in step for table in ("chunks", "vectors", "files"))}
    assert steps == {*by_id, first_file}


def test_a_search_ends_at_its_deadline(filled: Library) -> None:
    with pytest.raises(DeadlineExceeded):
        filled.search(SearchRequest("budget", 10), vector_of("budget"), Cancellation(time.time() - 1))


@IN_EACH_WAY
def test_an_opened_library_finds_the_same(config: LibraryConfig) -> None:
    library = Library(config)
    for number, text in enumerate((INVOICE, CAR, TRAVEL)):
        add(library, f"{number}.txt", [text])
    queries = ("budget", "car doctor", "invoise")
    before = [search(library, query, words_only=False) for query in queries]
    library.close()
    library = Library(config)
    assert [search(library, query, words_only=False) for query in queries] == before
    library.close()
