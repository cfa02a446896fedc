"""The stream inside jit against its definition, bit by bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from isometry import Normal, TruncatedNormal, Uniform, sample
from isometry.stream import _jax as traced
from isometry.stream import key, quantile, words
from isometry.stream.draws import draw_of
from isometry.types import Law

SEED = 0x0123_4567_89AB_CDEF
HALVES = (jnp.uint32(SEED & 0xFFFFFFFF), jnp.uint32(SEED >> 32))


@pytest.mark.parametrize(
    ("rounds", "counter", "keys", "expected"),
    [
        (7, (0, 0, 0, 0), (0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        (10, (0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (10, (0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (10, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)  # fmt: skip
def test_random123s_known_answers(rounds: int, counter: Any, keys: Any, expected: Any) -> None:
    words32 = tuple(jnp.uint32(c) for c in counter)
    found = jax.jit(lambda c, k: traced.philox(c, k, rounds))(words32, tuple(map(jnp.uint32, keys)))
    assert tuple(int(w) for w in found) == expected


def test_a_traced_seed_makes_the_same_key() -> None:
    found = jax.jit(lambda seed: traced.stream_key(seed, "fc1.weight"))(HALVES)
    own = key(SEED, "fc1.weight")
    assert tuple(int(w) for w in found) == (*own.key, *own.high)


@pytest.mark.parametrize("shape", [(1 << 20,), (7, 11, 13), (1,), (5, 1, 3)])
def test_the_words_are_those_of_the_elements(shape: tuple[int, ...]) -> None:
    found = jax.jit(lambda seed: traced.element_words(traced.stream_key(seed, "w"), shape))(HALVES)
    expected = words(SEED, "w", 0, int(np.prod(shape))).reshape(shape)
    assert (np.asarray(found) == expected).all()


def test_normals_at_every_boundary_and_a_million_others() -> None:
    v = np.concatenate([np.arange(2**n - 64, 2**n + 64) for n in range(7, 32)])
    v = np.concatenate(
        [v, np.arange(256), 3 * v // 2, np.random.default_rng(0).integers(0, 2**31, 1 << 20)]
    )
    v = v[(v >= 0) & (v < 2**31)].astype(np.uint32)
    every = np.concatenate(
        [v, v | np.uint32(0x80000000), np.array([0, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)]
    )

    def normals(w: Any) -> Any:
        z = traced.magnitude((w & jnp.uint32(0x7FFFFFFF)) | jnp.uint32(1)) * jnp.float32(2.0**-27)
        return jnp.where(w >> 31 == 1, -z, z)

    assert (
        np.asarray(jax.jit(normals)(every)).view(np.uint32) == quantile(every).view(np.uint32)
    ).all()


LAWS = (
    Normal(0.02), Normal(1e-20), Normal(0.5, mean=0.3), Normal(0.02, mean=-1e-6), Uniform(0.1),
    Uniform(0.5, mean=0.5), TruncatedNormal(0.02), TruncatedNormal(1.0, cutoff=0.7),
)  # fmt: skip


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]
)
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_law_and_dtype_to_the_bit(law: Law, dtype: str) -> None:
    how, shape = draw_of(law), (300, 211)
    assert how is not None
    found = np.asarray(jax.jit(lambda seed: traced.draw(how, seed, "w", shape, dtype))(HALVES))
    expected = sample(law, shape, seed=SEED, name="w", dtype=dtype)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


def test_float64_is_the_widened_float32() -> None:
    with jax.enable_x64(True):
        how = draw_of(Normal(0.02, mean=0.1))
        assert how is not None
        found = jax.jit(lambda seed: traced.draw(how, seed, "w", (64, 33), "float64"))(HALVES)
        assert (
            np.asarray(found).tobytes()
            == sample(
                Normal(0.02, mean=0.1), (64, 33), seed=SEED, name="w", dtype="float64"
            ).tobytes()
        )
