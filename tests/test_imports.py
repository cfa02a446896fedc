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


def test_this_test_can_fail() -> None:
    assert loaded_by("import isometry, rich.console") == {"rich"}
