"""Bytes on their way to a disk: room for a whole file, and large writes that go past the page cache.

Written the ordinary way, a checkpoint first fills the page cache: fresh memory for every byte, a copy
of it, and other people's files pushed out. Whole pages of a piece are therefore given to the disk as
they are (O_DIRECT); what is left at its two ends, and everything where a file system knows no such
thing, goes the ordinary way. The two never meet in one page.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["Run", "page_aligned", "reserve", "running", "write_all"]

PAGE = max(4096, mmap.PAGESIZE)
WORTH_IT = 1 << 20  # bytes: less is faster through the cache


def page_aligned(size: int) -> NDArray[np.uint8]:
    """Memory for a piece of this size that begins at any place in a page."""
    return np.frombuffer(mmap.mmap(-1, size + PAGE), dtype=np.uint8)


def reserve(file: BinaryIO, size: int) -> None:
    """Room for all of a file, so that a disk that is too full is found before anything is made."""
    file.truncate(size)
    if hasattr(os, "posix_fallocate"):  # not on macOS or Windows
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
                raise


def write_all(file: BinaryIO, data: Any) -> None:
    """All of it: the system may write less than it is asked to."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


class Run:
    """Pieces written one after another from a place in a file on."""

    def __init__(self, file: BinaryIO, direct: BinaryIO | None, start: int) -> None:
        self.at = start
        self._file, self._direct = file, direct

    def room(self, memory: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of page-aligned memory that lies in its pages as the next piece does in the file."""
        return memory[self.at % PAGE :]

    def write(self, data: NDArray[np.uint8]) -> None:
        """Write the next piece."""
        head = min(-self.at % PAGE, data.size)
        body = (data.size - head) // PAGE * PAGE
        aligned = (data.ctypes.data + head) % PAGE == 0
        if self._direct is None or body < WORTH_IT or not aligned:
            self._put(self._file, data)
            return
        self._put(self._file, data[:head])
        left = data[head : head + body]
        try:
            left = left[self._put_some(self._direct, left) :]
        except OSError as error:
            if error.errno != errno.EINVAL:  # it opens such files and does not write them
                raise
            self._direct = None
        self._put(self._file, left)
        self._put(self._file, data[head + body :])

    def _put(self, file: BinaryIO, data: NDArray[np.uint8]) -> None:
        while data.size:
            data = data[self._put_some(file, data) :]

    def _put_some(self, file: BinaryIO, data: NDArray[np.uint8]) -> int:
        file.seek(self.at)
        count = file.write(data.data)
        self.at += count
        return count


@contextmanager
def running(path: Path, start: int) -> Iterator[Run]:
    """A run in a file that exists, opened for this one alone."""
    with open(path, "r+b", buffering=0) as file:
        direct = _open_direct(path)
        try:
            yield Run(file, direct, start)
        finally:
            if direct is not None:
                direct.close()


def _open_direct(path: Path) -> BinaryIO | None:
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return open(
            path, "r+b", buffering=0, opener=lambda p, flags: os.open(p, flags | os.O_DIRECT)
        )
    except OSError:  # such as a file system in memory
        return None
