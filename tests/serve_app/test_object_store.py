import asyncio
import logging
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError
from starlette.testclient import TestClient

from deployments.errors import ProcessingFailed, StorageFull
from deployments.media import Media
from serve_app import object_store
from serve_app.object_store import LARGE_BYTES, in_object_store
from tests.serve_app.fakes import FakeGraph


@contextmanager
def array_in(folder: Path) -> Iterator[Media]:
    """A large array without a zero, in a file of the folder."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"1" * LARGE_BYTES)
        file.flush()
        yield np.frombuffer(mmap.mmap(file.fileno(), LARGE_BYTES), np.uint8)


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Media]:
    """What the object store has, whatever is put into it."""
    with array_in(Path("/dev/shm")) as array:
        monkeypatch.setattr(ray, "put", lambda media: "reference")
        monkeypatch.setattr(ray, "get", lambda reference: array)
        yield array


async def share(media: Media, error: BaseException | None = None, **options: Any) -> None:
    async with in_object_store(media, **options) as reference:
        assert cast(Any, reference) == "reference"
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [None, RuntimeError("failed"), asyncio.CancelledError()])
def test_the_memory_of_the_copy_is_freed_after_the_block(copy: Media, error: BaseException | None) -> None:
    with suppress(RuntimeError, asyncio.CancelledError):
        asyncio.run(share(np.ones(8, np.uint8), error))
    assert not copy.any()


@pytest.mark.parametrize("error", [RuntimeError("failed"), asyncio.CancelledError()])
def test_what_a_call_that_was_given_up_may_store_is_not_freed(copy: Media, error: BaseException) -> None:
    with pytest.raises(type(error)):
        asyncio.run(share(np.ones(8, np.uint8), error, free_after_failure=False))
    assert copy.all()
    asyncio.run(share(np.ones(8, np.uint8), free_after_failure=False))
    assert not copy.any()


@pytest.mark.parametrize(("folder", "left"), [("/dev/shm", 0), (None, LARGE_BYTES)])
def test_media_from_shared_memory_are_freed_and_what_ray_put_on_disk_is_left_to_it(
    copy: Media, tmp_path: Path, folder: str | None, left: int
) -> None:
    with array_in(Path(folder or tmp_path)) as media:
        asyncio.run(share(media))
        assert np.count_nonzero(media) == left


def test_private_memory_is_left_alone(copy: Media) -> None:
    media = np.ones(LARGE_BYTES, np.uint8)
    asyncio.run(share(media))
    assert media.all()


def test_a_failure_to_free_is_logged(
    copy: Media, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ray, "get", lambda reference: np.zeros(LARGE_BYTES, np.uint8))
    monkeypatch.setattr(object_store, "mapped_file", lambda address: "/dev/shm/plasma")
    with caplog.at_level(logging.ERROR):
        asyncio.run(share(np.ones(8, np.uint8)))
    assert "could not be given back" in caplog.text


@pytest.mark.parametrize("error", [ObjectStoreFullError("full"), OutOfDiskError("full")])
def test_a_full_store_is_storage_full(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def put(media: Media) -> None:
        raise error

    monkeypatch.setattr(ray, "put", put)
    with pytest.raises(StorageFull):
        asyncio.run(share(np.ones(8, np.uint8)))


@pytest.mark.parametrize("error", [None, ProcessingFailed("failed")])
def test_each_routes_file_is_freed(
    client: TestClient, graph: FakeGraph, png: bytes, png_base64: str, error: Exception | None
) -> None:
    graph.captioner.error = error
    client.post("/api/analyze/image", files={"image": png})
    assert len(graph.freed) == len(graph.uploads) == 1
    client.post("/api/analyze/batch", json={"files": [{"type": "image", "data": png_base64}] * 2})
    assert len(graph.freed) == len(graph.uploads) == 3
