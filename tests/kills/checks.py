"""What must be true of a library after its process was killed."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from deployments.cancellation import Cancellation
from deployments.errors import NotFound
from deployments.library.library import Library
from deployments.library.types import SearchRequest
from tests.kills.contents import CHUNKS, content_of, new_file, vectors_of, word_of

MAX_GONE_CHECKED = 30
"""The files deleted last; with all of them, each check would take longer than the one before."""


class Violation(AssertionError):
    """A promise that was not kept."""


@dataclass
class Known:
    """What the killed processes have reported so far."""

    files: dict[int, int] = field(default_factory=dict)
    """File id of each file that is there, by number."""
    gone: dict[int, int] = field(default_factory=dict)
    """The same of files that are deleted."""
    completed: set[int] = field(default_factory=set)
    history: Counter[int] = field(default_factory=Counter)
    """How often each file was searched for."""
    last_event: int = 0
    next_number: int = 1
    calls: int = 0
    interrupted: Counter[str] = field(default_factory=Counter)
    """Calls that were in progress at a kill, by name."""

    def note(self, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take in the reports of one process, and return those of the calls that it did not finish."""
        open_calls: dict[str, dict[str, Any]] = {}
        for report in reports:
            match report["event"]:
                case "begin":
                    open_calls[report["request_id"]] = report
                    if report["call"] == "add":
                        self.next_number = max(self.next_number, report["number"] + 1)
                case "end":
                    del open_calls[report["request_id"]]
                    self._note_end(report)
                case "partly visible":
                    raise Violation(f"only {report['chunks']} chunks of file {report['number']} were visible")
                case "added again" if self.files.get(report["number"]) != report["file_id"] or not report["duplicate"]:
                    raise Violation(f"file {report['number']} is there twice")
        self.interrupted.update(call["call"] for call in open_calls.values())
        return list(open_calls.values())

    def _note_end(self, report: dict[str, Any]) -> None:
        self.calls += 1
        number = report["number"]
        match report["call"]:
            case "add":
                self.files[number] = report["result"]
            case "delete":
                self.gone[number] = self.files.pop(number)
            case "complete" if report["result"]:
                self.completed.add(number)
            case "history":
                self.history[number] += 1


def replay(library: Library, known: Known, call: dict[str, Any]) -> None:
    """Make a call again that a kill interrupted, as the ingress does; its outcome must be the first call's."""
    number, request_id = call["number"], call["request_id"]
    match call["call"]:
        case "add":
            added = library.add_file(content_of(number), new_file(number), request_id=request_id)
            if added.duplicate:
                raise Violation(f"the replayed upload of file {number} is a duplicate")
            known.files[number] = added.file.file_id
        case "delete":
            try:
                library.delete_file(call["file_id"], request_id=request_id)
            except NotFound:
                raise Violation(f"the replayed deletion of file {number} does not find it") from None
            known.gone[number] = known.files.pop(number, call["file_id"])
        case "complete":
            # False: the job was not completed, and its lease has ended with the process.
            if library.complete_job(call["job_id"], call["lease"], CHUNKS, request_id=request_id):
                known.completed.add(number)
        case "history":
            library.add_history(word_of(number), 1, 1.0, request_id=request_id)
            known.history[number] += 1


def check(library: Library, known: Known) -> None:
    """Raise Violation unless the library has exactly what was acknowledged."""
    report = library.verify(Cancellation(time.time() + 60))
    if report.problems:
        raise Violation(f"verify: {report.problems}")
    for number, file_id in known.files.items():
        _check_file(library, known, number, file_id)
    for number, file_id in list(known.gone.items())[-MAX_GONE_CHECKED:]:
        _check_gone(library, number, file_id)
    if (total := library.stats().total_files) != len(known.files):
        raise Violation(f"there are {total} files instead of {len(known.files)}")
    found = Counter(entry.query for entry in library.history(100_000, 0).history)
    if found != Counter({word_of(number): count for number, count in known.history.items()}):
        raise Violation(f"the history differs: {found - Counter(map(word_of, known.history))}")
    latest = library.events(None)
    if latest and latest[0].seq < known.last_event:
        raise Violation(f"the number of events fell from {known.last_event} to {latest[0].seq}")
    known.last_event = latest[0].seq if latest else 0


def _check_file(library: Library, known: Known, number: int, file_id: int) -> None:
    try:
        file = library.file(file_id)
    except NotFound:
        raise Violation(f"file {number} is lost") from None
    if bytes(library.original(file_id)) != bytes(content_of(number)):
        raise Violation(f"the original of file {number} has changed")
    if number in known.completed and file.status != "completed":
        raise Violation(f"file {number} was completed and is {file.status}")
    if file.status == "failed":
        raise Violation(f"file {number} has failed: {file.error}")
    found = _found(library, number)
    if bool(found) != (file.status == "completed"):
        raise Violation(f"file {number} is {file.status}, and a search finds {len(found)} chunks of it")


def _check_gone(library: Library, number: int, file_id: int) -> None:
    try:
        library.file(file_id)
    except NotFound:
        pass
    else:
        raise Violation(f"file {number} is deleted and there")
    if _found(library, number):
        raise Violation(f"file {number} is deleted and found")


def _found(library: Library, number: int) -> list[str]:
    request = SearchRequest(word_of(number), 100)
    hits = library.search(request, vectors_of(number)[:1], Cancellation(time.time() + 30))
    return [hit.chunk.text for hit in hits if word_of(number) in hit.chunk.text]
