"""The callbacks' frameworks: imported by nothing else, and named where they are missing."""

import subprocess
import sys

import pytest

FRAMEWORKS = ("lightning", "pytorch_lightning", "transformers")


def printed_by(code: str) -> str:
    """What code prints, in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_nothing_else_imports_a_framework() -> None:
    code = f"import isometry.torch, isometry.torch.callbacks, sys\nprint([n for n in {FRAMEWORKS} if n in sys.modules])"
    assert printed_by(code).strip() == "[]"


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("lightning", "neither lightning nor pytorch_lightning can be imported"),
        ("transformers", "transformers cannot be imported"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(callback: str, said: str) -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({FRAMEWORKS}))  # as if not installed
import isometry
try:
    import isometry.torch.callbacks.{callback}
except isometry.BackendError as error:
    print(error)
"""
    found = printed_by(code)
    assert said in found
    assert "pip install '" in found
