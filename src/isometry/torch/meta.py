"""Build a model whose parameters are on meta, and remember the values that were set on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["forget", "meta", "remember", "remembered"]

# On the module and not on the tensor: what shards a model puts other tensors in its slots.
REMEMBERED = "_isometry_values"
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
        watch.adopt(module, name, on_meta, parameter.detach())
        return on_meta

    handle = nn.modules.module.register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        with watch:
            yield
    finally:
        handle.remove()


Slots = Iterable[tuple[nn.Module, str]]


def remembered(slots: Slots) -> Tensor | float | None:
    """The value that a parameter on meta was given while its model was built, where it is known:
    a number where all elements are equal.

    Args:
        slots: the places that hold the parameter, (module, name in it).
    """
    for module, slot in slots:
        value: Tensor | float | None = module.__dict__.get(REMEMBERED, {}).get(slot)
        if value is not None:
            return value
    return None


def remember(module: nn.Module, slot: str, value: Tensor | float) -> None:
    """Note the value of a parameter that is, or is going to be, on meta."""
    module.__dict__.setdefault(REMEMBERED, {})[slot] = value


def forget(module: nn.Module, slot: str) -> None:
    """Drop what is remembered of a parameter: it has a value now, or another one."""
    values = module.__dict__.get(REMEMBERED)
    if values is not None:
        values.pop(slot, None)
        if not values:
            del module.__dict__[REMEMBERED]


class _Watch(TorchDispatchMode):
    """Tells memory that was set from memory that was only allocated."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unset: set[int] = set()
        self._slots: dict[int, tuple[nn.Module, str, int]] = {}
        self._alive: list[StorageWeakRef] = []

    def adopt(self, module: nn.Module, slot: str, on_meta: nn.Parameter, original: Tensor) -> None:
        """Take in a parameter that goes to meta, with its value where it has one."""
        storage = on_meta.untyped_storage()
        self._slots[storage._cdata] = (module, slot, on_meta.numel())
        self._alive.append(StorageWeakRef(storage))
        forget(module, slot)
        if original.untyped_storage()._cdata in self._unset or not original.numel():
            return
        first = float(original.flatten()[0])
        if bool((original == first).all()):
            remember(module, slot, first)
        elif original.numel() <= SMALL:
            remember(module, slot, original.clone())

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
        if key not in self._slots:
            return
        module, slot, count = self._slots[key]
        forget(module, slot)
        whole = target.numel() == count
        if whole and name == "zero_":
            remember(module, slot, 0.0)
        elif whole and name == "fill_" and not isinstance(args[1], Tensor):
            remember(module, slot, float(args[1]))
