"""dieharder on the words of 10,000 interleaved streams: block 0 of each, block 1 of each, ..."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from typing import IO

import numpy as np

from isometry.stream import words

COUNT, BLOCKS = 10_000, 512
# One or two of each family: `dieharder -l` names them.
QUICK = [0, 2, 8, 13, 15, 100, 101, 102, 204, 206]


def main(quick: bool = False) -> bool:
    """Print dieharder's table; True where no test failed. A "weak" comes once in 200 tests."""
    program = shutil.which("dieharder")
    if program is None:
        print("dieharder is missing: apt-get install dieharder")
        return False
    runs = [["-d", str(test)] for test in QUICK] if quick else [["-a"]]
    good = True
    for which in runs:
        command = [program, "-g", "200", *which]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
        ) as tests:
            assert tests.stdin is not None
            assert tests.stdout is not None
            threading.Thread(target=feed, args=(tests.stdin,), daemon=True).start()
            for line in tests.stdout:
                text = line.decode().rstrip()
                if any(word in text for word in ("PASSED", "WEAK", "FAILED")):
                    print(text, flush=True)
                    good = good and "FAILED" not in text
    return good


def feed(pipe: IO[bytes]) -> None:
    """Write words until nobody reads."""
    with contextlib.suppress(BrokenPipeError):
        for first in range(0, 2**62, 4 * BLOCKS):
            some = np.empty((BLOCKS, COUNT, 4), dtype=np.uint32)
            for i in range(COUNT):
                stop = first + 4 * BLOCKS
                some[:, i] = words(0, f"layers.{i}.weight", first, stop).reshape(BLOCKS, 4)
            pipe.write(some.tobytes())
