import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.malloc import free_shared_pages

NUM_BYTES = 40 * mmap.PAGESIZE


@pytest.fixture
def shared() -> Iterator[tuple[NDArray[np.uint8], Path]]:
    """An array of ones in shared memory, and its file."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        os.truncate(file.name, NUM_BYTES)
        array = np.frombuffer(mmap.mmap(file.fileno(), NUM_BYTES), np.uint8)
        array[:] = 1
        yield array, Path(file.name)


def allocated_pages(path: Path) -> int:
    return path.stat().st_blocks * 512 // mmap.PAGESIZE


def test_shared_memory_is_returned_to_the_system(shared: tuple[NDArray[np.uint8], Path]) -> None:
    array, path = shared
    assert allocated_pages(path) == 40
    free_shared_pages(array)
    assert allocated_pages(path) == 0
    assert not array.any()


def test_only_whole_pages_of_the_array_are_returned(shared: tuple[NDArray[np.uint8], Path]) -> None:
    array, path = shared
    free_shared_pages(array[10:-10])
    assert allocated_pages(path) == 2
    assert array[: mmap.PAGESIZE].all()
    assert array[-mmap.PAGESIZE :].all()
    free_shared_pages(array[5:100])
    assert array[:100].all()


def test_memory_that_is_not_shared_is_an_error() -> None:
    array = np.ones(NUM_BYTES, np.uint8)
    with pytest.raises(OSError, match="Invalid argument|Permission denied"):
        free_shared_pages(array)
    assert array.all()
