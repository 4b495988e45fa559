"""Returns to the system what memory large uploads leave free: in Ray's object store, the ingress and Serve's proxy.

Ray reuses the memory of an object that is gone, and malloc that of a body, but neither returns it by itself.
"""

import asyncio
import time
from pathlib import Path
from typing import cast

import ray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.log import logger
from deployments.malloc import free_shared_pages, trim_freed_memory
from deployments.media import Media

SHARED_MEMORY = "/dev/shm/"
"""Where Ray keeps objects."""
LARGE_BYTES = 1024 * 1024
"""Smaller uploads leave their memory to the next ones."""


UNPACED_BYTES = 16 * 1024 * 1024
"""How much of a body is read as fast as it comes."""
PACE_BYTES_PER_S = 48 * 1024 * 1024
"""How fast the rest is read: a little slower than the ingress takes it."""


class PaceUploads:
    """A middleware for Serve's proxy: reads large bodies no faster than the ingress takes them.

    The proxy passes a body on when the ingress asks for it, but reads all of it at once, and keeps it meanwhile. It
    does not tell how much of it the ingress has taken, so the pace is a fixed one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes, paced_since = 0, 0.0

        async def receive_in_pace() -> Message:
            nonlocal num_bytes, paced_since
            if num_bytes >= UNPACED_BYTES:
                paced_since = paced_since or time.monotonic()
                due = paced_since + (num_bytes - UNPACED_BYTES) / PACE_BYTES_PER_S
                if due > time.monotonic():
                    await asyncio.sleep(due - time.monotonic())
            message = await receive()
            num_bytes += len(message.get("body", b""))
            return message

        await self._app(scope, receive_in_pace, send)


class GiveBackMemory:
    """A middleware for Serve's proxy: trims its heap after each large upload."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes = 0

        async def receive_and_count() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            return message

        try:
            await self._app(scope, receive_and_count, send)
        finally:
            if num_bytes >= LARGE_BYTES:
                await asyncio.to_thread(trim_freed_memory)


async def give_back_memory(media: Media) -> None:
    """Free a file in the object store and what its upload left in the heap. `media` is the reference to the file.

    Nobody may read the file any more. A failure costs nothing but memory, so it is logged.
    """
    try:
        await asyncio.to_thread(_free, cast("ray.ObjectRef[Media]", media))
    except Exception:
        logger.exception("The memory of an upload could not be given back to the system")


def _free(reference: "ray.ObjectRef[Media]") -> None:
    array = ray.get(reference)  # a view of the shared memory
    if array.nbytes < LARGE_BYTES:
        return
    # Where shared memory is too small, Ray puts an object into a file on disk and deletes that file with the object.
    if mapped_file(array.ctypes.data).startswith(SHARED_MEMORY):
        free_shared_pages(array)
    trim_freed_memory()


def mapped_file(address: int) -> str:
    """Return the file that is mapped at this address of the process; empty if none is."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(bound, 16) for bound in fields[0].split("-"))
        if start <= address < end:
            return fields[5] if len(fields) > 5 else ""
    return ""
