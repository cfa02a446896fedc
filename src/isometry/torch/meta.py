"""Build a model whose parameters are on meta, and remember the values that were set on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["meta", "remembered"]

REMEMBERED = "_isometry_value"
SMALL = 1 << 20  # elements; larger values are remembered only where all are equal


@contextmanager
def meta() -> Iterator[None]:
    """Build a model with its parameters on meta and its buffers real.

    Parameters then take no memory until `isometry.initialize` gives them their values. Values
    that the model's code sets on purpose (a LayerScale of 1e-6, a zeroed gain, a table of decay
    rates) are remembered, so that the plan is the one that the materialised model would have.

    Example:
        >>> import torch
        >>> with meta():
        ...     model = torch.nn.Linear(4096, 4096)
        >>> model.weight.device
        device(type='meta')
    """
    watch = _Watch()

    def to_meta(
        module: nn.Module, name: str, parameter: nn.Parameter | None
    ) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return None
        on_meta = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        on_meta.__dict__.update(parameter.__dict__)
        watch.adopt(on_meta, parameter.detach())
        return on_meta

    handle = nn.modules.module.register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        with watch:
            yield
    finally:
        handle.remove()


def remembered(tensor: Tensor) -> Tensor | None:
    """The value that a parameter on meta was given while its model was built, where it is known."""
    value = tensor.__dict__.get(REMEMBERED)
    if value is None:
        return None
    return (
        torch.full(tensor.shape, value, dtype=tensor.dtype) if isinstance(value, float) else value
    )


class _Watch(TorchDispatchMode):
    """Tells memory that was set from memory that was only allocated."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unset: set[int] = set()
        self._parameters: dict[int, nn.Parameter] = {}
        self._alive: list[StorageWeakRef] = []

    def adopt(self, on_meta: nn.Parameter, original: Tensor) -> None:
        """Take in a parameter that goes to meta, with its value where it has one."""
        storage = on_meta.untyped_storage()
        self._parameters[storage._cdata] = on_meta
        self._alive.append(StorageWeakRef(storage))
        if original.untyped_storage()._cdata in self._unset or not original.numel():
            return
        first = float(original.flatten()[0])
        if bool((original == first).all()):
            on_meta.__dict__[REMEMBERED] = first
        elif original.numel() <= SMALL:
            on_meta.__dict__[REMEMBERED] = original.clone()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name.startswith("empty") and isinstance(out, Tensor):
            storage = out.untyped_storage()
            self._unset.add(storage._cdata)
            self._alive.append(StorageWeakRef(storage))
        elif name.endswith("_") and args and isinstance(args[0], Tensor):
            self._written(name, args)
        return out

    def _written(self, name: str, args: tuple[Any, ...]) -> None:
        target = args[0]
        key = target.untyped_storage()._cdata
        self._unset.discard(key)
        parameter = self._parameters.get(key)
        if parameter is None:
            return
        parameter.__dict__.pop(REMEMBERED, None)
        whole = target.numel() == parameter.numel()
        if whole and name == "zero_":
            parameter.__dict__[REMEMBERED] = 0.0
        elif whole and name == "fill_" and not isinstance(args[1], Tensor):
            parameter.__dict__[REMEMBERED] = float(args[1])
