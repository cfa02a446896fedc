"""What a recorder tells of a trace: weights from signals, products, and images channels first."""

from __future__ import annotations

from isometry.recording import Recording
from isometry.types import Stored


def image_net() -> tuple[Recording, list[tuple[int, ...]]]:
    """A convolution with channels last, an activation, a pooling, a mean over positions."""
    r = Recording()
    x = r.input((4, 8, 6, 3), "float32", channels_last=True)
    w = r.parameter((16, 3, 3, 3), "float32", "conv", Stored((3, 3, 3, 16), (3, 2, 0, 1)))
    y = r.apply("conv", [x, w], {"groups": 1}, (4, 8, 6, 16), "float32", channels_last=True)
    z = r.apply("pointwise", [y], {"fn": "relu", "args": ()}, (4, 8, 6, 16), "float32")
    p = r.apply("pool", [z], {"kind": "max", "count": 4}, (4, 4, 3, 16), "float32")
    m = r.apply("mean", [p], {"dims": (1, 2), "count": 12}, (4, 16), "float32")
    return r, [r.values[v.root].shape for v in (x, w, y, z, p, m)]


def test_images_are_presented_channels_first() -> None:
    recording, shapes = image_net()
    assert shapes == [
        (4, 3, 8, 6),
        (16, 3, 3, 3),
        (4, 16, 8, 6),
        (4, 16, 8, 6),
        (4, 16, 4, 3),
        (4, 16),
    ]
    assert recording.nodes[-1].attrs["over"] == (2, 3)  # the positions, as PyTorch numbers them


def test_an_axis_named_by_an_operation_is_renumbered_with_the_others() -> None:
    r = Recording()
    x = r.input((4, 8, 6, 3), "float32", channels_last=True)
    r.apply("softmax", [x], {"axis": -1, "count": 3}, (4, 8, 6, 3), "float32")
    assert r.nodes[-1].attrs["axis"] == 1


def test_a_product_with_a_weight_names_its_axes_in_pytorchs_layout() -> None:
    r = Recording()
    x = r.input((5, 7, 6), "float32")
    w = r.parameter((8, 6), "float32", "query", Stored((6, 2, 4), (1, 2, 0)))
    y = r.product(x, w, ((2,), (0,)), ((), ()), (5, 7, 2, 4), "float32")
    linear = r.nodes[-1]
    assert linear.op == "linear"
    assert (linear.attrs["in_axis"], linear.attrs["out_axis"]) == ((1,), (0,))
    assert linear.attrs["over"] == (2,)
    r.product(y, y, ((3,), (3,)), ((0, 2), (0, 2)), (5, 2, 7, 7), "float32")
    assert r.nodes[-1].op == "matmul"
    assert r.nodes[-1].attrs["inner"] == 4
    part = r.parameter((6, 6), "float32", "qkv").slice((0, 0), (2, 6), (1, 1))
    r.product(x, part, ((2,), (1,)), ((), ()), (5, 7, 2), "float32")
    assert dict(r.nodes[-1].parts[1].ranges) == {0: (0, 2)}


def test_constants_and_weights_are_told_from_signals() -> None:
    r = Recording()
    c, w = r.constant((3,), "float32"), r.parameter((3,), "float32", "a")
    assert r.is_constant(r.apply("add", [c, c], {}, (3,), "float32"))
    assert r.nodes == []  # what rests on nothing is no operation
    assert r.is_weight(r.apply("mul", [w, c], {}, (3,), "float32"))
    x = r.input((3,), "float32")
    assert not r.is_weight(r.apply("mul", [w, x], {}, (3,), "float32"))
    assert r.is_constant(r.apply("add", [x, x], {}, (3,), "int32"))  # whole numbers carry no signal
