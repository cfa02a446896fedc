"""A checkpoint as a folder, straight from the plan: the model is never made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isometry.checkpoint.durable import PARTIAL, own_folder, write_text
from isometry.checkpoint.filling import fill_files
from isometry.checkpoint.hub_config import hub_configs
from isometry.checkpoint.shards import HUB_FILES, INDEX, Shard, bytes_of, index_text, shards
from isometry.checkpoint.standing import standing
from isometry.entry import Entry, dtype_of, entries_of, new_hash, piece_bytes, pieces
from isometry.errors import ArgumentError, PlanError
from isometry.manifest import NAME as MANIFEST
from isometry.manifest import Manifest
from isometry.progress import transferring
from isometry.stored import needed_blocks
from isometry.stream.backend import thread_count
from isometry.stream.keys import STREAM_VERSION, check_seed
from isometry.types import Plan

__all__ = ["MANIFEST", "write_checkpoint"]

MOST_WORKERS = 8  # a disk is seldom faster for more


def write_checkpoint(
    model: Any,
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    dtype: Any = None,
    max_shard_size: int | str = "5GB",
    overwrite: bool = False,
    workers: int | None = None,
) -> Manifest:
    """Write the weights that a plan and a seed give a model, without making the model.

    Tensors are made piece by piece, by several threads, and written at once: in 8 MiB of memory,
    whatever the size of the model (and a matrix a thread, where a law is of whole matrices). The folder
    is one that `transformers`, `safetensors` and `torch.distributed.checkpoint` read:
    model.safetensors, or model-00001-of-0000N.safetensors and model.safetensors.index.json, for a
    transformers model its config.json, and a manifest.

    A file has its name only once it is complete and on the disk. A call that was stopped, however, is
    gone on with by the same call: complete files are kept.

    Args:
        model: the model that was planned, best on meta (`with isometry.torch.meta():`). It is read
            and not changed; what the plan keeps is taken from it, or made as its own code does.
        plan: for this model.
        folder: where to write; made where there is none.
        seed: an integer in [0, 2^64).
        dtype: of all floating-point tensors, buffers too, as `model.to(dtype)` has it: "bfloat16" or
            "bf16", ...; None: as the model has them.
        max_shard_size: of one file, such as "5GB" (decimal) or a number of bytes.
        overwrite: replace a checkpoint of something else that lies there.
        workers: threads; None is twice OMP_NUM_THREADS or the number of processors, at most 8.

    Returns:
        The Manifest that was written, with the hash of every tensor.

    Raises:
        ArgumentError: an argument is not such, another checkpoint lies there, another process is at
            work there, or the folder or disk does not take it. What was incomplete is removed.
        PlanError: the plan is of another model.
        ModelError: a value cannot be had.

    Example:
        >>> import tempfile, torch, isometry as iso
        >>> from isometry.checkpoint import write_checkpoint
        >>> with iso.torch.meta():
        ...     model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = write_checkpoint(model, iso.plan(model), folder, seed=0, dtype="bf16")
        >>> list(manifest)
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if not isinstance(plan, Plan):
        raise PlanError(f"plan is {type(plan).__name__}; expected a Plan: iso.plan(model, inputs)")
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise ArgumentError(f"folder is {folder!r}; expected a path, such as 'checkpoint'")
    number, kind, limit = check_seed(seed), dtype_of(dtype), bytes_of(max_shard_size)
    # Twice as many as compute: half of them wait for the disk.
    threads = (
        thread_count(workers) if workers is not None else min(2 * thread_count(None), MOST_WORKERS)
    )
    entries = entries_of(model, plan, seed=number, dtype=kind)
    texts = hub_configs(model, kind)
    layout = shards(entries, limit, {
        "format": "pt", "isometry_stream": str(STREAM_VERSION), "seed": str(number),
        "plan": plan.digest, "content": _content(entries),
    })  # fmt: skip
    with own_folder(folder) as place:
        try:
            hashes = _prepare(place, layout, texts, overwrite, number, plan.digest, threads)
            missing = [s for s in layout if any(e.name not in hashes for e, _ in s.tensors)]
            with transferring(f"writing {place.name}", sum(s.size for s in missing)) as advance:
                hashes |= fill_files(place, missing, seed=number, workers=threads, advance=advance)
            return _finish(place, layout, entries, hashes, texts, number, plan, model)
        except OSError as error:
            raise ArgumentError(
                f"the checkpoint cannot be written to {place}: {error.strerror or error}; make room "
                "or write to another folder: the same call goes on with the files that are complete"
            ) from error


