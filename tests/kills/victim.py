"""The process that is killed: works on a library in several threads, and reports each call before and after it.

A report is one line of JSON on a pipe, which keeps what was written to it when the process is killed.
"""

import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from deployments.cancellation import Cancellation
from deployments.errors import NotFound
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.types import SearchRequest
from tests.kills.contents import CHUNKS, chunks_of, content_of, new_file, vectors_of, word_of

MAX_FILES = 12
"""With more, files are deleted."""


class Reporter:
    """Writes reports to a pipe, each in one piece."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def report(self, event: str, **values: Any) -> None:
        os.write(self._pipe, (json.dumps({"event": event, **values}) + "\n").encode())

    def call(self, name: str, work: Callable[[str], Any], **values: Any) -> Any:
        """Report a call, make it with a request id, and report its result."""
        request_id = uuid.uuid4().hex
        self.report("begin", call=name, request_id=request_id, **values)
        result = work(request_id)
        self.report("end", call=name, request_id=request_id, **values, result=_plain(result))
        return result


def _plain(result: Any) -> Any:
    return result if isinstance(result, bool | int | None) else True


def run_victim(config: LibraryConfig, pipe: int, seed: int, known: dict[int, int], next_number: int) -> None:
    """Work until killed. `known` has the file id of each file that is there, by its number."""
    reporter = Reporter(pipe)
    library = Library(config, lock_wait_s=20)
    reporter.report("ready")
    threads = [
        threading.Thread(target=_upload_and_delete, args=(library, reporter, random.Random(seed), known, next_number)),
        threading.Thread(target=_index, args=(library, reporter, random.Random(seed + 1))),
        threading.Thread(target=_search, args=(library, reporter, random.Random(seed + 2), next_number)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _upload_and_delete(
    library: Library, reporter: Reporter, rng: random.Random, known: dict[int, int], number: int
) -> None:
    while True:
        if len(known) > MAX_FILES or (known and rng.random() < 0.3):
            chosen = rng.choice(sorted(known))
            file_id = known.pop(chosen)
            reporter.call(
                "delete",
                lambda request, id=file_id: library.delete_file(id, request_id=request),
                number=chosen,
                file_id=file_id,
            )
            if rng.random() < 0.3:
                library.compact(Cancellation(time.time() + 60))
        elif known and rng.random() < 0.2:
            chosen = rng.choice(sorted(known))
            added = library.add_file(content_of(chosen), new_file(chosen))
            reporter.report("added again", number=chosen, file_id=added.file.file_id, duplicate=added.duplicate)
        else:
            added = reporter.call("add", lambda request, n=number: _add(library, n, request), number=number)
            known[number] = added
            number += 1


def _add(library: Library, number: int, request_id: str) -> int:
    added = library.add_file(content_of(number), new_file(number), request_id=request_id)
    if added.duplicate:
        raise AssertionError(f"file {number} was there already")
    return added.file.file_id


def _index(library: Library, reporter: Reporter, rng: random.Random) -> None:
    while True:
        job = library.lease_job("victim", 30)
        if job is None:
            time.sleep(0.01)
            continue
        number = int(job.file.filename.removesuffix(".txt"))
        chunks, vectors = chunks_of(number), vectors_of(number)
        for first in range(job.num_chunks_stored, CHUNKS, 2):
            library.add_chunks(job.job_id, job.lease, first, chunks[first : first + 2], vectors[first : first + 2])
            library.report_progress(job.job_id, job.lease, "embedding", first / CHUNKS, "", 30)
        if rng.random() < 0.1:
            library.release_job(job.job_id, job.lease, 0)
            continue
        reporter.call(
            "complete",
            lambda request, job=job: library.complete_job(job.job_id, job.lease, CHUNKS, request_id=request),
            number=number,
            job_id=job.job_id,
            lease=job.lease,
        )


def _search(library: Library, reporter: Reporter, rng: random.Random, next_number: int) -> None:
    while True:
        number = rng.randrange(1, next_number + 5)
        hits = library.search(
            SearchRequest(word_of(number), 10), vectors_of(number)[:1], Cancellation(time.time() + 30)
        )
        of_file = [hit for hit in hits if word_of(number) in hit.chunk.text]
        try:
            all_chunks = len(library.chunks(of_file[0].chunk.file_id, 0, CHUNKS + 1)) if of_file else CHUNKS
        except NotFound:  # deleted since the search
            all_chunks = CHUNKS
        if all_chunks != CHUNKS:
            reporter.report("partly visible", number=number, chunks=all_chunks)
        reporter.call(
            "history",
            lambda request, n=number: library.add_history(word_of(n), 1, 1.0, request_id=request),
            number=number,
        )
