"""What a checkpoint holds, without its bytes: a seed, and the law of every tensor."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.entry import Entry, dtype_of, entries_of
from isometry.errors import ArgumentError, PlanError
from isometry.manifest import document
from isometry.manifest.hashing import config_hash, tensor_hashes
from isometry.manifest.record import Record, as_dtype, record
from isometry.manifest.verify import verified
from isometry.stream import STREAM_VERSION, sample
from isometry.stream.backend import thread_count
from isometry.stream.index import select
from isometry.stream.keys import check_seed
from isometry.types import Plan, Verification
from isometry.types._files import write_whole

__all__ = ["NAME", "Manifest"]

NAME = "isometry-manifest.json"  # beside the files of a checkpoint


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A checkpoint in a few kilobytes: any part of any of its tensors is made anew.

        tensor[i] = law(word i of the stream (seed, name))

    It is a container of names: iteration, `len` and `in` go by them; `manifest[name]` is the Record.

    Attributes:
        model: the class of the model.
        parameters: how many numbers its parameters are.
        seed: of the stream.
        plan: the digest of the plan.
        records: one for each tensor, in the order of the state dict.
        config: a hash of the model's configuration, where it has one.
        isometry: the version that wrote it.
        stream: the stream's version.
    """

    model: str
    parameters: int
    seed: int
    plan: str
    records: tuple[Record, ...] = field(repr=False)
    config: str | None
    isometry: str
    stream: int
    _by_name: dict[str, Record] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = {n: r for r in self.records for n in (r.entry.name, *r.entry.aliases)}
        object.__setattr__(self, "_by_name", found)

    @classmethod
    def of(
        cls,
        entries: Sequence[Entry],
        *,
        seed: int,
        plan: Plan,
        model: Any = None,
        hashes: Mapping[str, str] | None = None,
    ) -> Manifest:
        """The manifest of these tensors of a checkpoint.

        Args:
            entries: as `isometry.entry.entries_of` lists them.
            seed: an integer in [0, 2^64).
            plan: that says how they are made.
            model: for its configuration (`model.config`, as transformers has it).
            hashes: name -> BLAKE2b-128 of the bytes in hexadecimal, for tensors that have been made.
        """
        known = hashes or {}
        return cls(
            plan.model,
            sum(math.prod(d.shape) for d in plan if d.kind == "parameter"),
            check_seed(seed),
            plan.digest,
            tuple(record(entry, known.get(entry.name)) for entry in entries),
            config_hash(model),
            version("isometry"),
            STREAM_VERSION,
        )

    @classmethod
    def of_model(
        cls, model: Any, plan: Plan, *, seed: int = 0, dtype: Any = None, hashes: bool = True
    ) -> Manifest:
        """The manifest that `isometry.write_checkpoint` would write, without a checkpoint.

        Args:
            model: the model that was planned, best on meta. It is read and not changed.
            plan: for this model.
            seed: an integer in [0, 2^64).
            dtype: "bfloat16" or "bf16", ...: of all floating-point tensors; None: as the model has them.
            hashes: make every tensor, piece by piece, for its hash: that of values which are kept
                and not small is the one way to know them again.

        Raises:
            ArgumentError: the seed or dtype is not one, or the framework has no state dict.
            PlanError: the plan is of another model.
            ModelError: a value that is kept cannot be had.

        Example:
            >>> import torch, isometry as iso, isometry.torch as it
            >>> with it.meta():
            ...     model = torch.nn.Linear(8, 4)
            >>> manifest = Manifest.of_model(model, iso.plan(model), seed=0)
            >>> manifest.tensor("weight", index=0).shape
            (8,)
        """
        if not isinstance(plan, Plan):
            raise PlanError(f"plan is {type(plan).__name__}; expected a Plan: iso.plan(model)")
        number = check_seed(seed)
        entries = entries_of(model, plan, seed=number, dtype=dtype_of(dtype))
        found = tensor_hashes(entries, number) if hashes else None
        return cls.of(entries, seed=number, plan=plan, model=model, hashes=found)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tensors, in order, without aliases."""
        return tuple(r.entry.name for r in self.records)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.records)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Record:
        if name in self._by_name:
            return self._by_name[name]
        close = difflib.get_close_matches(str(name), self._by_name, n=3)
        told = f"did you mean {' or '.join(map(repr, close))}?" if close else (
            f"it has {', '.join(self.names[:5])}, ... ({len(self)} in all)"
        )  # fmt: skip
        raise ArgumentError(f"this manifest of {self.model} has no {name!r}; {told}")

    def tensor(
        self, name: str, index: Any = None, *, dtype: str | None = None, backend: str | None = None
    ) -> NDArray[Any]:
        """A tensor of the checkpoint, or a part of it, made anew.

        Args:
            name: its name or an alias.
            index: the part, an entry an axis, as for `isometry.sample`: integers, slices, 1-D arrays
                of integers or booleans, an Ellipsis. None: all of it.
            dtype: "float32", "bfloat16", ...; None: as the checkpoint has it.
            backend: "native", "numpy" or None, as for `isometry.sample`: the bits are the same.

        Returns:
            A new array of the part's shape; bfloat16 and float8 are dtypes of ml_dtypes. Memory is that
            of the part, or of a matrix where the law is one of whole matrices.

        Raises:
            ArgumentError: there is no such tensor, the index does not fit, or the manifest has no more
                of it than a hash.
            BackendError: ml_dtypes is missing.

        Example:
            >>> import torch, isometry as iso
            >>> model = torch.nn.Linear(8, 4)
            >>> plan = iso.initialize(model, seed=3)
            >>> made = Manifest.of_model(model, plan, seed=3).tensor("weight", index=slice(1, 3))
            >>> bool((made == model.weight.detach().numpy()[1:3]).all())
            True

        Source: docs/spec/stream.md, docs/manifest.md.
        """
        entry = self[name].entry
        how = entry.decision
        if how is not None:
            return sample(
                how.law, how.shape, seed=self.seed, name=how.name, dtype=dtype or entry.dtype,
                index=index, axes=how.axes, blocks=how.blocks, backend=backend,
            )  # fmt: skip
        if dtype not in (None, entry.dtype):
            raise ArgumentError(
                f"dtype={dtype!r}: {name!r} is not drawn but kept, as {entry.dtype}; leave dtype out, "
                "and convert what comes back"
            )
        if entry.value is None:
            raise ArgumentError(
                f"{name!r} is not drawn but kept as the model had it, and too large for a manifest, "
                "which has only its hash; read it from the checkpoint"
            )
        taken = select(entry.shape, index)
        part = entry.value[np.ix_(*taken.dims)].reshape(taken.shape)
        return as_dtype(part, entry.dtype)

    def verify(
        self, checkpoint: str | os.PathLike[str], *, workers: int | None = None
    ) -> Verification:
        """Say which tensors of a checkpoint still hold their initial bits.

        Every tensor is made anew and compared, piece by piece, in constant memory. What is linear
        algebra (orthogonal laws) and differs from its hash is compared to a rounding, and the result
        says so. A checkpoint in another floating-point dtype is compared in that one.

        Args:
            checkpoint: a .safetensors file, or the folder of a checkpoint.
            workers: threads; None is OMP_NUM_THREADS, or one for each processor.

        Raises:
            ArgumentError: there is no checkpoint, or it is damaged.

        Example:
            >>> import tempfile, torch, isometry as iso
            >>> from safetensors.torch import save_file
            >>> model = torch.nn.Linear(8, 4)
            >>> plan = iso.initialize(model, seed=3)
            >>> model.bias.data[2] = 0.5
            >>> path = tempfile.mkdtemp() + "/model.safetensors"
            >>> save_file(model.state_dict(), path)
            >>> found = Manifest.of_model(model, plan, seed=3).verify(path)
            >>> [(t.name, t.state, t.detail) for t in found.tensors]
            [('weight', 'initial', ''), ('bias', 'changed', '1 of 4 numbers, by 0.5 at most')]
        """
        return verified(self.records, self.seed, Path(checkpoint), thread_count(workers))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all."""
        head = ("isometry", "stream", "seed", "plan", "model", "parameters", "config")
        text = document.written({key: getattr(self, key) for key in head}, self.records)
        write_whole(path, text, "the manifest")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Manifest:
        """The manifest that `save` wrote. Raises ArgumentError where it is not one."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ArgumentError(f"the manifest cannot be read from {path}: {error}") from error
        head, records = document.read(text)
        return cls(records=records, **head)
