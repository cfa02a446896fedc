"""Who draws: the compiled kernel where it was built, NumPy otherwise. Their bits are the same.

The environment variable ISOMETRY_ISA forces one: avx512, avx2, portable, or numpy.
ISOMETRY_HUGE_PAGES=0 leaves the pages of fresh memory to the system.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError, BackendError
from isometry.stream import _numpy
from isometry.stream.draws import Draw
from isometry.stream.index import Dim
from isometry.stream.keys import StreamKey
from isometry.types import Law

__all__ = ["Backend", "advise_huge_pages", "backend", "chosen", "thread_count"]

ISA = "ISOMETRY_ISA"
HUGE_PAGES = "ISOMETRY_HUGE_PAGES"


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to draw, and why it was chosen."""

    kernel: str | None  # the compiled kernel's instruction set; None is NumPy
    why: str

    def element_words(self, key: StreamKey, start: int, stop: int) -> NDArray[np.uint32]:
        """The words of elements [start, stop)."""
        if self.kernel is None:
            return _numpy.element_words(key, start, stop)
        found: NDArray[np.uint32] = _module().element_words(key, start, stop, self.kernel)
        return found

    def elementwise(
        self,
        how: Draw,
        key: StreamKey,
        dims: Sequence[Dim],
        shape: Sequence[int],
        dtype: str,
        out: NDArray[Any],
        threads: int,
    ) -> None:
        """Write one value for each position of `dims` in a tensor of this shape."""
        if self.kernel is None:
            _numpy.elementwise(how, key, dims, shape, dtype, out)
        else:
            _module().elementwise(how, key, dims, shape, dtype, out, self.kernel, threads)

    def whole(
        self, law: Law, name: str, seed: int, dtype: str, address: int, count: int, threads: int
    ) -> bool:
        """All of a contiguous tensor, if the compiled kernel can: see `_native.whole`."""
        return self.kernel is not None and bool(
            _module().whole(law, name, seed, dtype, address, count, self.kernel, threads)
        )


@cache
def _found() -> tuple[Any, str]:
    """The compiled kernel's module, or None and why there is none."""
    try:
        from isometry.stream import _native
    except ImportError as error:
        if find_spec("isometry.stream._kernel") is None:
            return None, "isometry was installed without its compiled kernel"
        return None, f"isometry's compiled kernel does not load ({error})"
    return _native, ""


def _module() -> Any:
    return _found()[0]


def backend(name: str | None = None) -> Backend:
    """The backend of this name; of None, the fastest there is. Chosen once, at first use.

    Raises:
        ArgumentError: the name is not "native", "numpy" or None.
        BackendError: "native", or ISOMETRY_ISA, asks for what is not there.
    """
    if name not in (None, "numpy", "native"):
        raise ArgumentError(f'backend={name!r}: expected None, "native" or "numpy"')
    return chosen(name)


@cache
def chosen(name: str | None) -> Backend:
    """`backend`, of a name that is one."""
    forced = os.environ.get(ISA, "").strip().lower()
    if name == "numpy":
        return Backend(None, "asked for")
    native = _module()
    if native is None:
        return _without_kernel(name, forced)
    if forced == "numpy" and name is None:
        return Backend(None, f"{ISA}=numpy")
    if forced in native.kernels:
        return Backend(forced, f"{ISA}={forced}")
    if forced not in ("", "numpy"):
        raise BackendError(
            f"{ISA}={forced}: this processor runs {', '.join(native.kernels)} and numpy; "
            f"write one of them, or unset {ISA}"
        )
    return Backend(native.kernels[0], "the fastest that this processor runs")


def _without_kernel(name: str | None, forced: str) -> Backend:
    _, reason = _found()
    build = "with a C++17 compiler, pip install --force-reinstall --no-deps isometry builds it"
    if name == "native" or forced not in ("", "numpy"):
        asked = 'backend="native"' if name == "native" else f"{ISA}={forced}"
        raise BackendError(
            f'{asked}: {reason}; {build}; or write backend="numpy", which gives the same bits'
        )
    if forced == "numpy":
        return Backend(None, f"{ISA}=numpy")
    warnings.warn(
        f"{reason}: NumPy draws the same bits, many times slower; {build}; {ISA}=numpy says "
        "that this is meant",
        RuntimeWarning,
        stacklevel=4,
    )
    return Backend(None, reason)


def advise_huge_pages(memory: NDArray[Any]) -> bool:
    """Ask for huge pages under fresh memory. True where the system took the advice.

    ISOMETRY_HUGE_PAGES=0 does not ask: a virtual machine that gives freed memory back to its host
    may get small pages sooner.
    """
    native = _module()
    if native is None or os.environ.get(HUGE_PAGES) == "0":
        return False
    return bool(native.advise_huge_pages(memory))


def thread_count(threads: int | None) -> int:
    """How many threads to use: as told, else OMP_NUM_THREADS, else one for each processor."""
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ArgumentError(
                f"threads={threads!r}: expected a positive integer, or None for all processors"
            )
        return min(threads, 256)
    return _default_threads(os.environ.get("OMP_NUM_THREADS", ""))


@cache
def _default_threads(told: str) -> int:
    first = told.split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return min(int(first), 256)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1
