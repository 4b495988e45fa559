"""The memory of the server's processes: their proportional share (PSS), in which shared pages count once.

Pages of files, such as libraries, are counted apart. The kernel can drop them, and any other program that uses the same
files takes a share of them while it runs. What a server keeps by mistake is never among them.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deployments.units import MEGABYTE
from tests.endurance.server import Server

PERIOD_S = 1.0


@dataclass(frozen=True)
class Sample:
    """The memory at one moment, in MB."""

    num_done: int
    """Requests that were done by then."""
    pss: Mapping[str, float]
    """By the name of the process; processes of one name are added up."""
    file_pss: float
    """The part of all of it that is pages of files."""
    num_files: int
    """File descriptors of all processes."""
    num_threads: int

    @property
    def total(self) -> float:
        return sum(self.pss.values())

    @property
    def own(self) -> float:
        """What nobody else can free: the total without the pages of files."""
        return self.total - self.file_pss


class MemorySampler:
    """Takes samples in a thread of its own, for as long as the block lasts."""

    def __init__(
        self, server: Server, num_done: Callable[[], int], period_s: float = PERIOD_S, file: Path | None = None
    ) -> None:
        """Each sample is also appended to `file`, a line of JSON, for whoever looks for a leak."""
        self._period_s = period_s
        self._file = file
        self.samples: list[Sample] = []
        self._server = server
        self._num_done = num_done
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._period_s):
            sample = take_sample(self._server.processes(), self._num_done())
            self.samples.append(sample)
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps(asdict(sample)) + "\n")


def take_sample(processes: Sequence[psutil.Process], num_done: int) -> Sample:
    pss: dict[str, float] = defaultdict(float)
    file_pss, num_files, num_threads = 0.0, 0, 0
    for process in processes:
        try:
            name, figures = _name_of(process), _rollup(process.pid)
            num_files += process.num_fds()
            num_threads += process.num_threads()
        except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        pss[name] += figures.get("Pss", 0.0)
        file_pss += figures.get("Pss_File", 0.0)
    return Sample(num_done, dict(pss), file_pss, num_files, num_threads)


def _rollup(pid: int) -> dict[str, float]:
    """Return the figures of a process in MB: see smaps_rollup in proc_pid_smaps(5)."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        lines = [line.split() for line in file]
    return {line[0].rstrip(":"): int(line[1]) * 1024 / MEGABYTE for line in lines if line[-1] == "kB"}


def _name_of(process: psutil.Process) -> str:
    """Return a short name: that of Ray's worker, of the program, or of the module that Python runs."""
    words = process.cmdline()
    if not words:
        raise psutil.ZombieProcess(process.pid)
    title = words[0]
    if title.startswith(("ray::", "ray-")):
        return title.split(" (")[0].split(".")[0].strip()  # without the method that it runs now
    if "deployments.sandbox.server" in words:
        return f"sandbox {words[-1].removeprefix('deployments.')}"
    scripts = [word for word in words[1:] if word.endswith(".py") or "." in word and "/" not in word]
    if "python" in title.rpartition("/")[2] and scripts:
        return scripts[0].rpartition("/")[2]
    return title.rpartition("/")[2]


def by_tenths(samples: Sequence[Sample], num_requests: int) -> list[list[Sample]]:
    """Return the samples of each tenth of the requests."""
    result: list[list[Sample]] = [[] for _ in range(10)]
    for sample in samples:
        result[min(9, sample.num_done * 10 // num_requests)].append(sample)
    return result


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
