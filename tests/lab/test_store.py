"""A store computes each cell once, keeps it on disk at once, and refuses what it did not write."""

import json
from pathlib import Path

import pytest

from isometry.errors import ArgumentError
from isometry.lab.store import Store


def test_a_cell_is_computed_once() -> None:
    store, calls = Store(), []
    for _ in range(3):
        assert store.get("a", lambda: calls.append(1) or len(calls)) == 1
    assert calls == [1]


def test_what_was_done_before_an_interruption_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cells.json"
    first = Store(path)
    first.get("a", lambda: 0.1)

    def interrupted() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.get("b", interrupted)
    second = Store(path)
    assert second.get("a", interrupted) == 0.1
    assert second.get("b", lambda: 0.2) == 0.2
    assert json.loads(path.read_text()) == {"a": 0.1, "b": 0.2}
    assert [p.name for p in path.parent.iterdir()] == ["cells.json"]


def test_a_first_run_and_a_resumed_one_get_the_same_value(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    fresh = Store(path).get("a", lambda: {1: (0.1 + 0.2, None)})
    assert fresh == {"1": [0.30000000000000004, None]}
    assert Store(path).get("a", dict) == fresh


def test_it_tells_of_every_cell_before_it_is_computed() -> None:
    told: list[tuple[str, int, int | None]] = []
    store = Store(None, lambda *what: told.append(what))
    store.get("a", lambda: 1)
    store.expect(3)
    store.get("b", lambda: told.append(("b runs", 0, 0)))
    store.get("a", lambda: 1)
    assert told == [("a", 0, None), ("b", 1, 3), ("b runs", 0, 0), ("a", 2, 3)]


@pytest.mark.parametrize("text", ["[1, 2]", "{", "\udcff"])
def test_a_file_that_is_not_a_stores_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cells.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArgumentError, match=r"cells\.json .*move it away"):
        Store(path)
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
