"""Measures what encryption costs: `prism benchmark encryption [--megabytes 100] [--chunks 10000] [--folder FOLDER]`.

Two libraries, one of them encrypted, get the same original and the same chunks, and take turns, so that both have the
same machine. Printed are milliseconds of CPU time of the working thread, the median of each, and their ratio: waiting
for the disk is not in them.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from benchmarks.search_latency import RESULTS, Text, fill, queries
from deployments.cancellation import Cancellation
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.types import NewFile, SearchRequest
from deployments.media import as_media
from deployments.units import MEGABYTE

PART_BYTES = 2**20
"""What `GET /files/{id}/content` reads at a time."""
REPEATS = 5
NUM_QUERIES = 30
KEY = SecretStr("the key of the benchmark")

Libraries = tuple[Library, Library]
"""The one without and the one with encryption."""


def compare(name: str, libraries: Libraries, work: Callable[[Library, int], object], repeats: int = REPEATS) -> str:
    """Return a line about `work(library, repetition)` with each library."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repeats):
        for which in (0, 1) if repetition % 2 == 0 else (1, 0):
            start = time.thread_time()
            work(libraries[which], repetition)
            times[which].append(1000 * (time.thread_time() - start))
    plain, encrypted = map(statistics.median, times)
    return f"  {name:32} {plain:9.1f} {encrypted:9.1f}   x {encrypted / plain:.2f}"


def measure_originals(libraries: Libraries, num_bytes: int) -> Iterator[str]:
    rng = np.random.default_rng(1)
    contents = [as_media(rng.bytes(num_bytes)) for _ in range(REPEATS)]
    name = NewFile("original", "original", "video", "video/mp4", "mp4")
    yield compare("upload", libraries, lambda library, i: library.add_file(contents[i], name))
    yield compare("read as a whole", libraries, lambda library, i: library.original(i + 1))

    def read_parts(library: Library, i: int) -> None:
        for start in range(0, num_bytes, PART_BYTES):
            library.original_part(i + 1, start, start + PART_BYTES)

    def read_small_parts(library: Library, i: int) -> None:
        for start in range(0, num_bytes, PART_BYTES):
            library.original_part(i + 1, start, start + 1000)

    yield compare("read in parts of 1 MB", libraries, read_parts)
    yield compare("1000 bytes of each MB", libraries, read_small_parts)
    for library in libraries:
        for file_id in range(1, REPEATS + 1):
            library.delete_file(file_id)


def measure_chunks(libraries: Libraries, num_chunks: int) -> Iterator[str]:
    text = Text.create()
    yield compare(
        f"store and index {num_chunks} chunks", libraries, lambda library, _: fill(library, text, num_chunks), 1
    )
    for kind, make in queries(text).items():
        rng = np.random.default_rng(7)
        wanted = [make(rng) for _ in range(NUM_QUERIES)]
        vectors = text.vectors(rng, NUM_QUERIES)

        def search(library: Library, i: int, wanted: list[str] = wanted, vectors: object = vectors) -> object:
            request = SearchRequest(wanted[i], RESULTS)
            return library.search(request, vectors[i : i + 1], Cancellation(time.time() + 600))  # type: ignore[index]

        yield compare(f"search: {kind}", libraries, search, NUM_QUERIES)
    yield compare("verify", libraries, lambda library, _: library.verify(Cancellation(time.time() + 600)), 1)


def main(arguments: Sequence[str] | None = None, prog: str = "prism benchmark encryption") -> int:
    """Measure and write a table; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100, help="size of an original")
    parser.add_argument("--chunks", type=int, default=10_000, help="number of chunks")
    parser.add_argument("--folder", type=Path, help="make the libraries here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        plain = Library(LibraryConfig(folder=folder / "plain"))
        encrypted = Library(LibraryConfig(folder=folder / "encrypted", encryption_key=KEY))
        sys.stdout.write(f"  {'CPU time in ms':32} {'without':>9} {'with a key':>9}\n")
        for line in measure_originals((plain, encrypted), int(options.megabytes * MEGABYTE)):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        for line in measure_chunks((plain, encrypted), options.chunks):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        for library in (plain, encrypted):
            library.checkpoint()
            size = (library._config.folder / "library.db").stat().st_size / MEGABYTE
            sys.stdout.write(f"  {size:.1f} MB of database\n")
            library.close()
    return 0
