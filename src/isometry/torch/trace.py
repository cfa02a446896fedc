"""Record a model's own forward as a Graph: on meta, so that it costs no memory and no arithmetic.

A dispatch mode sees every ATen call below autograd, whatever Python surrounds it. Values are told
apart by their storage: all views of one storage are one value, and the strides of a view say what
part of it they show (`layout`). What depends on neither inputs nor parameters is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from isometry.graph import Node, Part, Value
from isometry.torch.ops import COPIES, Op, describe
from isometry.views import Layout, Window, copied_layout, fresh_layout

__all__ = ["Tracer", "module_scopes"]

# In place, but of the shape and not of the values.
RESHAPES = frozenset("as_strided_ squeeze_ unsqueeze_ t_ transpose_ detach_ resize_ set_".split())

# Made from another tensor's shape and not from its values.
FILLS = frozenset(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty zero_ fill_".split()
)

_ITEM = torch.ops.aten._local_scalar_dense.default

Observer = Callable[[Node, Tensor], None]


class Tracer(TorchDispatchMode):
    """Records nodes and values while active. `observe(node, tensor)` sees every output.

    `assume_true` answers a branch on a boolean that meta cannot know ("is no token masked?"), and
    counts the answers in `assumed`.
    """

    def __init__(self, observe: Observer | None = None, *, assume_true: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.assumed = 0
        self._assume_true = assume_true
        self.nodes: list[Node] = []
        self.values: dict[int, Value] = {}
        self.scope = ""
        self._observe = observe
        self._layouts: dict[int, Layout] = {}
        self._alive: list[
            StorageWeakRef | Tensor
        ] = []  # a held reference keeps an address from being reused
        self._weights: set[int] = set()  # values that follow from parameters alone
        self._constants: set[int] = set()  # values that follow from neither inputs nor parameters
        self._owners: dict[int, str] = {}  # the module that owns a parameter's value

    # -- values ------------------------------------------------------------------------------

    def adopt(self, tensor: Tensor, *, owner: str | None = None, constant: bool = False) -> int:
        """Give a tensor that the model did not compute its value; a parameter has an owner."""
        value = self._new_value(tensor, -1)
        if owner is not None:
            self._weights.add(value)
            self._owners[value] = owner
        if constant:
            self._constants.add(value)
        return value

    def value_of(self, tensor: Tensor) -> int:
        """The value a tensor is a view of; a tensor never seen before is a constant."""
        layout = self._layouts.get(_storage_key(tensor))
        return self.adopt(tensor, constant=True) if layout is None else layout.root

    def _new_value(self, tensor: Tensor, producer: int) -> int:
        value = len(self.values)
        dtype = str(tensor.dtype).removeprefix("torch.")
        self.values[value] = Value(value, tuple(tensor.shape), dtype, producer)
        strided = tensor.layout is torch.strided
        strides = tensor.stride() if strided else tensor.shape  # of a sparse tensor any will do
        self._place(tensor, fresh_layout(value, tensor.shape, strides))
        return value

    def _place(self, tensor: Tensor, layout: Layout) -> None:
        key = _storage_key(tensor)
        if key not in self._layouts:
            strided = tensor.layout is torch.strided
            self._alive.append(StorageWeakRef(tensor.untyped_storage()) if strided else tensor)
        self._layouts[key] = layout

    def window(self, tensor: Tensor) -> Window | None:
        """What a tensor shows of its value, where its strides tell."""
        layout = self._layouts.get(_storage_key(tensor))
        if layout is None or tensor.layout is not torch.strided:
            return None
        return layout.window(tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def part(self, tensor: Tensor) -> Part:
        """A tensor as an operand: its value, and the ranges it covers of that value's axes."""
        root = self.value_of(tensor)
        window = self.window(tensor)
        if window is None:
            return Part(root, ordered=False)
        return Part(root, window.ranges(self.values[root].shape), window.is_ordered())

    # -- recording ---------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._assume_true and func is _ITEM and args[0].is_meta and args[0].dtype == torch.bool:
            self.assumed += 1
            return True
        out = func(*args, **kwargs)
        first = out[0] if isinstance(out, (tuple, list)) and out else out
        if isinstance(first, Tensor):
            self._record(func, args, kwargs, out, first)
        return out

    def _record(self, func: Any, args: Any, kwargs: Any, out: Any, first: Tensor) -> None:
        name = func.overloadpacket.__name__
        mutates = func._schema.is_mutable and name.endswith("_")
        if name in RESHAPES or (not mutates and _storage_key(first) in self._layouts):
            return  # a view
        if name in COPIES:
            self._copy(args[0], tuple(out) if isinstance(out, (tuple, list)) else (out,))
            return
        op = describe(name.rstrip("_") if mutates else name, args, kwargs, out)
        operands = tuple(t for t in op.operands if isinstance(t, Tensor))
        roots = [self.value_of(t) for t in operands]
        constant = name in FILLS or all(r in self._constants for r in roots)
        if constant or not first.is_floating_point():
            if not mutates or name in FILLS:
                for tensor in out if isinstance(out, (tuple, list)) else (out,):
                    if isinstance(tensor, Tensor):
                        self.adopt(tensor, constant=True)
            return
        value = self._node(op.op, operands, op.attrs, first, in_place=mutates)
        for extra, operand in op.then:
            if isinstance(operand, Tensor):
                value = self._append(extra, (Part(value), self.part(operand)), {}, first, False)
        if isinstance(out, (tuple, list)):
            for tensor in out[1:]:
                if (
                    isinstance(tensor, Tensor)
                    and tensor.numel()
                    and _storage_key(tensor) not in self._layouts
                ):
                    self._share(tensor, op, operands)
        if self._observe is not None:
            self._observe(self.nodes[self.values[value].producer], first)

    def _share(self, tensor: Tensor, op: Op, operands: tuple[Tensor, ...]) -> None:
        """Further outputs: indices and statistics are constants, the rest nodes of their own."""
        if (
            op.op in ("norm", "attention", "softmax", "pool", "variance")
            or not tensor.is_floating_point()
        ):
            self.adopt(tensor, constant=True)
        else:
            self._node(op.op, operands, op.attrs, tensor, in_place=False)

    def _copy(self, source: Tensor, outs: tuple[Any, ...]) -> None:
        window = self.window(source)
        root = self.value_of(source)
        for out in outs:
            if window is not None and out.shape == source.shape:
                self._place(out, copied_layout(window, out.shape, out.stride()))
            else:
                self._place(out, Layout(root, (), known=False))

    def _node(
        self,
        name: str,
        operands: tuple[Tensor, ...],
        attrs: dict[str, Any],
        out: Tensor,
        *,
        in_place: bool,
    ) -> int:
        attrs = dict(attrs)
        parts = [self.part(t) for t in operands]
        if name in ("matmul", "matmul_t"):
            weight = self._which_is_weight(parts)
            if weight is None:
                name, attrs["inner"] = "matmul", operands[0].shape[-1]
            else:
                attrs.update(self._contraction(name, operands[weight], weight))
                attrs["over"] = self._summed_over(operands[1 - weight], last=weight == 1)
                name, parts = "linear", [parts[1 - weight], parts[weight]]
        elif name == "bilinear":
            # The parameter last: ATen puts it between the two inputs.
            parts = sorted(parts, key=lambda p: p.root in self._weights)
        elif "dims" in attrs:
            window = self.window(operands[0])
            dims = attrs.pop("dims")
            attrs["over"] = (
                None if window is None else tuple(a for d in dims for a in window.covers(d))
            )
        return self._append(name, tuple(parts), attrs, out, in_place)

    def _which_is_weight(self, parts: list[Part]) -> int | None:
        """Which factor of a product is the weight; None where both are computed or both weights.

        Where both follow from parameters alone (learned queries read by a projection), the weight
        is the one that is a parameter as it stands, and of the module that runs.
        """
        weights = [i for i, p in enumerate(parts) if p.root in self._weights]
        if len(weights) == 2:
            weights = [i for i in weights if parts[i].root in self._owners]
        if len(weights) == 2:
            weights = [i for i in weights if self._owners[parts[i].root] == self.scope]
        return weights[0] if len(weights) == 1 else None

    def _contraction(self, name: str, tensor: Tensor, place: int) -> dict[str, Any]:
        """Which axes of the weight's root are summed over, and which index the outputs."""
        window = self.window(tensor)
        dims = tensor.dim()
        contracted = dims - 1 if (place == 0 or name == "matmul_t" or dims == 1) else dims - 2
        if window is None:
            return {}
        free = [d for d in range(max(0, dims - 2), dims) if d != contracted]
        return {
            "in_axis": window.covers(contracted),
            "out_axis": tuple(a for d in free for a in window.covers(d)),
            "batch_axis": tuple(a for d in range(dims - 2) for a in window.covers(d)),
        }

    def _summed_over(self, tensor: Tensor, last: bool) -> tuple[int, ...] | None:
        """The axes of a product's other factor that it runs over, in the order of their significance;
        None where that cannot be told."""
        window = self.window(tensor)
        dims = tensor.dim()
        dim = dims - 1 if last or dims == 1 else dims - 2
        if window is None or not window.is_ordered(slice(dim, dim + 1)):
            return None
        return window.covers(dim)

    def _append(
        self, name: str, parts: tuple[Part, ...], attrs: dict[str, Any], out: Tensor, in_place: bool
    ) -> int:
        index = len(self.nodes)
        if in_place and _storage_key(out) in self._layouts:
            # The whole storage is a new value; its digits stay, so that views still make sense.
            old = self._layouts[_storage_key(out)]
            value = len(self.values)
            self.values[value] = Value(
                value, self.values[old.root].shape, self.values[old.root].dtype, index
            )
            self._layouts[_storage_key(out)] = replace(old, root=value)
        else:
            value = self._new_value(out, index)
        roots = tuple(p.root for p in parts)
        learned_input = name == "linear" and roots[0] in self._weights
        if not learned_input and all(r in self._weights or r in self._constants for r in roots):
            self._weights.add(value)
        self.nodes.append(Node(index, name, roots, (value,), attrs, self.scope, parts))
        return value


