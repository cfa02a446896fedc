"""What a plan keeps has no value on meta: let the model's own initialisers make it again.

A copy of the module tree, still on meta, is given real memory for just those tensors; the modules
that hold them, and their ancestors as transformers would call them, run their `reset_parameters`
or the model's `_init_weights` on the copy, with every random draw taken from the stream. What was
not written by then cannot be known, and is an error that lists the names.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from isometry.errors import MaterialiseError
from isometry.torch.as_written import as_written, shapes
from isometry.torch.fill import fill_
from isometry.torch.leaves import OwnedTensor, owned_tensors, public_name
from isometry.torch.meta import remembered
from isometry.types import Normal, Uniform

__all__ = ["recreated"]


def recreated(model: nn.Module, names: list[str], seed: int) -> dict[str, Tensor]:
    """Whole values for tensors on meta that a plan keeps, by name; of a model that is sharded too.

    Raises:
        MaterialiseError: a tensor that the model's own initialisers do not write.
    """
    if not names:
        return {}
    with as_written(model, shapes):
        owned = {e.names[0]: e for e in owned_tensors(model)}
        found = _recreated(model, [owned[name] for name in names], seed)
        return {name: found[id(owned[name].tensor)] for name in names}


def _recreated(model: nn.Module, kept: list[OwnedTensor], seed: int) -> dict[int, Tensor]:
    """The same, by the id of the tensor on meta."""
    found: dict[int, Tensor] = {}
    for entry in kept:
        value = remembered(entry.places)
        if isinstance(value, float):
            value = torch.full(entry.tensor.shape, value, dtype=entry.tensor.dtype)
        if value is not None:
            found[id(entry.tensor)] = value.clone()
    kept = [entry for entry in kept if id(entry.tensor) not in found]
    if not kept:
        return found
    skeleton = _skeleton(model)
    named = {e.names[0]: e for e in owned_tensors(skeleton)}
    mode = _StreamDraws(seed)
    wanted: dict[str, OwnedTensor] = {}
    for entry in kept:
        copied = named[entry.names[0]]
        real = torch.zeros_like(copied.tensor, device="cpu")
        if isinstance(copied.tensor, nn.Parameter):
            real = nn.Parameter(real, requires_grad=copied.tensor.requires_grad)
        for module in skeleton.modules():
            for table in (module._parameters, module._buffers):
                for slot, tensor in table.items():
                    if tensor is copied.tensor:
                        table[slot] = real  # type: ignore[assignment]
        mode.names[_key(real)] = entry.names[0]
        wanted[entry.names[0]] = copied
    with torch.no_grad(), torch.random.fork_rng(devices=[]), mode:
        torch.manual_seed(seed % 2**63)
        for module in _holders(skeleton, [e.names[0] for e in kept]):
            _initialise(skeleton, module)
    unset = []
    for entry in kept:
        copied = wanted[entry.names[0]]
        table = copied.module._parameters if entry.kind == "parameter" else copied.module._buffers
        value = table.get(copied.slot)
        replaced = value is not None and not value.is_meta and _key(value) not in mode.names
        if value is None or value.is_meta or not (replaced or _key(value) in mode.written):
            unset.append(entry.names[0])
        else:
            found[id(entry.tensor)] = value.detach()
    if unset:
        raise MaterialiseError(
            f"on meta and kept by the plan, but no initialiser of the model writes them: "
            f"{', '.join(unset)}. Build the model under `with isometry.torch.meta():`, which keeps "
            "buffers real, override them: overrides={name: iso.Constant(0.0)}, or register a parametrization "
            "after initialising"
        )
    return found


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy of the module tree in which tensors on meta are new and real ones are shared."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for tensor in table.values():
                if tensor is not None and not tensor.is_meta:
                    memo[id(tensor)] = tensor.detach()
    config = getattr(model, "config", None)
    if config is not None:
        memo[id(config)] = config
    return copy.deepcopy(model, memo)


def _holders(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """The modules that hold the names, and all above them, the deepest first."""
    paths = {
        ".".join(parts[:i]) for n in names for parts in [n.split(".")] for i in range(len(parts))
    }
    named = ((public_name(f"{path}._")[:-2], module) for path, module in model.named_modules())
    found = [(path, module) for path, module in named if path in paths]
    return [module for _, module in sorted(found, key=lambda f: -f[0].count(".") - (f[0] != ""))]


def _initialise(model: nn.Module, module: nn.Module) -> None:
    own = getattr(module, "_init_weights", None)
    whole = getattr(model, "_init_weights", None)
    try:
        # MultiheadAttention and Transformer have theirs with an underscore.
        for name in ("reset_parameters", "_reset_parameters"):
            if callable(getattr(module, name, None)):
                getattr(module, name)()
        for initialiser in (own, whole):
            if callable(initialiser):
                initialiser(module)
                break
    except Exception as error:  # a model's own initialiser may raise anything
        raise MaterialiseError(
            f"the initialiser of {type(module).__name__} failed on what is kept of it: "
            f"{type(error).__name__}: {error}. Build the model under `with isometry.torch.meta():`, and "
            "register parametrizations after initialising"
        ) from error


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _StreamDraws(TorchDispatchMode):
    """Takes random draws from the stream, and notes which of the named tensors are written."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed = seed
        self.names: dict[int, str] = {}
        self.written: set[int] = set()
        self._draws = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        target = args[0] if args and isinstance(args[0], Tensor) else None
        if target is not None and func._schema.is_mutable and name.endswith("_"):
            self.written.add(_key(target))
            if name in ("normal_", "uniform_") and not target.is_meta and target.numel():
                self._draw(name, target, args, kwargs)
                return target
        return func(*args, **kwargs)

    def _draw(self, name: str, target: Tensor, args: tuple[Any, ...], kwargs: Any) -> None:
        low = args[1] if len(args) > 1 else kwargs.get("mean", kwargs.get("from", 0.0))
        high = args[2] if len(args) > 2 else kwargs.get("std", kwargs.get("to", 1.0))
        stream = self.names.get(_key(target), f"draw.{self._draws}")
        self._draws += stream.startswith("draw.")
        if name == "normal_":
            law: Normal | Uniform | None = Normal(std=high, mean=low) if high > 0 else None
        else:
            law = Uniform((high - low) / 2, mean=(high + low) / 2) if high > low else None
        if law is None:
            target.fill_(low)
        else:
            fill_(target, law, seed=self.seed, name=stream)
