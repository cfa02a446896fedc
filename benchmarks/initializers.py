"""Initializers of Keras and JAX against the frameworks' own, in one run.

    python benchmarks/initializers.py [--repeats 9] [--only jax keras-jax keras-torch keras-tensorflow]

Each backend has a process of its own. A repeat times ours, then theirs; ratios are medians over the
repeats, with their range. "model" builds a Keras network of 50 M parameters (a layer of a transformer
and its table), or initialises the same shapes in JAX, one after the other.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

AIMS = {"jax": 20.0, "keras-jax": 15.0, "keras-torch": 15.0, "keras-tensorflow": 8.0, "jit": 1.0}
SIDE = 4096
SHAPES = [(32_000, 768), *[(768, 768)] * 16, *[(768, 3072), (3072, 768)] * 4]


def seconds(run: Callable[[], Any]) -> float:
    gc.collect()  # Keras's layers lie in cycles: what the last repeat left is no part of this one
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(
    what: str, ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, aim: float
) -> None:
    """Print one line: both times, their ratio, and whether it is what it should be."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    ratios = sorted(b / a for a, b in pairs)
    middle = statistics.median(ratios)
    mine, other = (1e3 * statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(
        f"{what:<44} {mine:8.1f} ms  {other:8.1f} ms  {middle:6.1f} x ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        f"  aim {aim:g}{'' if middle >= aim else ', missed'}",
        flush=True,
    )


def in_jax(repeats: int) -> None:
    import jax
    import jax.numpy as jnp

    import isometry.jax as ij

    key = jax.random.key(0)
    theirs, ours = jax.nn.initializers.he_normal(), ij.he_normal()
    for dtype in (jnp.float32, jnp.bfloat16):
        name = jnp.dtype(dtype).name

        def one(init: Any, dtype: Any = dtype) -> Callable[[], Any]:
            return lambda: init(key, (SIDE, SIDE), dtype).block_until_ready()

        compare(f"jax he_normal {SIDE}x{SIDE} {name}", one(ours), one(theirs), repeats, AIMS["jax"])
        fast, slow = (
            jax.jit(lambda k, i=i, d=dtype: i(k, (SIDE, SIDE), d)) for i in (ours, theirs)
        )
        compare(
            f"jax he_normal {SIDE}x{SIDE} {name}, inside jit",
            lambda f=fast: f(key).block_until_ready(), lambda f=slow: f(key).block_until_ready(),
            repeats, AIMS["jit"],
        )  # fmt: skip
    keys = jax.random.split(key, len(SHAPES))

    def model(init: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(
            [init(k, s) for k, s in zip(keys, SHAPES, strict=True)]
        )

    compare("jax he_normal, model of 50 M", model(ours), model(theirs), repeats, AIMS["jax"])


def in_keras(backend: str, repeats: int) -> None:
    import keras

    import isometry.keras as ik

    theirs, ours = keras.initializers.HeNormal(seed=0), ik.HeNormal(seed=0)

    def done(tensor: Any) -> Any:
        return tensor.block_until_ready() if backend == "jax" else tensor

    aim = AIMS[f"keras-{backend}"]
    for dtype in ("float32", "bfloat16"):
        compare(
            f"keras on {backend} HeNormal {SIDE}x{SIDE} {dtype}",
            lambda d=dtype: done(ours((SIDE, SIDE), d)), lambda d=dtype: done(theirs((SIDE, SIDE), d)),
            repeats, aim,
        )  # fmt: skip

    def model(init: Any) -> Callable[[], Any]:
        def build() -> None:
            table = keras.layers.Embedding(*SHAPES[0], embeddings_initializer=init)
            table.build()
            for rows, columns in SHAPES[1:]:
                layer = keras.layers.Dense(columns, use_bias=False, kernel_initializer=init)
                layer.build((None, rows))
                done(layer.kernel.value)

        return build

    compare(f"keras on {backend} HeNormal, model of 50 M", model(ours), model(theirs), repeats, aim)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=[a for a in AIMS if a != "jit"])
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here == "jax":
        in_jax(given.repeats)
    elif given.here:
        in_keras(given.here.removeprefix("keras-"), given.repeats)
    else:
        print(f"{'':<44} {'ours':>11}  {'theirs':>11}  ratio, median (range)", flush=True)
        for name in given.only:
            environment = {
                **os.environ,
                "KERAS_BACKEND": name.removeprefix("keras-"),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            }
            command = [sys.executable, __file__, "--here", name, "--repeats", str(given.repeats)]
            subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
