"""The README's Python runs, block after block, as a reader would type it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


def test_there_is_something_to_run() -> None:
    assert BLOCKS, "README.md has no python block"


def test_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a file
    names: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"README.md, block {number}", "exec"), names)


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"(?:tests|benchmarks|docs|examples)/[\w./]+\.\w+", TEXT))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_target_of_make_that_is_named_is_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = set(re.findall(r"^make ([\w-]+)", TEXT, re.M))
    assert {"demo", "test"} <= named <= set(targets)
