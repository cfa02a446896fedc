"""Files that an earlier run has written: are they still what it wrote?

A file got its name when it was complete and on the disk. What has happened to it since, its header and
size do not tell; so what it should hold is made anew and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isometry.checkpoint.shards import Shard
from isometry.entry import Entry
from isometry.errors import ArgumentError
from isometry.manifest.compare import difference, hash_of
from isometry.manifest.files import Stretch

__all__ = ["standing"]

Advance = Callable[[int], None]


def standing(
    folder: Path, files: Sequence[Shard], *, seed: int, workers: int, advance: Advance
) -> dict[str, dict[str, str]]:
    """The files that hold what they should: a file's name -> tensor -> BLAKE2b-128 of its bytes.

    Args:
        folder: where they lie.
        files: those that have the right header and size.
        seed: an integer in [0, 2^64).
        workers: how many threads.
        advance: told of every piece's bytes.
    """

    def held(job: tuple[Shard, Entry, int]) -> str | None:
        shard, entry, start = job
        lies = Stretch(folder / shard.name, entry.dtype, entry.shape, start, entry.nbytes)
        try:
            return None if difference(entry, lies, seed, advance).count else hash_of(lies)
        except (ArgumentError, OSError):  # it has become shorter, or cannot be read
            return None

    jobs = [(shard, entry, start) for shard in files for entry, start in shard.tensors]
    jobs.sort(key=lambda job: -job[1].nbytes)
    found: dict[str, dict[str, str]] = {shard.name: {} for shard in files}
    with ThreadPoolExecutor(workers, thread_name_prefix="isometry") as pool:
        for (shard, entry, _), hash in zip(jobs, pool.map(held, jobs), strict=True):
            if hash is None:
                found.pop(shard.name, None)
            elif shard.name in found:
                found[shard.name][entry.name] = hash
    return found
