"""A checkpoint against a manifest: which tensors are which, and several of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isometry.entry import STORAGE
from isometry.errors import ArgumentError
from isometry.manifest.compare import Advance, Difference, difference, hash_of
from isometry.manifest.files import Stretch, tensors_in
from isometry.manifest.record import Record
from isometry.progress import transferring
from isometry.stream.rounding import DTYPES
from isometry.types import Verification, Verified

__all__ = ["verified"]

Job = tuple[str, Record, Stretch]


def verified(records: Sequence[Record], seed: int, checkpoint: Path, workers: int) -> Verification:
    """Every tensor that the manifest or the checkpoint has: the manifest's order, then what is not in it.

    Args:
        records: the manifest's.
        seed: of its stream.
        checkpoint: a file or a folder.
        workers: how many tensors at once; the largest come first.
    """
    there = tensors_in(checkpoint)
    jobs: list[Job] = []
    found: dict[str, Verified] = {}
    for record in records:
        entry = record.entry
        names = [n for n in (entry.name, *entry.aliases) if n in there]  # tied, or no longer
        jobs += [(name, record, there[name]) for name in names]
        found |= {name: _later(name) for name in names}
        if not names:
            found[entry.name] = Verified(
                entry.name, "missing", "not in the checkpoint", entry.shape, None, None
            )
    jobs.sort(key=lambda job: -job[2].nbytes)
    with (
        transferring(f"verifying {checkpoint.name}", sum(j[2].nbytes for j in jobs)) as advance,
        ThreadPoolExecutor(workers, thread_name_prefix="isometry") as pool,
    ):
        running = [pool.submit(_verified, *job, seed, advance) for job in jobs]
        try:
            found |= {one.name: one for one in (each.result() for each in running)}
        except OSError as error:
            raise ArgumentError(
                f"{checkpoint} cannot be read to its end: {error.strerror or error}"
            ) from error
        finally:  # after an error, what has not begun need not
            pool.shutdown(cancel_futures=True)
    for name, stretch in there.items():
        if name not in found:
            found[name] = Verified(
                name, "unexpected", "not in the manifest", stretch.shape, None, None
            )
    return Verification(str(checkpoint), tuple(found.values()))


def _later(name: str) -> Verified:
    """Keeps the place of a tensor in the order."""
    return Verified(name, "not checked", "", ())


def _verified(name: str, record: Record, lies: Stretch, seed: int, advance: Advance) -> Verified:
    """One tensor, in the checkpoint and in the manifest."""
    entry = record.entry

    def told(
        state: str, detail: str, changed: int | None = None, largest: float | None = None
    ) -> Verified:
        advance(lies.nbytes)
        return Verified(name, state, detail, lies.shape, changed, largest)

    said = f"the manifest says {_shape(entry.shape)} of {entry.dtype}"
    if lies.shape != entry.shape:
        return told("other shape", f"{_shape(lies.shape)}; {said}")
    if lies.dtype != entry.dtype and not {lies.dtype, entry.dtype} <= DTYPES.keys():
        return told("other dtype", f"{lies.dtype}; {said}")
    if lies.dtype not in STORAGE:
        return told("not checked", f"{lies.dtype} is not a dtype that isometry knows")
    if not record.known and (record.hash is None or lies.dtype != entry.dtype):
        why = "has no hash of it" if record.hash is None else f"has the hash of its {entry.dtype}"
        return told("not checked", f"kept as the model had it, and the manifest {why}")
    # A matrix that was made elsewhere is more surely known by the bits that were written there.
    if record.hash and lies.dtype == entry.dtype and not (record.known and entry.elementwise):
        if hash_of(lies) == record.hash:
            return told("initial", "", 0, 0.0)
        if not record.known:
            return told("changed", "its hash is another")
    found = difference(entry, lies, seed, advance)
    state = "changed" if found.count else "initial"
    detail = "; ".join(_details(found, entry.size, entry.dtype, lies.dtype))
    return Verified(name, state, detail, lies.shape, found.count, found.largest)


def _details(found: Difference, size: int, said: str, is_: str) -> list[str]:
    parts = []
    if found.count:
        far = (
            "not all of them finite" if found.largest is None else f"by {found.largest:.3g} at most"
        )
        parts.append(f"{found.count:,} of {size:,} numbers, {far}")
    if found.near:
        parts.append(f"{found.near:,} of {size:,} numbers equal to a rounding")
    if said != is_:
        parts.append(f"compared as {is_}, which the manifest has as {said}")
    return parts


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
