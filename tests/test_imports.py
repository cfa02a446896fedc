"""`import isometry` loads no framework and nothing that only a terminal needs."""

import json
import subprocess
import sys

HEAVY = {"torch", "jax", "keras", "tensorflow", "transformers", "rich", "typer", "matplotlib"}


def loaded_by(statement: str) -> set[str]:
    """The heavy packages in `sys.modules` after a statement, in a fresh interpreter."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stdout))


def test_importing_isometry_loads_nothing_heavy() -> None:
    assert loaded_by("import isometry") == set()


def test_every_public_name_can_be_had_without_anything_heavy() -> None:
    assert loaded_by("from isometry import *") == set()


def test_an_absent_framework_gives_the_line_to_type() -> None:
    for name in ("torch", "keras", "jax"):
        code = f"import sys; sys.modules[{name!r}] = None; import isometry.{name}"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 1
        assert last.startswith("ImportError: isometry.")
        assert f"run: pip install 'isometry[{name}]'" in last


def test_importing_isometry_imports_nothing_of_it_yet() -> None:
    """Not even NumPy: each name is imported when it is first used."""
    code = "import isometry, sys; print([m for m in sys.modules if m.startswith(('isometry.', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_this_test_can_fail() -> None:
    assert loaded_by("import isometry, rich.console") == {"rich"}