def _storage_key(tensor: Tensor) -> int:
    if tensor.layout is not torch.strided:
        return id(tensor)  # its parts have memory of their own, and no views
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def module_scopes(model: nn.Module, tracer: Tracer, names: dict[int, str]) -> Iterator[None]:
    """Keep `tracer.scope` at the path of the module whose forward runs."""
    stack: list[str] = []

    def enter(module: nn.Module, args: Any) -> None:
        stack.append(tracer.scope)
        tracer.scope = names.get(id(module), tracer.scope)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if stack:
            tracer.scope = stack.pop()

    handles = [
        nn.modules.module.register_module_forward_pre_hook(enter),
        nn.modules.module.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def float_outputs(output: Any, prefix: str = "") -> dict[str, Tensor]:
    """The floating-point tensors in a model's output, by key, attribute or position."""
    if isinstance(output, Tensor):
        return {prefix or "output": output} if output.is_floating_point() else {}
    if isinstance(output, dict):
        items = [(str(k), v) for k, v in output.items()]
    elif isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", range(len(output)))
        items = [(str(k), v) for k, v in zip(names, output, strict=True)]
    elif hasattr(output, "__dataclass_fields__"):
        items = [(k, getattr(output, k)) for k in output.__dataclass_fields__]
    elif hasattr(output, "to_tuple"):
        items = [(str(i), v) for i, v in enumerate(output.to_tuple())]
    else:
        items = []
    found: dict[str, Tensor] = {}
    for key, value in items:
        found.update(float_outputs(value, f"{prefix}.{key}" if prefix else key))
    return found
