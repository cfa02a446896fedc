"""One decision: the law a parameter or buffer gets, what it rests on, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isometry.types.law import Law
from isometry.types.laws import Keep, law_from_dict
from isometry.types.stored import Stored

__all__ = ["Axes", "Block", "Decision", "Fans"]


@dataclass(frozen=True, slots=True)
class Axes:
    """What each axis of a weight is for; every axis not named is the receptive field.

    Axes are non-negative positions in the tensor's own shape. `batch_axis` counts independent
    matrices (experts, groups kept apart): they take no part in a fan.
    """

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Fans:
    """How many terms one output sums (fan_in), and how many outputs one input reaches (fan_out).

    Effective counts, hence floats: a stride divides.
    """

    fan_in: float
    fan_out: float


@dataclass(frozen=True, slots=True)
class Block:
    """A range of one axis of a fused tensor that has its own law: Q, K and V, or the gates."""

    name: str
    axis: int
    start: int
    stop: int
    law: Law
    fans: Fans | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One parameter or buffer: the law it gets, and why.

    `scheme` names the rule ("he_normal", "lecun_normal", "constant", "keep", ...), `gain` is the
    number the rule multiplied by, `law` the distribution that comes out. Where `blocks` is not
    empty it covers an axis whole, and each range has its own law. `shape`, `axes` and `blocks` are
    those of PyTorch's layout in every framework; `stored` says how the model that was planned lays
    the tensor out, where that is another.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str  # "parameter" | "buffer"
    shape: tuple[int, ...]
    dtype: str
    role: str
    axes: Axes | None
    fans: Fans | None
    scheme: str
    gain: float | None
    law: Law
    blocks: tuple[Block, ...]
    reason: str
    source: str
    stored: Stored | None = None

    @property
    def keeps(self) -> bool:
        """True where the tensor is left as it is."""
        return isinstance(self.law, Keep)

    def answers_to(self, name: str) -> bool:
        """True for the parameter's own name and for its aliases."""
        return name == self.name or name in self.aliases

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        data: dict[str, Any] = {field: getattr(self, field) for field in self.__slots__}
        data["axes"] = self.axes and {k: getattr(self.axes, k) for k in Axes.__slots__}
        data["fans"] = _fans_to_list(self.fans)
        data["gain"] = self.gain if self.gain is None else self.gain.hex()
        data["law"] = self.law.to_dict()
        data["blocks"] = [
            {**{k: getattr(b, k) for k in Block.__slots__}, "law": b.law.to_dict(),
             "fans": _fans_to_list(b.fans)}
            for b in self.blocks
        ]  # fmt: skip
        if self.stored is None:
            del data["stored"]
        else:
            data["stored"] = self.stored.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """The decision that `to_dict` wrote."""
        axes, fans, gain = data["axes"], data["fans"], data["gain"]
        return cls(
            **{
                **data,
                "aliases": tuple(data["aliases"]),
                "shape": tuple(data["shape"]),
                "axes": axes and Axes(**{k: tuple(v) for k, v in axes.items()}),
                "fans": fans and Fans(*fans),
                "gain": None if gain is None else float.fromhex(gain),
                "law": law_from_dict(data["law"]),
                "blocks": tuple(
                    Block(**{**b, "law": law_from_dict(b["law"]),
                             "fans": b["fans"] and Fans(*b["fans"])})
                    for b in data["blocks"]
                ),
                "stored": Stored.from_dict(data["stored"]) if data.get("stored") else None,
            }
        )  # fmt: skip


def _fans_to_list(fans: Fans | None) -> list[float] | None:
    return None if fans is None else [fans.fan_in, fans.fan_out]
