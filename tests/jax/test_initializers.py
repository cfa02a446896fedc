"""JAX's initializers by JAX's own signatures: the law, the bits, and where they may be called."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import linen, nnx

import isometry as iso
import isometry.jax as ij
from isometry.errors import ArgumentError
from isometry.jax.keyed import STREAM
from isometry.types import Axes

FACTORIES = [
    n
    for n in ij.__all__
    if n in dir(jax.nn.initializers) and n not in ("Initializer", "zeros", "ones")
]
KEY = jax.random.key(3)


@pytest.mark.parametrize("name", [*FACTORIES, "zeros", "ones"])
def test_the_signature_is_jaxs(name: str) -> None:
    theirs = inspect.signature(getattr(jax.nn.initializers, name)).parameters
    ours = inspect.signature(getattr(ij, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert [ours[n].default for n in theirs] == [p.default for p in theirs.values()]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(ours.values())[len(theirs) :])


def test_every_initializer_of_jax_is_there() -> None:
    theirs = {n for n in dir(jax.nn.initializers) if not n.startswith("_")}
    assert theirs - {"Initializer"} <= set(ij.__all__)


# name -> (variance of an element, the standard distribution) for fans 300 and 200
VARIANCES: dict[str, tuple[float, str]] = {
    "lecun_normal": (1 / 300, "cut"), "lecun_uniform": (1 / 300, "uniform"),
    "glorot_normal": (1 / 250, "cut"), "glorot_uniform": (1 / 250, "uniform"),
    "he_normal": (2 / 300, "cut"), "he_uniform": (2 / 300, "uniform"),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANCES)
def test_the_law(name: str) -> None:
    variance, kind = VARIANCES[name]
    x = np.asarray(getattr(ij, name)()(KEY, (300, 200)), np.float64).ravel()
    if kind == "cut":
        uncut = math.sqrt(variance) / 0.87962566103423978
        law: Any = scipy.stats.truncnorm(-2, 2, scale=uncut)
        assert np.abs(x).max() <= 2 * uncut
    else:
        bound = math.sqrt(3 * variance)
        law = scipy.stats.uniform(-bound, 2 * bound)
    fourth = law.moment(4) / variance**2
    assert abs(x.var() / variance - 1) < 5 * math.sqrt((fourth - 1) / x.size)
    assert scipy.stats.kstest(x, law.cdf).pvalue > 1e-4


def test_laws_without_fans() -> None:
    n = 100_000
    x = np.asarray(ij.normal(0.5)(KEY, (n,)), np.float64)
    assert scipy.stats.kstest(x, scipy.stats.norm(scale=0.5).cdf).pvalue > 1e-4
    x = np.asarray(ij.uniform(3.0)(KEY, (n,)), np.float64)
    assert scipy.stats.kstest(x, scipy.stats.uniform(0, 3).cdf).pvalue > 1e-4
    x = np.asarray(ij.truncated_normal(0.5)(KEY, (n,)), np.float64)
    assert scipy.stats.kstest(x, scipy.stats.truncnorm(-2, 2, scale=0.5).cdf).pvalue > 1e-4
    w = np.asarray(ij.orthogonal(2.0)(KEY, (3, 8, 16)), np.float64).reshape(24, 16)
    np.testing.assert_allclose(w.T @ w, 4 * np.eye(16), atol=1e-5)
    w = np.asarray(ij.delta_orthogonal()(KEY, (3, 3, 8, 16)))
    np.testing.assert_allclose(w[1, 1] @ w[1, 1].T, np.eye(8), atol=1e-6)
    assert np.count_nonzero(w) == np.count_nonzero(w[1, 1])
    assert (ij.constant(2.5)(KEY, (3,)) == 2.5).all()
    assert not ij.zeros(KEY, (3,)).any()
    assert ij.ones(KEY, (3,)).all()


def test_fans_by_axes_and_groups() -> None:
    heads = ij.lecun_normal(in_axis=0, out_axis=(1, 2))(KEY, (512, 8, 64))
    assert abs(float(heads.var()) * 512 - 1) < 5 * math.sqrt(2 / heads.size)
    expert = ij.he_normal(in_axis=1, out_axis=2, batch_axis=0)(KEY, (8, 256, 64))
    assert abs(float(expert.var()) * 128 - 1) < 5 * math.sqrt(2 / expert.size)
    scaled = ij.variance_scaling(1.0, "fan_out", "normal", groups=64)(KEY, (3, 3, 1, 64))
    assert abs(float(scaled.var()) * 9 - 1) < 5 * math.sqrt(2 / scaled.size)
    geo = ij.variance_scaling(1.0, "fan_geo_avg", "uniform")(KEY, (100, 400))
    assert abs(float(geo.var()) * 200 - 1) < 5 * math.sqrt(0.8 / geo.size)


DTYPES = ("float32", "bfloat16", "float16", "float8_e4m3fn")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform", "uniform", "normal", "orthogonal"])
def test_inside_jit_is_outside_to_the_bit(name: str, dtype: str) -> None:
    init = getattr(ij, name)()
    outside = np.asarray(init(KEY, (33, 47), dtype))
    inside = np.asarray(jax.jit(lambda k: init(k, (33, 47), dtype))(KEY))
    assert outside.dtype == inside.dtype == jnp.dtype(dtype)
    assert outside.tobytes() == inside.tobytes()


def test_a_key_is_a_seed() -> None:
    own = iso.sample(iso.Normal(1.0), (5, 3), seed=7, name=STREAM)
    init = ij.normal(1.0)
    for key in (jax.random.key(7), jax.random.PRNGKey(7), jax.random.key(7, impl="rbg")):
        assert (np.asarray(init(key, (5, 3))) == own).all()
    big = jax.random.wrap_key_data(jnp.array([1, 2], jnp.uint32))
    assert (
        np.asarray(init(big, (4,)))
        == iso.sample(iso.Normal(1.0), (4,), seed=(1 << 32) + 2, name=STREAM)
    ).all()
    one, other = jax.random.split(KEY)
    assert not (init(one, (64,)) == init(other, (64,))).any()


def test_vmap_over_keys_is_one_call_each() -> None:
    keys, init = jax.random.split(KEY, 5), ij.he_normal()
    together = jax.vmap(lambda k: init(k, (8, 4)))(keys)
    assert (together == jnp.stack([init(k, (8, 4)) for k in keys])).all()
    matrices = jax.vmap(lambda k: ij.orthogonal()(k, (4, 4)))(keys)
    np.testing.assert_allclose(
        matrices @ matrices.mT, np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-6
    )


def test_one_compilation_a_shape() -> None:
    init = jax.jit(ij.he_normal(), static_argnums=1)
    for seed in range(5):
        init(jax.random.key(seed), (16, 8))
    assert init._cache_size() == 1
    init(KEY, (8, 16))
    assert init._cache_size() == 2


def test_flax_and_equinox_take_them() -> None:
    layer = nnx.Linear(64, 32, kernel_init=ij.he_normal(), rngs=nnx.Rngs(0))
    bound = 2 * math.sqrt(2 / 64) / 0.87962566
    assert 0 < float(jnp.abs(layer.kernel[...]).max()) <= bound
    twin = nnx.Linear(64, 32, kernel_init=ij.he_normal(), rngs=nnx.Rngs(0))
    assert (layer.kernel[...] == twin.kernel[...]).all()
    dense = linen.Dense(32, kernel_init=ij.lecun_uniform(), bias_init=ij.zeros)
    params = dense.init(KEY, jnp.ones((2, 64)))["params"]
    assert 0 < float(jnp.abs(params["kernel"]).max()) <= math.sqrt(3 / 64)
    conv = nnx.Conv(8, 16, (3, 3), kernel_init=ij.delta_orthogonal(), rngs=nnx.Rngs(0))
    assert int((conv.kernel[...] != 0).any(axis=(2, 3)).sum()) == 1
    eq = eqx.nn.Linear(64, 32, key=KEY)
    eq = eqx.tree_at(lambda m: m.weight, eq, ij.he_normal(in_axis=1, out_axis=0)(KEY, (32, 64)))
    assert eq(jnp.ones(64)).shape == (32,)


def test_memory_handed_over_is_the_arrays_own() -> None:
    """A second call must not write into the array of the first."""
    first = ij.normal()(KEY, (1024, 64))
    before = np.array(first)
    for seed in range(4):
        ij.normal()(jax.random.key(seed), (1024, 64)).block_until_ready()
    assert (np.asarray(first) == before).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    for call, message in [
        (lambda: ij.he_normal()(0, (4, 4)), "expected one key, such as"),
        (lambda: ij.he_normal()(jax.random.split(KEY), (4, 4)), "goes through jax.vmap"),
        (lambda: ij.he_normal()(KEY, (4,)), "choose a law that needs no fans|does not exist"),
        (lambda: ij.he_normal()(KEY, (4, 4), "int32"), "dtype"),
        (lambda: ij.he_normal()(KEY, (4, 4), "complex64"), "dtype"),
        (lambda: ij.variance_scaling(1.0, "fan", "normal")(KEY, (4, 4)), "mode='fan'"),
        (
            lambda: ij.variance_scaling(1.0, "fan_in", "cauchy")(KEY, (4, 4)),
            "distribution='cauchy'",
        ),
        (lambda: ij.truncated_normal(1.0, lower=-1.0), "symmetrically"),
        (lambda: ij.he_normal()(KEY, (4, 4), out_sharding="x"), "out_sharding='x'"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            call()
    assert ij.he_normal()(KEY, (0, 4)).shape == (0, 4)


SHARDED = """
import resource, jax, numpy as np, isometry as iso, isometry.jax as ij
from jax.sharding import NamedSharding, PartitionSpec as P
from jax.experimental import mesh_utils
assert len(jax.devices()) == 8
key, init = jax.random.key(5), ij.he_normal()
whole = np.asarray(init(key, (64, 48)))
for shape in ((8, 1), (4, 2), (2, 4), (1, 8)):
    mesh = jax.make_mesh(shape, ("a", "b"))
    for spec in (P(), P("a"), P(None, "b"), P("a", "b"), P(("a", "b")), P("b", None)):
        sharding = NamedSharding(mesh, spec)
        outside = init(key, (64, 48), out_sharding=sharding)
        assert outside.sharding.is_equivalent_to(sharding, 2)
        assert (np.asarray(outside) == whole).all(), (shape, spec)
        if spec in (P(), P("a", "b")):  # each is compiled anew
            inside = jax.jit(lambda k: init(k, (64, 48)), out_shardings=sharding)(key)
            assert (np.asarray(inside) == whole).all(), (shape, spec)
