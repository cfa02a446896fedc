"""The floating-point environment that the stream is defined in, whatever the caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from isometry.stream import _kernel
except ImportError:  # not built: nothing here can set it, and NumPy takes what it finds
    _kernel = None  # type: ignore[assignment]

__all__ = ["standard_environment"]


@contextmanager
def standard_environment() -> Iterator[None]:
    """Round to nearest and flush nothing on this thread; afterwards all is as it was."""
    if _kernel is None:
        yield
        return
    found = _kernel.standard_environment()
    try:
        yield
    finally:
        _kernel.restore_environment(found)
