"""A progress bar for work that turns out to take long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["track"]

T = TypeVar("T")
PATIENCE = 1.0  # seconds before a bar is shown


def track(items: Iterable[tuple[T, int]], label: str, total: int) -> Iterator[T]:
    """Yield each item; after a second, show how much of `total` is done, on a terminal's stderr.

    Args:
        items: (item, size) pairs; the sizes sum to total.
        label: what is being done.
        total: in the sizes' unit.
    """
    started, done = time.monotonic(), 0
    progress = None
    try:
        for item, size in items:
            if progress is None and sys.stderr.isatty() and time.monotonic() - started > PATIENCE:
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TimeRemainingColumn

                progress = Progress(
                    "{task.description}", BarColumn(), "{task.percentage:>3.0f}%", TimeRemainingColumn(),
                    console=Console(stderr=True), transient=True,
                )  # fmt: skip
                progress.start()
                progress.add_task(label, total=total, completed=done)
            yield item
            done += size
            if progress is not None:
                progress.update(progress.task_ids[0], completed=done)
    finally:
        if progress is not None:
            progress.stop()
