"""Forks ranks: reads what to run from stdin, a line of JSON each, and writes their answers to stdout.

What is imported here is imported once for all of them. There must be no threads: a fork keeps only
the one that forked.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

TAIL = 30  # lines of a rank's output that a failure shows
PATIENCE = timedelta(seconds=60)  # of one collective


def world(asked: dict[str, Any], room: Path) -> list[dict[str, Any]]:
    """Fork the ranks of one world, and wait for them; 0 ranks are one process without a group."""
    children = [_fork(rank, asked, room) for rank in range(max(asked["size"], 1))]
    alive = dict(enumerate(children))
    deadline = time.monotonic() + asked["seconds"]
    while alive and time.monotonic() < deadline:
        for rank, pid in list(alive.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del alive[rank]
        time.sleep(0.005)
    for pid in alive.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return [_answer(rank, room, hung=rank in alive) for rank in range(len(children))]


def _fork(rank: int, asked: dict[str, Any], room: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        log = os.open(room / f"{rank}.log", os.O_CREAT | os.O_WRONLY)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Where it stands, should it hang: shortly before it is killed.
        faulthandler.dump_traceback_later(0.9 * asked["seconds"])
        _rank(rank, asked, room)
    finally:
        os._exit(0)  # not the nursery's own end


def _rank(rank: int, asked: dict[str, Any], room: Path) -> None:
    try:
        if asked["size"]:
            dist.init_process_group(
                "gloo", init_method=f"file://{room}/store", rank=rank,
                world_size=asked["size"], timeout=PATIENCE,
            )  # fmt: skip
        function = getattr(importlib.import_module(asked["module"]), asked["function"])
        answer = {"returned": function(**asked["given"])}
        if dist.is_initialized():
            dist.barrier()  # nobody leaves while another still talks to it
    except BaseException:
        answer = {"failed": traceback.format_exc()}
    (room / f"{rank}.part").write_text(json.dumps(answer))
    os.replace(room / f"{rank}.part", room / f"{rank}.json")


def _answer(rank: int, room: Path, *, hung: bool) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads((room / f"{rank}.json").read_text())
        if "failed" not in answer:
            return answer
        why = answer["failed"]
    except FileNotFoundError:
        why = "hung" if hung else "died"
    tail = "\n".join((room / f"{rank}.log").read_text().splitlines()[-TAIL:])
    return {"failed": f"{why}\n{tail}"}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        importlib.import_module(asked["module"])  # and PyTorch and transformers with it
        with tempfile.TemporaryDirectory() as room:
            print(json.dumps(world(asked, Path(room))), flush=True)


if __name__ == "__main__":
    main()
