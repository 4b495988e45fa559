"""Ray's object store: memory that all processes of the graph share.

Ray reuses the memory of an object that is gone, but does not return it to the system, so that is done here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from deployments.errors import StorageFull
from deployments.log import logger
from deployments.malloc import free_shared_pages
from deployments.media import Media
from serve_app.remote_service import STORAGE_FULL

SHARED_MEMORY = "/dev/shm/"
"""Where Ray keeps objects."""
LARGE_BYTES = 1024 * 1024
"""The memory of smaller objects is left to the next ones."""


@asynccontextmanager
async def in_object_store(media: Media, *, free_after_failure: bool = True) -> AsyncIterator[Media]:
    """Copy media into the object store for the block, and yield a reference; raises StorageFull.

    `media` must not be read any more, because its memory is freed if it was in the object store itself. That of the
    copy is freed after the block. With `free_after_failure=False` it is left to Ray if the block raises: a call that
    was given up may still read it, which matters if it stores what it reads.

    The reference is typed as Media, because Ray replaces it by the array in the process that is called.
    """
    reference = await _put(media)
    await _free(media)
    del media
    shared = cast(Media, reference)
    if not free_after_failure:
        yield shared
        await _free_object(reference)
        return
    try:
        yield shared
    finally:
        await _free_object(reference)


async def _put(media: Media) -> "ray.ObjectRef[Media]":
    """In a thread, because copying 100 MB would delay other requests noticeably."""
    try:
        return await asyncio.to_thread(ray.put, media)
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise StorageFull(STORAGE_FULL) from error


async def _free_object(reference: "ray.ObjectRef[Media]") -> None:
    try:
        media = await asyncio.to_thread(ray.get, reference)  # a view of the shared memory
    except Exception:
        logger.exception("The memory of a file could not be given back to the system")
    else:
        await _free(media)


async def _free(media: Media) -> None:
    """Return the memory of media to the system if it is in the object store.

    A failure costs nothing but memory, so it is logged.
    """
    if media.nbytes < LARGE_BYTES:
        return
    try:
        # Where shared memory is too small, Ray puts an object into a file on disk, and deletes that with the object.
        if mapped_file(media.ctypes.data).startswith(SHARED_MEMORY):
            await asyncio.to_thread(free_shared_pages, media)
    except Exception:
        logger.exception("The memory of a file could not be given back to the system")


def mapped_file(address: int) -> str:
    """Return the file that is mapped at this address of the process; empty if none is."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(bound, 16) for bound in fields[0].split("-"))
        if start <= address < end:
            return fields[5] if len(fields) > 5 else ""
    return ""
