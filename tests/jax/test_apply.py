"""A plan written into a model: in place or anew, every dtype, a part, and not at all."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import isometry as iso
from isometry.errors import ArgumentError, MaterialiseError, ModelError, PlanError
from isometry.jax.apply import initialize
from isometry.jax.place import filled

from .models import NNXCNN, NNXMLP, EquinoxMLP, LinenCNN, LinenMLP

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
IMAGES = np.zeros((2, 16, 16, 3), np.float32)


def kernels(model):
    return {n: np.asarray(v) for n, v in _flat(nnx.to_pure_dict(nnx.state(model, nnx.Param)))}


def _flat(tree):
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield jax.tree_util.keystr(path), leaf


def test_nnx_is_written_in_place_and_twice_changes_nothing():
    model = NNXMLP(nnx.Rngs(0))
    variable = model.fc1.kernel
    plan = iso.initialize(model, X, seed=3)
    first = kernels(model)
    assert model.fc1.kernel is variable
    assert plan.apply(model, seed=3) is model
    for name, values in kernels(model).items():
        np.testing.assert_array_equal(values, first[name])
    plan.apply(model, seed=4)
    assert not np.array_equal(kernels(model)["['fc1']['kernel']"], first["['fc1']['kernel']"])


def test_equinox_is_a_value():
    model = EquinoxMLP(KEY)
    before = np.asarray(model.fc1.weight)
    plan = iso.plan(model, X)
    new = plan.apply(model, seed=0)
    np.testing.assert_array_equal(model.fc1.weight, before)
    assert not np.array_equal(new.fc1.weight, before)
    assert jax.tree.structure(new) == jax.tree.structure(model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_narrow_dtypes_are_the_rounded_float32(dtype):
    wide, narrow = (
        EquinoxMLP(KEY) if d == "float32" else jax.tree.map(
            lambda a, d=d: a.astype(d) if eqx.is_inexact_array(a) else a, EquinoxMLP(KEY)
        )
        for d in ("float32", dtype)
    )  # fmt: skip
    law = {"*.weight": iso.Normal(std=0.5)}
    plan = iso.plan(wide).override(law)
    want = np.asarray(plan.apply(wide, seed=0).fc2.weight)
    found = np.asarray(iso.plan(narrow).override(law).apply(narrow, seed=0).fc2.weight)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    assert found.dtype == kind
    np.testing.assert_array_equal(found.view(np.uint8), want.astype(kind).view(np.uint8))


def test_include_exclude_and_keep():
    model = NNXMLP(nnx.Rngs(0))
    plan = iso.plan(model, X).override({"fc2.weight": iso.Keep()})
    before = kernels(model)
    plan.apply(model, seed=0, include=["fc*", "out*"], exclude="out.kernel")
    after = kernels(model)
    changed = {n for n in after if not np.array_equal(after[n], before[n])}
    assert changed == {"['fc1']['kernel']"}
    with pytest.raises(PlanError, match="matches no parameter"):
        plan.apply(model, include="nothing.*")


def test_what_raises_writes_nothing():
    model = NNXMLP(nnx.Rngs(0))
    before = kernels(model)
    plan = iso.plan(model, X).override({"out.bias": iso.Orthogonal()})
    with pytest.raises(ArgumentError):
        plan.apply(model, seed=0)
    with pytest.raises(ArgumentError, match="seed"):
        iso.plan(model, X).apply(model, seed=-1)
    for name, values in kernels(model).items():
        np.testing.assert_array_equal(values, before[name])


def test_an_abstract_nnx_model_is_given_memory():
    model = nnx.eval_shape(lambda: NNXCNN(nnx.Rngs(0)))
    plan = iso.plan(model, IMAGES)
    assert isinstance(model.conv1.kernel.get_value(), jax.ShapeDtypeStruct)
    plan.apply(model, seed=2)
    real = NNXCNN(nnx.Rngs(0))
    iso.initialize(real, IMAGES, seed=2)
    want = dict(_flat(nnx.to_pure_dict(nnx.state(real))))
    found = dict(_flat(nnx.to_pure_dict(nnx.state(model))))
    assert found.keys() == want.keys()
    for name, values in want.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_an_abstract_parameter_that_is_kept_is_an_error():
    model = nnx.eval_shape(lambda: NNXMLP(nnx.Rngs(0)))
    plan = iso.plan(model, X).override({"fc2.weight": iso.Keep()})
    with pytest.raises(MaterialiseError, match=r"fc2\.kernel"):
        plan.apply(model)
    assert isinstance(model.fc1.kernel.get_value(), jax.ShapeDtypeStruct)


def test_linen_makes_what_the_plan_keeps():
    variables, plan = initialize(LinenCNN(), IMAGES, seed=0, overrides={"head.weight": iso.Keep()})
    own = LinenCNN().init(KEY, IMAGES)
    assert jax.tree.structure(variables) == jax.tree.structure(own)
    head = np.asarray(variables["params"]["head"]["kernel"])
    assert abs(head.var() * 32 - 1) < 0.5  # LeCun's, by the module's own init: 160 draws
    np.testing.assert_array_equal(variables["batch_stats"]["bn"]["var"], np.ones(16))
    assert plan["bn.running_mean"].keeps
    with pytest.raises(ModelError, match="pass inputs"):
        plan.apply(LinenCNN())


def test_linen_shapes_alone_cannot_be_kept():
    shapes = jax.eval_shape(lambda: LinenMLP().init(KEY, X))
    plan = iso.plan(LinenMLP(), X)
    made = plan.apply(shapes, seed=1)
    want, _ = initialize(LinenMLP(), X, seed=1)
    jax.tree.map(np.testing.assert_array_equal, made, want)
    with pytest.raises(ArgumentError, match="no value and the plan keeps it"):
        plan.override({"out.bias": iso.Keep()}).apply((LinenMLP(), shapes))


def test_memory_is_handed_over_and_nobody_else_writes_it():
    tree = {"w": jax.random.normal(KEY, (256, 256))}
    decision = iso.plan((lambda t, x: x @ t["w"], tree), np.zeros((1, 256), np.float32))["w"]
    one = filled(jnp.zeros((256, 256)), decision, 0, None)
    two = filled(jnp.zeros((256, 256)), decision, 1, None)
    kept = np.array(one)
    del two
    for seed in range(8):  # memory given back would be filled again
        filled(jnp.zeros((256, 256)), decision, seed, None)
    np.testing.assert_array_equal(one, kept)
    donated = jax.jit(lambda a: a * 2, donate_argnums=0)(filled(one, decision, 0, None))
    np.testing.assert_array_equal(donated, kept * 2)


def test_the_gain_of_a_function_of_jax():
    assert iso.gain(lambda x: jnp.maximum(x, 0)) == pytest.approx(2**0.5, rel=1e-5)
    assert iso.gain(jax.nn.gelu) == pytest.approx(iso.gain("gelu_tanh"), rel=1e-5)


def test_importing_isometry_imports_no_jax():
    code = "import sys, isometry; assert not {'jax', 'flax', 'equinox'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_part_of_a_planned_model_has_the_weights_of_the_whole():
    whole = NNXMLP(nnx.Rngs(0))
    plan = iso.initialize(whole, X, seed=3)
    part = {"mine": nnx.Linear(whole.fc2.in_features, whole.fc2.out_features, rngs=nnx.Rngs(1))}
    layer = nnx.Dict(part)
    plan.apply(layer, seed=3, part={"mine": "fc2"})
    np.testing.assert_array_equal(layer["mine"].kernel.get_value(), whole.fc2.kernel.get_value())
    with pytest.raises(PlanError, match="which the plan of NNXMLP has not"):
        plan.apply(layer, seed=3, part=True)
