"""Writes a safetensors file tensor by tensor. The library's own writer needs all tensors in memory at once."""

import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from filelock import FileLock
from torch import Tensor

DTYPES = {"I8": torch.int8, "F32": torch.float32}


class SafetensorsWriter:
    """A context manager; inside, `write` must be called once for each tensor of `layout`, in any order.

    `layout` holds the shape and type (a key of DTYPES) of each tensor. The file appears at `path` only when the context
    ends without an exception. Raises OSError if it cannot be written, or if another process is writing it.
    """

    def __init__(self, path: Path, layout: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self._path = path
        self._partial_path = path.with_suffix(".part")
        self._lock = FileLock(path.with_suffix(".lock"), blocking=False)
        self._layout = layout
        self._missing = set(layout)
        self._offsets: dict[str, int] = {}
        header: dict[str, dict[str, object]] = {}
        end = 0
        for key, (shape, dtype) in layout.items():
            begin, end = end, end + torch.Size(shape).numel() * DTYPES[dtype].itemsize
            self._offsets[key] = begin
            header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        self._header = struct.pack("<Q", len(text)) + text

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._file = self._partial_path.open("wb")
            self._file.write(self._header)
        except BaseException:
            self._lock.release()
            raise
        return self

    def write(self, key: str, tensor: Tensor) -> None:
        shape, dtype = self._layout[key]
        stored = tensor.detach().to(DTYPES[dtype]).reshape(shape).contiguous()
        self._file.seek(len(self._header) + self._offsets[key])
        self._file.write(stored.numpy().data.cast("B"))
        self._missing.discard(key)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_complete = error is None and not self._missing
        try:
            if is_complete:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._partial_path.replace(self._path)
        finally:
            with suppress(OSError):  # closing flushes, which fails on a full disk; the partial file is deleted below
                self._file.close()
            self._partial_path.unlink(missing_ok=True)
            self._lock.release()
        if error is None and not is_complete:
            raise ValueError(f"{self._path} was not written: tensor {min(self._missing)} is missing.")
