"""What is written piece by piece lies on the disk as one, whether it went past the cache or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isometry.checkpoint import disk


@pytest.mark.parametrize("worth_it", [disk.PAGE, 1 << 40], ids=["direct", "cached"])
def test_pieces_of_any_size_from_any_place(
    worth_it: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "WORTH_IT", worth_it)
    random = np.random.default_rng(0)
    path = tmp_path / "file"
    memory = disk.page_aligned(10 * disk.PAGE)
    past_the_cache = 0
    for _ in range(100):
        before = random.integers(0, 256, random.integers(1, 40 * disk.PAGE), dtype=np.uint8)
        path.write_bytes(before.tobytes())
        expected = before.copy()
        start = int(random.integers(0, before.size))
        with disk.running(path, start) as run:
            if worth_it == disk.PAGE and run._direct is None:
                pytest.skip("this file system cannot be written past its cache")
            while run.at < before.size and random.random() < 0.9:
                size = min(int(random.integers(0, 10 * disk.PAGE)), before.size - run.at)
                piece = run.room(memory)[:size]
                assert (piece.ctypes.data - run.at) % disk.PAGE == 0 or not size
                piece[...] = random.integers(0, 256, size, dtype=np.uint8)
                expected[run.at : run.at + size] = piece
                past_the_cache += size >= worth_it + 2 * disk.PAGE
                run.write(piece)
        assert path.read_bytes() == expected.tobytes()
    assert past_the_cache > 100 or worth_it > disk.PAGE


def test_memory_that_does_not_lie_as_the_file_does(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, 3 << 20, dtype=np.uint8)
    (tmp_path / "file").write_bytes(bytes(data.size + 5))
    for shift in (0, 1, 7):
        with disk.running(tmp_path / "file", 5) as run:
            run.write(np.concatenate([np.zeros(shift, np.uint8), data])[shift:])
        assert (tmp_path / "file").read_bytes()[5:] == data.tobytes()