def _content(entries: Sequence[Entry]) -> str:
    """What tells two checkpoints apart that have the same names and shapes: all that decides a bit."""
    hashed = new_hash()
    for entry in entries:
        how, given = entry.decision, None
        if how is None:
            given = new_hash()
            for box in pieces(entry):
                given.update(piece_bytes(entry, box, 0))
        hashed.update(
            json.dumps([
                entry.name, given and given.hexdigest(), how and [
                    how.name, how.law.to_dict(),
                    how.axes and [how.axes.in_axis, how.axes.out_axis, how.axes.batch_axis],
                    [[b.axis, b.start, b.stop, b.law.to_dict()] for b in needed_blocks(how)],
                ],
            ]).encode()
        )  # fmt: skip
    return str(hashed.hexdigest())


def _prepare(
    folder: Path, layout: Sequence[Shard], texts: dict[str, str], overwrite: bool, seed: int,
    digest: str, workers: int,
) -> dict[str, str]:  # fmt: skip
    """Look at what lies there; the hashes of the tensors that need not be written. Raises, or makes
    room."""
    wanted = {shard.name: shard for shard in layout}
    found = [p for p in folder.iterdir() if HUB_FILES.fullmatch(p.name)]
    standing_files = [wanted[p.name] for p in found if p.name in wanted and _is(p, wanted[p.name])]
    with transferring(f"checking {folder.name}", sum(s.size for s in standing_files)) as advance:
        right = standing(folder, standing_files, seed=seed, workers=workers, advance=advance)
    ours = {*right} | (
        {INDEX} if len(layout) > 1 and _reads(folder / INDEX) == index_text(layout) else set()
    )
    others = [p for p in found if p.name not in ours]
    others += [
        folder / name for name, text in texts.items() if _reads(folder / name) not in (None, text)
    ]
    if not _is_of(folder / MANIFEST, seed, digest):
        others.append(folder / MANIFEST)
    if others and not overwrite:
        raise ArgumentError(
            f"{folder} holds {', '.join(sorted(p.name for p in others)[:3])} of another checkpoint "
            "(another model, plan, seed, dtype or file size), or changed or cut short since; write to "
            "another folder, or replace it with overwrite=True (--overwrite)"
        )
    stopped = (*folder.glob(f".model*{PARTIAL}"), *folder.glob(f".{MANIFEST}.*"))
    stale = [p for p in (*others, *stopped) if p.is_file()]
    room = shutil.disk_usage(folder).free + sum(p.stat().st_size for p in stale)
    needed = sum(s.size for s in layout if s.name not in right)
    if needed > room:
        raise ArgumentError(
            f"{folder} has room for {room / 1e9:.3g} GB, and {needed / 1e9:.3g} GB are to be written; "
            "make room, write to another disk, or write a narrower dtype such as dtype='bfloat16'"
        )
    if needed:  # what says that the folder is whole goes first
        stale += [folder / MANIFEST, folder / INDEX]
    for path in stale:
        path.unlink(missing_ok=True)
    return {name: hash for hashes in right.values() for name, hash in hashes.items()}


def _is_of(path: Path, seed: int, digest: str) -> bool:
    """Is there no manifest, or one of this plan and seed?"""
    if not os.path.lexists(path):
        return True
    try:
        held = Manifest.load(path)
    except ArgumentError:
        return False
    return (held.seed, held.plan) == (seed, digest)


def _is(path: Path, shard: Shard) -> bool:
    """Is it that file, to its last byte? It got its name when it was complete."""
    try:
        with open(path, "rb") as file:
            return (
                path.stat().st_size == shard.size and file.read(len(shard.header)) == shard.header
            )
    except OSError:
        return False


def _reads(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _finish(
    folder: Path,
    layout: Sequence[Shard],
    entries: Sequence[Entry],
    hashes: dict[str, str],
    texts: dict[str, str],
    seed: int,
    plan: Plan,
    model: Any,
) -> Manifest:
    """The small files, and last of all those that say the checkpoint is whole."""
    manifest = Manifest.of(entries, seed=seed, plan=plan, model=model, hashes=hashes)
    if len(layout) > 1:
        texts = {**texts, INDEX: index_text(layout)}
    for name, text in texts.items():
        write_text(folder / name, text)
    manifest.save(folder / MANIFEST)
    return manifest
