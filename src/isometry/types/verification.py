"""What came of comparing a checkpoint with its manifest."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from isometry.errors import ArgumentError

__all__ = ["STATES", "Verification", "Verified"]

# In the order in which they are told: what is no such tensor, before many that have moved.
STATES = (
    "missing",
    "unexpected",
    "other shape",
    "other dtype",
    "not checked",
    "changed",
    "initial",
)


@dataclass(frozen=True, slots=True)
class Verified:
    """One tensor of a checkpoint.

    Attributes:
        name: its key in the checkpoint.
        state: "initial": it holds its initial bits; "changed"; "missing": the checkpoint has it not;
            "unexpected": the manifest has it not; "other shape"; "other dtype"; "not checked".
        detail: how much changed, what was rounded, or why it was not checked.
        shape: in the checkpoint, or where it is missing in the manifest.
        changed: how many numbers are others; None where only a hash tells.
        largest: how far a number has moved at most; None where that is no finite number.
    """

    name: str
    state: str
    detail: str
    shape: tuple[int, ...]
    changed: int | None = 0
    largest: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Verification:
    """A checkpoint, tensor by tensor. `print` it, or ask for one: `verification["0.weight"]`."""

    checkpoint: str
    tensors: tuple[Verified, ...]

    @property
    def ok(self) -> bool:
        """Is every tensor there, alone, and as it was made? What was not checked is not."""
        return all(t.state == "initial" for t in self.tensors)

    @property
    def counts(self) -> dict[str, int]:
        """State -> how many tensors are in it; states without one are left out."""
        found = Counter(t.state for t in self.tensors)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def others(self) -> tuple[Verified, ...]:
        """The tensors that are not initial, by state."""
        return tuple(t for state in STATES[:-1] for t in self.tensors if t.state == state)

    def __getitem__(self, name: str) -> Verified:
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        names = [t.name for t in self.tensors]
        close = " or ".join(
            map(repr, difflib.get_close_matches(str(name), names, n=3) or names[:3])
        )
        raise ArgumentError(
            f"{name!r} is neither in the manifest nor in {self.checkpoint}; did you mean {close}?"
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "checkpoint": self.checkpoint,
            "ok": self.ok,
            "counts": self.counts,
            "tensors": [asdict(t) for t in self.tensors],
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items())
        lines = [f"{t.state} {t.name}: {t.detail}".removesuffix(": ") for t in self.others]
        return "\n".join([f"{self.checkpoint}: {counts or 'no tensors'}", *lines])
