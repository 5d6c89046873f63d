"""Samples handed from process to process through files in memory, of which only a number is sent.

A loader process may die at any moment. What it then wrote into a pipe may end in the middle, and a reader of the rest
waits for good; a single byte has come or it has not. The files are no part of /dev/shm, which containers keep small
(docker: 64 MiB), and are used again and again, because a page of memory costs more to get than to fill.

Example: `((3, 17), Sample(inputs={"pixel_values": …}))` becomes

    byte 0: 412 and 3 686 848, the lengths of the pickle and of all that follows
    byte 16: the pickle, with `(torch.float32, (1, 3, 480, 640), 0)` in the place of the tensor
    byte 448: the values of the tensor, at offset 0 of all tensors' values
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
import sys
import tempfile
import time
from typing import Any, TypeAlias

import torch
from torch import Tensor

ALIGNMENT = 64
"""Tensors begin at multiples of it, which is enough for every dtype."""

KEPT_BYTES = 32 * 2**20
"""A file that has grown larger gives its memory back when it has been read."""

HEADER = struct.Struct("<qq")

Place: TypeAlias = tuple[torch.dtype, tuple[int, ...], int]
"""What stands for a tensor: its dtype, its shape, and its offset among all tensors' values."""


class SharedFiles:
    """So many files, made before a process is forked: the process writes them, and this one reads them.

    >>> number = files.write(item)  # in the process; waits for a file that has been read
    >>> item = files.read(number)   # in this one
    """

    def __init__(self, number: int) -> None:
        self._files = [_memory_file() for _ in range(number)]
        self._unread = memoryview(mmap.mmap(-1, number))

    def write(self, item: object) -> int:
        """The number of the file that holds the item now; raises `OSError` where there is no memory for it."""
        pickled = io.BytesIO()
        pickler = _Pickler(pickled)
        pickler.dump(item)
        length = len(pickled.getbuffer())
        start = _aligned(HEADER.size + length)
        number = self._unused()
        file = self._files[number]
        _write(file, HEADER.pack(length, start + pickler.length) + pickled.getbuffer(), 0)
        for offset, values in pickler.tensors:
            _write(file, values.numpy().data, start + offset)
        self._unread[number] = 1
        return number

    def read(self, number: int) -> Any:
        """The item in a file, whose tensors share one block of memory; the file is free to be written again."""
        file = self._files[number]
        length, size = HEADER.unpack(os.pread(file, HEADER.size, 0))
        block = torch.empty(size, dtype=torch.uint8)
        _read(file, block.numpy().data)
        if size > KEPT_BYTES:
            os.ftruncate(file, 0)
        self._unread[number] = 0
        end = HEADER.size + length
        return _Unpickler(io.BytesIO(block[HEADER.size : end].numpy().data), block[_aligned(end) :]).load()

    def close(self) -> None:
        """Give the memory back, which processes that were forked later may hold too."""
        for file in self._files:
            os.ftruncate(file, 0)
            os.close(file)
        self._files.clear()

    def _unused(self) -> int:
        while all(self._unread):
            time.sleep(0.001)
        return bytes(self._unread).index(0)


class _Pickler(pickle.Pickler):
    """Leaves the values of tensors out, which are many."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.tensors: list[tuple[int, Tensor]] = []
        self.length = 0

    def persistent_id(self, item: object) -> Place | None:
        """A tensor's place; None for anything else, which is pickled as it is."""
        if not isinstance(item, Tensor):
            return None
        values = item.contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
        offset, self.length = self.length, _aligned(self.length + len(values))
        self.tensors.append((offset, values))
        return item.dtype, tuple(item.shape), offset


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, values: Tensor) -> None:
        super().__init__(file)
        self._values = values

    def persistent_load(self, place: Place) -> Tensor:
        dtype, shape, offset = place
        length = torch.Size(shape).numel() * dtype.itemsize
        return self._values[offset : offset + length].view(dtype).view(shape)


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _memory_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("sample")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(file: int, values: memoryview | bytes, offset: int) -> None:
    view = memoryview(values)
    while view:  # one call writes 2 GiB at most (write(2))
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _read(file: int, view: memoryview) -> None:
    offset = 0
    while view:
        read = os.preadv(file, [view], offset)
        if not read:  # what aligns the end was not written
            return
        view, offset = view[read:], offset + read
