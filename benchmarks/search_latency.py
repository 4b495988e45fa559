"""Measures searches: `prism benchmark search latency [--sizes 10000 100000] [--folder FOLDER]`.

It fills a library with synthetic chunks of some 150 words and searches it: times are printed in milliseconds,
p50 and p95, for several kinds of queries, with the memory of the process and the floor, which is FAISS alone on the
same vectors. The words are made of syllables, and their frequencies follow Zipf's law as in English; the vectors lie in
clusters. So ranks mean nothing here, but lengths of posting lists and sizes are real. With `--folder`, libraries are
kept there and used again: making one of a million chunks takes long.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.library import Library
from deployments.library.query import STOP_WORDS
from deployments.library.settings import LibraryConfig
from deployments.library.types import FILE_TYPES, ChunkPart, NewChunk, NewFile, SearchRequest
from deployments.media import as_media
from deployments.units import MEGABYTE

CHUNKS_PER_FILE = 500
WORDS_PER_CHUNK = 150
NUM_WORDS = 200_000
"""In the vocabulary."""
ZIPF_EXPONENT = 1.07
"""Of the frequencies of words in English text."""
NUM_CLUSTERS = 1000
NUM_QUERIES = 30
"""Of each kind."""
RESULTS = 10


@dataclass(frozen=True)
class Text:
    """Where synthetic text comes from; the same for the same seed."""

    words: NDArray[np.str_]
    cumulative: NDArray[np.float64]
    """Probability of each word and all before it."""
    centers: Vectors

    @classmethod
    def create(cls) -> "Text":
        rng = np.random.default_rng(1)
        syllables = [
            c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u", "an", "er", "is", "om", "ul")
        ]
        words: dict[str, None] = dict.fromkeys(sorted(STOP_WORDS))  # the most frequent ones, as in English
        while len(words) < NUM_WORDS:
            words["".join(rng.choice(syllables, rng.integers(2, 5)))] = None
        weights = 1 / np.arange(1, NUM_WORDS + 1) ** ZIPF_EXPONENT
        centers = rng.standard_normal((NUM_CLUSTERS, VECTOR_DIM)).astype(np.float32)
        return cls(np.array(list(words)), np.cumsum(weights / weights.sum()), centers)

    def sample(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return words with the frequencies of the language."""
        return list(self.words[np.searchsorted(self.cumulative, rng.random(count))])

    def chunks(self, rng: np.random.Generator, count: int) -> list[NewChunk]:
        chunks = []
        for number in range(count):
            words = self.sample(rng, WORDS_PER_CHUNK)
            words[7] = f"INV-{rng.integers(1000, 9999)}-{rng.integers(100, 999)}"
            text = " ".join(words) + "."
            lines = [
                ChunkPart(i, min(i + 90, len(text)), {"page": 1, "box": [0.1, 0.1, 0.9, 0.12]})
                for i in range(0, len(text), 90)
            ]
            chunks.append(NewChunk(text, {"type": "document", "page": number + 1}, lines))
        return chunks

    def vectors(self, rng: np.random.Generator, count: int) -> Vectors:
        vectors = self.centers[rng.integers(0, NUM_CLUSTERS, count)] + rng.standard_normal((count, VECTOR_DIM))
        normalized: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return normalized


def fill(library: Library, text: Text, num_chunks: int) -> None:
    """Add files until the library has so many chunks."""
    stored = library.stats().total_chunks
    while stored < num_chunks:
        rng = np.random.default_rng(stored)
        file_type = FILE_TYPES[0] if rng.random() < 0.7 else FILE_TYPES[int(rng.integers(1, 4))]
        name = f"report {stored}.txt"
        library.add_file(as_media(name.encode()), NewFile(name, name, file_type, "text/plain", "text"))
        job = library.lease_job("benchmark", 3600)
        assert job is not None
        chunks, vectors = text.chunks(rng, CHUNKS_PER_FILE), text.vectors(rng, CHUNKS_PER_FILE)
        library.add_chunks(job.job_id, job.lease, 0, chunks, vectors)
        library.complete_job(job.job_id, job.lease, CHUNKS_PER_FILE)
        stored += CHUNKS_PER_FILE


