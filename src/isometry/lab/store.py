"""Cells of an experiment, each computed once and kept in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isometry.errors import ArgumentError
from isometry.types._files import write_whole

__all__ = ["Store", "Watch"]

T = TypeVar("T")
Watch = Callable[[str, int, int | None], None]  # a cell's key, how many are done, of how many


class Store:
    """A dict of JSON values in a file, written whole after every new cell; in memory without one.

    Args:
        path: of the file; made with its folder when the first cell is computed.
        watch: told of each cell before it is computed: its key, how many were asked for before it,
            and of how many where `expect` was told.

    Raises:
        ArgumentError: the file is there and is not a store's.
    """

    def __init__(self, path: Path | None = None, watch: Watch | None = None) -> None:
        self.path = path
        self.cells: dict[str, object] = {}
        self._watch, self._asked = watch, 0
        self._expected: int | None = None
        if path is not None and path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ArgumentError(f"{path} cannot be read: {error}; move it away") from error
            if not isinstance(found, dict):
                raise ArgumentError(f"{path} is not what the lab writes; move it away")
            self.cells = found

    def expect(self, cells: int) -> None:
        """Say how many cells will be asked for."""
        self._expected = cells

    def get(self, key: str, compute: Callable[[], T]) -> T:
        """The cell of that key; `compute` is called where there is none yet.

        What it returns is what JSON keeps of it: lists for tuples, text for keys.
        """
        if self._watch is not None:
            self._watch(key, self._asked, self._expected)
        self._asked += 1
        if key not in self.cells:
            self.cells[key] = json.loads(json.dumps(compute()))
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.path, json.dumps(self.cells, indent=0), "the experiment's cells")
        return self.cells[key]  # type: ignore[return-value]