mesh = jax.make_mesh((8,), ("a",))
with jax.set_mesh(mesh):
    assert (np.asarray(init(key, (64, 48), out_sharding=P("a"))) == whole).all()
keys = jax.random.split(key, 8)
spread = jax.device_put(keys, NamedSharding(mesh, P("a")))
inner = jax.shard_map(lambda k: init(k[0], (8, 6))[None], mesh=mesh, in_specs=P("a"), out_specs=P("a"))
local = jax.jit(inner)(spread)
local = np.asarray(local)
assert all((local[i] == np.asarray(init(keys[i], (8, 6)))).all() for i in range(8))
# Peak memory: the shards, and little else.
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
big = init(key, (16384, 8192), out_sharding=NamedSharding(mesh, P("a")))
big.block_until_ready()
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print("grown", grown)
assert grown <= 512 + 64, grown
"""


def test_any_mesh_gives_the_same_array_in_the_memory_of_its_shards() -> None:
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "grown" in done.stdout


def test_axes_reach_the_matrix_law() -> None:
    w = ij.orthogonal(column_axis=0)(KEY, (4, 8))
    law = iso.sample(iso.Orthogonal(1.0), (4, 8), seed=3, name=STREAM, axes=Axes((1,), (0,)))
    np.testing.assert_allclose(w, law, atol=1e-6)
