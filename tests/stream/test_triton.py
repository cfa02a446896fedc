"""The Triton kernels: in Triton's interpreter against NumPy, as the compiler's code, and on a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.stream import sample
from isometry.stream.index import linear, select
from isometry.stream.places import encoded, places
from isometry.stream.rounding import DTYPES
from isometry.torch.fill import fill_
from isometry.types import Block, Constant, Law, Normal, TruncatedNormal, Uniform

LAWS: list[Law] = [
    Normal(0.02), Normal(0.02, mean=-1.0), Uniform(0.1), Uniform(0.1, mean=3.0),
    TruncatedNormal(0.02), TruncatedNormal(0.5, cutoff=3.0, mean=0.1),
]  # fmt: skip
SCRIPT = Path(__file__).with_name("interpreted_kernels.py")

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.fixture(scope="module")
def triton() -> Any:
    return pytest.importorskip("triton", reason="Triton is not installed: it is Linux's alone")


@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(
    ("check", "least"),
    [
        ("known_answers", 300),
        ("every_octave", 1_500_000),
        ("roundings", 7_000_000),
        ("runs", 250_000),
        ("any_memory", 30_000),
        ("random_elements 0 1 2", 18_000_000),
        ("random_elements 3 4 5", 18_000_000),
    ],
)
def test_the_interpreter_gives_the_bits_of_numpy(check: str, least: int) -> None:
    """In a process of its own: TRITON_INTERPRET is read once, when Triton is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *check.split()],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= least, "compared too few values"


# What the code may do to floating-point numbers: each exactly rounded, to nearest, nothing flushed;
# and truncation to an integer.
ALLOWED = {
    "add.rn.f32", "mul.rn.f32", "add.rn.f64", "mul.rn.f64",
    "cvt.rn.f32.s32", "cvt.rn.f32.u32", "cvt.rzi.s32.f32",
    "cvt.f64.f32", "cvt.rn.f32.f64", "cvt.rn.f16.f32", "cvt.rn.f16x2.f32",
}  # fmt: skip
FLOATING = re.compile(
    r"^\s*(?:@!?%\w+\s+)?((?!mov|ld|st)\w+(?:\.\w+)*\.f(?:16|32|64)\w*(?:\.\w+)*)", re.MULTILINE
)
WHOLE = {"AXES": 0, "ALIGNED": True, "BLOCKS": 256}
ROWS = {"AXES": 1, "ALIGNED": False, "BLOCKS": 256}
PICKS = {"AXES": 3, "WIDE": True, "ELEMENTS": 1024}


def compiled(kernel: Any, dtype: str, kind: str, mean: bool, sizes: dict[str, Any]) -> Any:
    """The kernel, compiled for an A100; no GPU takes part."""
    import triton
    from triton.backends.compiler import GPUTarget

    from isometry.stream._triton import OPTIONS
    from isometry.stream.triton_kernels import PARAMETERS

    names = kernel.arg_names
    out = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "u16"}
    types = {"out": f"*{out.get(dtype, 'u8')}", "table": "*i32", "geometry": "*i64"}
    types |= {"first": "i64", "length": "i64", "count": "i64", "programs": "i32"}
    types |= dict.fromkeys(PARAMETERS, "i32")
    static = {"KIND": kind, "MEAN": mean, "DTYPE": dtype, **sizes}
    source = triton.compiler.ASTSource(
        kernel,
        {name: types.get(name, "constexpr") for name in names},
        {(names.index(name),): value for name, value in static.items()},
        {
            (names.index(name),): [["tt.divisibility", 16]]
            for name in ("out", "table", "geometry", "length")
            if name in names
        },
    )
    return triton.compile(source, target=GPUTarget("cuda", 80, 32), options=OPTIONS)


@pytest.mark.usefixtures("triton")
def test_the_compiled_code_rounds_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fused, approximate or flushed to zero, on any path; and whole tensors are written 16
    bytes at a time."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from isometry.stream.triton_kernels import fill_picks, fill_runs

    cases = [(k, mean, "float32") for k in ("normal", "cut", "uniform") for mean in (False, True)]
    cases += [("normal", False, dtype) for dtype in DTYPES if dtype != "float32"]
    used = set()
    for kernel, sizes in ((fill_runs, WHOLE), (fill_runs, ROWS), (fill_picks, PICKS)):
        for kind, mean, dtype in cases if sizes is WHOLE else cases[1:3]:
            code = compiled(kernel, dtype, kind, mean, sizes).asm["ptx"]
            operations = set(FLOATING.findall(code))
            assert operations <= ALLOWED, (kernel, kind, mean, dtype, operations - ALLOWED)
            used |= operations
            if sizes is WHOLE and dtype in ("float32", "float16", "bfloat16"):
                assert "st.global.v4.b32" in code, (kind, dtype)
                assert ".shared" not in code, (kind, dtype)
    assert used == ALLOWED - {"cvt.rn.f16.f32"}, "the pattern no longer finds the operations"


