"""Text files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from isometry.errors import ArgumentError

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], text: str, what: str) -> None:
    """Write a text to a temporary name beside its place, and rename it.

    Raises:
        ArgumentError: `what` cannot be written there; nothing is left behind.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a name must not outlive a power cut that its bytes do not
        os.replace(temporary, target)
    except OSError as error:
        raise ArgumentError(f"{what} cannot be written to {target}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
