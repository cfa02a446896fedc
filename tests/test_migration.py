"""The migration tables leave out no function of the libraries that they are about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

TEXT = (Path(__file__).parents[1] / "docs" / "migration.md").read_text()
SECTIONS = {s.splitlines()[0]: s for s in TEXT.split("\n## ")[1:]}


def functions(library: str) -> set[str]:
    if library == "torch.nn.init":
        from torch.nn import init

        return {n for n in dir(init) if n.endswith("_") and not n.startswith("_")} | {
            "calculate_gain"
        }
    if library == "keras.initializers":
        from keras import initializers

        return {n for n in dir(initializers) if n[0].isupper()} - {"Initializer"}
    import jax.nn.initializers as initializers

    return {n for n in dir(initializers) if not n.startswith("_") and n.islower()}


@pytest.mark.parametrize("library", ["torch.nn.init", "keras.initializers", "jax.nn.initializers"])
def test_every_function_has_its_line(library: str) -> None:
    names = functions(library)
    assert len(names) > 10
    first = [line.split("|")[1] for line in SECTIONS[library].splitlines() if line.startswith("|")]
    for name in names:
        assert any(f"`{name}`" in cell or f"`{name}(" in cell for cell in first), name


def test_the_names_on_the_right_exist() -> None:
    import re

    import isometry as iso
    import isometry.jax as ij
    import isometry.torch as it

    for prefix, module in (("it", it), ("iso", iso), ("ij", ij)):
        for name in re.findall(rf"`{prefix}\.(\w+)", TEXT):
            assert name in module.__all__, f"{prefix}.{name}"
    import isometry.keras as ik

    column = [
        line.split("|")[2]
        for line in SECTIONS["keras.initializers"].splitlines()[4:]
        if line.startswith("|")
    ]
    for name in re.findall(r"`([A-Z]\w+)\(", " ".join(column)):
        assert name in ik.__all__