def queries(text: Text) -> dict[str, Callable[[np.random.Generator], str]]:
    """Return how each kind of query is made."""

    def pick(rng: np.random.Generator, first: int, last: int, count: int) -> str:
        """Return words of these frequency ranks."""
        return " ".join(text.words[rng.integers(first, last, count)])

    return {
        "2 rare words": lambda rng: pick(rng, 20_000, NUM_WORDS, 2),
        "question": lambda rng: pick(rng, 0, 100, 3) + " " + pick(rng, 120, 20_000, 3),
        "1 common word": lambda rng: pick(rng, 120, 140, 1),
        "4 common words": lambda rng: pick(rng, 120, 200, 4),
        "30 words": lambda rng: " ".join(text.sample(rng, 30)),
        "phrase": lambda rng: '"' + pick(rng, 0, 200, 2) + '" ' + pick(rng, 100, 5000, 1),
        "identifier": lambda rng: f"INV-{rng.integers(1000, 9999)}-{rng.integers(100, 999)}",
        "misspelt": lambda rng: pick(rng, 100, 20_000, 1)[:-1] + "q " + pick(rng, 100, 20_000, 1),
    }


def measure(search: Callable[[str, Vectors], object], wanted: Sequence[str], vectors: Vectors) -> tuple[float, float]:
    """Return the median and the 95th percentile of a search, in milliseconds."""
    times = []
    for i, query in enumerate(wanted):
        start = time.perf_counter()
        search(query, vectors[i : i + 1])
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def measure_library(folder: Path, text: Text, num_chunks: int) -> Iterator[str]:
    """Yield the lines of the report on a library of so many chunks."""
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    library = Library(LibraryConfig(folder=folder))
    opened_s = time.perf_counter() - start
    try:
        missing = num_chunks - library.stats().total_chunks
        start = time.perf_counter()
        fill(library, text, num_chunks)
        if missing > 0:
            yield f"  stored {missing / (time.perf_counter() - start):.0f} chunks a second"
        else:
            yield f"  opened in {opened_s:.1f} s"
        rng = np.random.default_rng(7)
        vectors = text.vectors(rng, NUM_QUERIES)
        with library._database.reading() as session:
            floor = measure(
                lambda _, vector: library._vectors.search(session, vector, FILE_TYPES, 100), [""] * NUM_QUERIES, vectors
            )
        yield f"  {'FAISS alone':18} p50 {floor[0]:7.1f} ms   p95 {floor[1]:7.1f} ms"
        everything: list[str] = []
        for kind, make in queries(text).items():
            wanted = [make(rng) for _ in range(NUM_QUERIES)]
            everything += wanted

            def search(query: str, vector: Vectors) -> object:
                return library.search(SearchRequest(query, RESULTS), vector, Cancellation(time.time() + 600))

            median, p95 = measure(search, wanted, vectors)
            yield f"  {kind:18} p50 {median:7.1f} ms   p95 {p95:7.1f} ms"
        memory = (process.memory_info().rss - before) / MEGABYTE
        size = library.stats().size_bytes / MEGABYTE
        yield f"  memory {memory:.0f} MB more than before it was opened; {size:.0f} MB on the disk"
    finally:
        library.close()


def latency(sizes: Sequence[int], folder: Path) -> None:
    text = Text.create()
    for num_chunks in sizes:
        sys.stdout.write(f"{num_chunks} chunks\n")
        for line in measure_library(folder / str(num_chunks), text, num_chunks):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def main(arguments: Sequence[str] | None = None, prog: str = "prism benchmark search latency") -> int:
    """Measure and write tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="numbers of chunks")
    parser.add_argument("--folder", type=Path, help="keep the libraries here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        latency(options.sizes, options.folder or Path(temporary))
    return 0
