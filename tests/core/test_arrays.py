"""The schemes as arrays: their layout, their law measured, and what they say of themselves."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest

import isometry.arrays as arrays
from isometry.errors import ArgumentError
from isometry.schemes import ALIASES, SCHEMES
from isometry.stream import sample
from isometry.types import Axes, Normal

SIX = [
    "lecun_normal",
    "lecun_uniform",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
]


def test_the_transpose_of_the_torch_layout_bit_for_bit() -> None:
    jax = arrays.he_normal((256, 128), seed=3, name="fc1.weight")
    torch = sample(Normal((2 / 256) ** 0.5), (128, 256), seed=3, name="fc1.weight")
    np.testing.assert_array_equal(jax.T, torch)
    assert jax.flags.c_contiguous


def test_a_convolution_kernel_of_jax_is_that_of_torch() -> None:
    hwio = arrays.he_normal((3, 5, 4, 8), seed=0, name="conv")
    oihw = sample(Normal((2 / 60) ** 0.5), (8, 4, 3, 5), seed=0, name="conv")
    np.testing.assert_array_equal(hwio.transpose(3, 2, 0, 1), oihw)


def test_axes_named_as_torch_has_them_change_nothing() -> None:
    here = arrays.he_normal((8, 4, 3, 5), seed=0, name="conv", in_axis=1, out_axis=0)
    there = sample(Normal((2 / 60) ** 0.5), (8, 4, 3, 5), seed=0, name="conv")
    np.testing.assert_array_equal(here, there)


def test_experts_and_several_out_axes() -> None:
    experts = arrays.lecun_normal((4, 32, 16), seed=0, name="w", batch_axis=0)
    whole = sample(Normal(32**-0.5), (4, 16, 32), seed=0, name="w")
    np.testing.assert_array_equal(experts.transpose(0, 2, 1), whole)
    heads = arrays.lecun_normal((32, 4, 8), seed=0, name="w", in_axis=0, out_axis=(1, 2))
    linear = sample(Normal(32**-0.5), (32, 32), seed=0, name="w")
    np.testing.assert_array_equal(heads.reshape(32, 32).T, linear)


def test_groups_and_stride_reach_the_fans() -> None:
    kernel = arrays.he_normal((3, 3, 16, 128), seed=0, name="w", mode="fan_out", groups=4, stride=2)
    std = (2 / (128 / 4 * 9 / 4)) ** 0.5
    expected = sample(Normal(std), (128, 16, 3, 3), seed=0, name="w")
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), expected)


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal"])
def test_a_vector_needs_no_axes_where_the_law_needs_no_fans(name: str) -> None:
    draw = getattr(arrays, name)
    np.testing.assert_array_equal(
        draw((6,), 0.02, seed=0, name="b"), sample(SCHEMES[name].make(0.02), (6,), seed=0, name="b")
    )
    assert draw((), seed=0, name="b").shape == ()


def test_constants() -> None:
    assert not arrays.zeros((3, 4)).any()
    assert (arrays.ones((3,)) == 1).all()
    assert (arrays.constant((2, 2), 0.25, dtype="float16") == 0.25).all()
    np.testing.assert_array_equal(arrays.identity((3, 5), 2.0), 2 * np.eye(3, 5))


def test_dirac_passes_an_image_on() -> None:
    kernel = arrays.dirac((3, 3, 4, 4))
    np.testing.assert_array_equal(kernel[1, 1], np.eye(4))
    assert np.count_nonzero(kernel) == 4


def test_orthogonal_and_delta_orthogonal_keep_lengths() -> None:
    """float32 rounding of 64 terms a product: each entry is off by less than 64 ulp of 1."""
    eps = 64 * np.finfo(np.float32).eps
    tall = arrays.orthogonal((64, 16), 3.0, seed=0, name="w").astype(float)
    np.testing.assert_allclose(tall.T @ tall, 9 * np.eye(16), atol=9 * eps)
    wide = arrays.orthogonal((2, 16, 64), seed=0, name="w", batch_axis=0).astype(float)
    for matrix in wide:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=eps)
    delta = arrays.delta_orthogonal((3, 3, 16, 64), seed=0, name="w").astype(float)
    np.testing.assert_allclose(delta[1, 1] @ delta[1, 1].T, np.eye(16), atol=eps)
    assert np.count_nonzero(delta) == 16 * 64


def test_sparse_cuts_the_inputs_of_every_output() -> None:
    kernel = arrays.sparse((50, 20), 0.77, seed=0, name="w")
    np.testing.assert_array_equal((kernel == 0).sum(axis=0), np.full(20, 39))


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_a_dtype_is_the_rounded_float32(dtype: str) -> None:
    fine = arrays.glorot_normal((64, 48), seed=0, name="w")
    coarse = arrays.glorot_normal((64, 48), seed=0, name="w", dtype=dtype)
    assert coarse.dtype.name == dtype
    np.testing.assert_array_equal(coarse, fine.astype(coarse.dtype))


def test_aliases() -> None:
    for alias, name in ALIASES.items():
        assert getattr(arrays, alias) is getattr(arrays, name)


def test_without_elements_there_is_nothing_to_scale() -> None:
    for name in SIX:
        assert getattr(arrays, name)((0, 4), seed=0, name="w").shape == (0, 4)


@pytest.mark.parametrize("name", SCHEMES)
def test_each_has_a_signature_and_a_docstring_of_its_own(name: str) -> None:
    function, scheme = getattr(arrays, name), SCHEMES[name]
    assert function.__name__ == function.__qualname__ == name
    parameters = inspect.signature(function).parameters
    text = inspect.getdoc(function) or ""
    head, _, rest = text.partition("Args:\n")
    described = rest.partition("Returns:")[0]
    assert head.startswith(scheme.summary)
    assert scheme.formula in head
    for key in parameters:
        assert f"    {key}: " in described, key
    assert set(scheme.parameters) < set(parameters)
    assert scheme.source in text
    assert not {"fans", "size"} & set(parameters)
    assert max(map(len, text.splitlines())) <= 100


def test_examples_run() -> None:
    runner, finder = doctest.DocTestRunner(verbose=False), doctest.DocTestFinder()
    for name in SCHEMES:
        for test in finder.find(getattr(arrays, name), name, globs=vars(arrays).copy()):
            runner.run(test)
    results = runner.summarize(verbose=False)
    assert (results.failed, results.attempted) == (0, 2 * len(SCHEMES))


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (TypeError, lambda: arrays.he_normal(), r"he_normal\(\) got .*'shape'; its form is he_n"),
        (TypeError, lambda: arrays.zeros((4, 3), seed=0), "got an unexpected keyword argument 'seed'"),
        (TypeError, lambda: arrays.constant((4, 3)), "missing a required argument: 'value'"),
        (ArgumentError, lambda: arrays.he_normal((4,), name="b"), "choose a law that needs no fans"),
        (ArgumentError, lambda: arrays.he_normal(4, name="b"), "shape=4"),
        (ArgumentError, lambda: arrays.he_normal((4, 3), name="b", seed=-1), "seed"),
        (ArgumentError, lambda: arrays.he_normal((4, 3), name="b", dtype="int8"), "dtype"),
        (ArgumentError, lambda: arrays.normal((4, 3), 0.0, name="b"), "for zeros write Constant"),
        (ArgumentError, lambda: arrays.lecun_normal((4, 3), name="b", gain=np.inf), "gain=inf"),
        (ArgumentError, lambda: arrays.normal((4,), name="b", in_axis=0, out_axis=0), "named twice"),
        (ArgumentError, lambda: arrays.he_normal((0, 4), name="b", in_axis=5), "does not exist"),
    ],
)  # fmt: skip
def test_errors(error: type[Exception], call: object, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_axes_of_structured_laws_are_those_named() -> None:
    """In (in, out) layout the rows of the drawn matrix are the columns of the array."""
    here = arrays.orthogonal((8, 4), seed=0, name="w")
    law = SCHEMES["orthogonal"].make()
    there = sample(law, (4, 8), seed=0, name="w", axes=Axes((1,), (0,)))
    np.testing.assert_array_equal(here.T, there)
