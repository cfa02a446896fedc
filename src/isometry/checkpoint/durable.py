"""Folders and files that are whole or not there, whenever the process or the machine stops."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isometry.errors import ArgumentError

try:
    import fcntl
except ImportError:  # Windows has no such locks: two runs in one folder are then not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["PARTIAL", "own_folder", "publish", "write_text"]

PARTIAL = ".partial"


@contextmanager
def own_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder for this process alone, made where there is none.

    It is locked as long as the context lasts; where that fails, what was made is taken away again
    if it is empty.

    Raises:
        ArgumentError: it cannot be made or written, or another process has it.
    """
    folder = Path(path)
    made = [p for p in (folder, *folder.parents) if not os.path.lexists(p)]
    if os.path.lexists(folder) and not folder.is_dir():
        raise ArgumentError(
            f"{folder} is a file; expected a folder, or a path where one can be made"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(made)
        raise ArgumentError(
            f"the folder {folder} cannot be made: {error.strerror}; write to another path"
        ) from error
    try:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ArgumentError(f"cannot write to {folder}; expected a folder that can be written")
        with _locked(folder):
            yield folder
    except BaseException:
        _remove_empty(made)
        raise


def publish(temporary: Path, final: Path) -> None:
    """Give a complete and synchronised file its name, for good."""
    os.replace(temporary, final)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArgumentError(
                f"another process is writing to {folder}; wait for it, or write to another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)  # and with it the lock


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
