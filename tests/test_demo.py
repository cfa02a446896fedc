"""`make demo` shows what it says: a fault, its fix, and a network that learns."""

import re
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


def test_the_demo_diagnoses_initialises_and_learns(tmp_path: Path) -> None:
    picture = tmp_path / "demo.png"
    command = [sys.executable, "-W", "error", str(DEMO), "--steps", "120", "--picture", picture]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    sick, healthy = out.index("Sequential is not healthy"), out.index("Sequential is healthy")
    assert sick < healthy
    diagnosis = out[sick:healthy]
    assert "error ISO201 vanishing-signal" in diagnosis
    assert re.search(r"signal × 0\.\d+ a layer over \d+ layers", diagnosis)
    assert "iso.initialize(model" in diagnosis

    (stuck, learning) = [
        (float(first), float(last))
        for first, last in re.findall(r"^loss (\d\.\d+) -> (\d\.\d+)", out, re.M)
    ]
    assert abs(stuck[1] - stuck[0]) < 0.05  # ln 10, as before
    assert learning[1] < learning[0] - 0.3

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in out
    assert max(len(line) for line in out.splitlines() if str(picture) not in line) <= 100