@pytest.mark.parametrize(
    ("shape", "index", "strides", "expected"),
    [
        ((4, 6), None, (6, 1), [(24, 1, 1)]),  # whole: one run
        ((4, 6), None, (1, 4), [(4, 1, 6), (6, 4, 1)]),  # transposed memory
        ((4, 6), (slice(1, 3),), (6, 1), [(12, 1, 1)]),  # whole rows
        ((4, 6), (slice(None), slice(2, 5)), (3, 1), [(3, 1, 1), (4, 3, 6)]),
        ((4, 6), (slice(None, None, -1), 2), (1, 9), [(4, 1, -6)]),
        ((4, 6, 5), (slice(None, None, 2),), (30, 5, 1), [(30, 1, 1), (2, 30, 60)]),
        ((4, 1, 6), ([1], slice(None), [3]), (1, 1, 1), []),
    ],
)
def test_axes_that_run_on_are_one(
    shape: Any, index: Any, strides: Any, expected: list[tuple[int, int, int]]
) -> None:
    found = places(select(shape, index).dims, shape, strides)
    assert [(a.length, a.stride, a.step) for a in found.axes] == expected
    assert found.first == linear(select(shape, index).dims, shape).flat[0]


def test_tables_follow_the_axes() -> None:
    found = places([np.array([3, 0]), range(5), np.array([1, 1, 2])], (4, 5, 3), (15, 3, 1))
    assert found.first == 0
    assert found.run == 1
    rows = [3, 1, 0, 12, 5, 3, 3, 0, 2, 15, 0, 15]
    assert encoded(found.axes).tolist() == [*rows, 1, 1, 2, 45, 0]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    of = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().view(of[tensor.itemsize])


@cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", [*LAWS, Constant(0.3)], ids=str)
def test_a_large_cuda_tensor_is_the_host_tensor(law: Law, dtype: str) -> None:
    kind = getattr(torch, dtype)
    there, here = (
        torch.empty(5001, 4003, dtype=kind, device="cuda"),
        torch.empty(5001, 4003, dtype=kind),
    )
    for tensor in (there, here):
        fill_(tensor, law, seed=3, name="w")
    assert torch.equal(bits(there).cpu(), bits(here))


@cuda
def test_parts_layouts_and_blocks_on_cuda() -> None:
    blocks = (Block("k", 0, 300, 500, Uniform(0.5)), Block("v", 0, 500, 700, Constant(1.5)))
    whole = fill_(torch.empty(900, 700), Normal(0.02), seed=3, name="w", blocks=blocks)
    for index in (
        (slice(None), slice(100, 650)),
        (slice(None, None, -3),),
        (torch.arange(900).reshape(-1, 30)[::2].reshape(-1), slice(7, 300)),
        (slice(None), [5, 1, 1]),
    ):
        expected = torch.from_numpy(
            sample(
                Normal(0.02), (900, 700), seed=3, name="w", blocks=blocks,
                index=tuple(np.asarray(i) if isinstance(i, (torch.Tensor, list)) else i for i in index),
            )
        )  # fmt: skip
        for order in ((0, 1), (1, 0)):
            memory = torch.zeros([2 * expected.shape[a] for a in order], device="cuda")
            view = memory.permute(order)[::2, 1::2]
            fill_(
                view, Normal(0.02), seed=3, name="w", blocks=blocks, index=index, shape=(900, 700)
            )
            assert torch.equal(view.cpu(), expected)
            assert int((memory != 0).sum()) <= expected.numel()
    assert whole.shape == (900, 700)


@cuda
@pytest.mark.parametrize("number", range(torch.cuda.device_count()))
def test_the_current_stream_of_the_tensors_device_is_used(number: int) -> None:
    """Slow work before it on that stream, which would overwrite what came too early."""
    expected = fill_(torch.empty(1 << 20), Normal(), seed=0, name="w")
    with torch.cuda.stream(torch.cuda.Stream(number)):
        tensor = torch.empty(1 << 20, device=f"cuda:{number}")
        torch.cuda._sleep(100_000_000)
        tensor.fill_(float("nan"))
        fill_(tensor, Normal(), seed=0, name="w")
        assert torch.equal(tensor.cpu(), expected)
