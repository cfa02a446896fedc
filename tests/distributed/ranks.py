"""Run a function on several processes of one machine, joined by gloo, and hear what each answered."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 100  # for one world, from its fork to its last answer: the slowest takes about ten


class Ranks:
    """Worlds of processes. Each call has processes, a process group and a time limit of its own.

    The processes are forks of one that has imported PyTorch and transformers (`nursery.py`), so
    that a world starts in a tenth of a second.
    """

    def __init__(self) -> None:
        self._alone: dict[str, Any] = {}

    def __enter__(self) -> Ranks:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.nursery"],
            cwd=ROOT, env=os.environ | one_thread, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()  # it then ends by itself
        self._nursery.wait(timeout=30)
        assert self._nursery.stdout is not None
        self._nursery.stdout.close()

    def __call__(self, size: int, scenario: Callable[..., Any], **given: Any) -> list[Any]:
        """What each rank returned; the test fails where one raised, hung or died.

        Args:
            size: how many ranks.
            scenario: a function at the top of a module, called on every rank.
            given: its keyword arguments, as JSON can hold them.
        """
        asked = {
            "size": size, "module": scenario.__module__, "function": scenario.__qualname__,
            "given": given, "seconds": SECONDS,
        }  # fmt: skip
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        print(json.dumps(asked), file=self._nursery.stdin, flush=True)
        line = self._nursery.stdout.readline()
        what = f"{scenario.__qualname__}({', '.join(f'{k}={v!r}' for k, v in given.items())})"
        if not line:
            pytest.fail(f"the process that forks the ranks died of {what} on {size} ranks")
        answers = json.loads(line)
        failed = [f"rank {r}: {a['failed']}" for r, a in enumerate(answers) if "failed" in a]
        if failed:
            pytest.fail(f"{what} on {size} ranks\n" + "\n".join(failed), pytrace=False)
        return [answer["returned"] for answer in answers]

    def alone(self, scenario: Callable[..., Any], **given: Any) -> Any:
        """What one process without a process group returned; asked twice, it is run once."""
        key = json.dumps([scenario.__module__, scenario.__qualname__, given], sort_keys=True)
        if key not in self._alone:
            self._alone[key] = self(0, scenario, **given)[0]
        return copy.deepcopy(self._alone[key])
