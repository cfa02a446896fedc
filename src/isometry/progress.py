"""Progress bars for work that turns out to take long: on a terminal, after a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["track", "transferring"]

T = TypeVar("T")
PATIENCE = 1.0  # seconds before a bar is shown


def track(items: Iterable[tuple[T, int]], label: str, total: int) -> Iterator[T]:
    """Yield each item; after a second, show how much of `total` is done, on a terminal's stderr.

    Args:
        items: (item, size) pairs; the sizes sum to total.
        label: what is being done.
        total: in the sizes' unit.
    """
    with _bar(label, total, _share) as advance:
        for item, size in items:
            advance(0)
            yield item
            advance(size)


@contextmanager
def transferring(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """What to call with every count of bytes that is done, from any thread; after a second a bar
    shows how many there are, how fast they come and how long it will take.

    Args:
        label: what is being done.
        total: bytes.
    """
    with _bar(label, total, _speed) as advance:
        yield advance


@contextmanager
def _bar(
    label: str, total: int, columns: Callable[[], tuple[Any, ...]]
) -> Iterator[Callable[[int], None]]:
    started, done, lock = time.monotonic(), 0, threading.Lock()
    progress: Any = None

    def advance(count: int) -> None:
        nonlocal done, progress
        with lock:
            if progress is None and sys.stderr.isatty() and time.monotonic() - started > PATIENCE:
                from rich.console import Console
                from rich.progress import Progress

                progress = Progress(*columns(), console=Console(stderr=True), transient=True)
                progress.start()
                progress.add_task(label, total=total, completed=done)
            done += count
            if progress is not None:
                progress.update(progress.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if progress is not None:
            progress.stop()


def _share() -> tuple[Any, ...]:
    from rich.progress import BarColumn, TimeRemainingColumn

    return "{task.description}", BarColumn(), "{task.percentage:>3.0f}%", TimeRemainingColumn()


def _speed() -> tuple[Any, ...]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    return (
        "{task.description}", BarColumn(), "{task.percentage:>3.0f}%", DownloadColumn(),
        TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
