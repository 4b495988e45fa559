"""Uploaded media as it travels through the graph: a 1-D uint8 array.

Ray passes numpy arrays to other processes without copying (mapped read-only from the object store), but copies `bytes`.
So even a 100 MB video is an array all the way from the ingress to the decoder.
"""

import io
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Media = NDArray[np.uint8]
"""The bytes of a file, shape (num_bytes,)."""

Pixels = NDArray[np.uint8]
"""An image or a video frame, shape (height, width, 3), RGB."""


READ_BUFFER_BYTES = 256 * 1024
"""How much libav reads from a file at a time. More than its own default, because in a sandbox each read is a message,
and little enough for seeking."""


def as_media(content: bytes | bytearray | memoryview) -> Media:
    """Return a view of `content`, without copying."""
    return np.frombuffer(content, dtype=np.uint8)


class SeekableReader(io.RawIOBase):
    """A seekable, read-only file object of `num_bytes`; a subclass reads its parts."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._position = 0

    @abstractmethod
    def _read_at(self, start: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `start` on; there are as many."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.num_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"Cannot seek to {start + offset}, before the start.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        num_read = max(0, min(len(buffer), self.num_bytes - self._position))
        if num_read:
            self._read_at(self._position, memoryview(buffer).cast("B")[:num_read])
        self._position += num_read
        return num_read


class MediaReader(SeekableReader):
    """A file object over media, for decoders; copies only what they read."""

    def __init__(self, media: Media) -> None:
        super().__init__(len(media))
        self._view = media.data

    def _read_at(self, start: int, target: memoryview) -> None:
        target[:] = self._view[start : start + len(target)]
