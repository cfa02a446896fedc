"""Write a checkpoint again and again, and stop it at random moments. A script: it is forked from.

    python stopping.py FOLDER kill|interrupt TIMES

Prints, as JSON, how often it was stopped while files were under way, complete and still missing.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import isometry as iso
from isometry.checkpoint import MANIFEST, write_checkpoint
from isometry.checkpoint.shards import INDEX
from isometry.torch.meta import meta

with meta():
    MODEL = torch.nn.Sequential(*(torch.nn.Linear(500, 500) for _ in range(24)))
PLAN = iso.plan(MODEL)


def write(folder: Path) -> None:
    write_checkpoint(MODEL, PLAN, folder, seed=5, max_shard_size="1.1MB", workers=3)


def stopped(folder: Path, after: float, how: signal.Signals) -> bool:
    """Write in a process of its own, stopped after some seconds. False where it was done by then."""
    child = os.fork()
    if not child:
        try:
            write(folder)
        except KeyboardInterrupt:
            os._exit(3)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, how)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 3


def check(folder: Path, whole: dict[str, bytes]) -> bool:
    """What has its final name is complete. Was the run stopped in the middle of it?"""
    found = {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else {}
    final = {name for name in found if not name.startswith(".")}
    for name in final:
        assert found[name] == whole[name], f"{name} is not complete"
    shards = {name for name in whole if name.endswith(".safetensors")}
    assert INDEX not in final or shards <= final
    assert MANIFEST not in final or final == set(whole)
    return bool(shards & final) and not shards <= final


def main() -> None:
    place, how, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signals = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
    write(place / "whole")
    whole = {p.name: p.read_bytes() for p in (place / "whole").iterdir()}
    started = time.perf_counter()
    write(place / "timed")
    seconds = time.perf_counter() - started
    draw = random.Random(0)
    count = midway = folder = 0
    while count < times:
        target = place / str(folder)
        if stopped(target, draw.uniform(0, seconds), signals[how]):
            count += 1
            midway += check(target, whole)
            if how == "interrupt" and target.is_dir():
                assert not [p.name for p in target.iterdir() if p.name.startswith(".")]
        else:
            folder += 1
            check(target, whole)
            assert {p.name for p in target.iterdir()} == set(whole)
    write(place / str(folder))  # what was stopped last, gone on with
    check(place / str(folder), whole)
    assert {p.name for p in (place / str(folder)).iterdir()} == set(whole)
    print(json.dumps({"stopped": count, "midway": midway, "completed": folder}))


if __name__ == "__main__":
    main()
