"""Schemes: named rules that give a law. Pure functions, one citation each.

`SCHEMES` lists them all with the equation and the source that their docstrings state, which is
where the array and the tensor functions of the same name take theirs from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from isometry.schemes.matrix import delta_orthogonal, dirac, identity, orthogonal, sparse
from isometry.schemes.plain import constant, normal, ones, truncated_normal, uniform, zeros
from isometry.schemes.scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from isometry.types import Law

__all__ = [
    "ALIASES",
    "SCHEMES",
    "Scheme",
    "constant",
    "delta_orthogonal",
    "dirac",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

xavier_normal, xavier_uniform = glorot_normal, glorot_uniform
kaiming_normal, kaiming_uniform = he_normal, he_uniform


@dataclass(frozen=True, slots=True)
class Scheme:
    """A scheme and what its docstring says of it.

    Attributes:
        name: what it is called everywhere.
        make: the function from its parameters (and fans, where it takes them) to a law.
    """

    name: str
    make: Callable[..., Law]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What a user chooses: every parameter but those that the tensor itself settles."""
        every = inspect.signature(self.make).parameters
        return {name: p for name, p in every.items() if name not in ("fans", "size")}

    @property
    def takes_fans(self) -> bool:
        """True where the scale follows from the fans."""
        return "fans" in inspect.signature(self.make).parameters

    @property
    def takes_size(self) -> bool:
        """True where the law is of a matrix as a whole, whose longer side it needs."""
        return "size" in inspect.signature(self.make).parameters

    @property
    def summary(self) -> str:
        """One line."""
        return self._paragraphs()[0]

    @property
    def formula(self) -> str:
        """The equation."""
        return " ".join(self._paragraphs()[1].split())

    @property
    def source(self) -> str:
        """The paper, and where in it."""
        return self.section("Source")

    def section(self, title: str) -> str:
        """A paragraph of the docstring that starts with a title, without it; "" where none does."""
        for paragraph in self._paragraphs():
            if paragraph.startswith(f"{title}:"):
                return paragraph.removeprefix(f"{title}:").strip("\n ")
        return ""

    def _paragraphs(self) -> list[str]:
        return (inspect.getdoc(self.make) or "").split("\n\n")


SCHEMES: dict[str, Scheme] = {
    make.__name__: Scheme(make.__name__, make)
    for make in (
        zeros, ones, constant, identity, dirac, uniform, normal, truncated_normal,
        variance_scaling, lecun_normal, lecun_uniform, glorot_normal, glorot_uniform,
        he_normal, he_uniform, orthogonal, delta_orthogonal, sparse,
    )
}  # fmt: skip

# The first author's given name, under which PyTorch and its users know the same rules.
ALIASES: dict[str, str] = {
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
}
