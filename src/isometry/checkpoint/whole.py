"""Weights on disk, as safetensors: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isometry.errors import ArgumentError, BackendError, ModelError

__all__ = ["save", "writable"]


def writable(path: str | os.PathLike[str]) -> Path:
    """The path, where a file can be written there. Raises ArgumentError otherwise."""
    target = Path(path)
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder; expected a file such as model.safetensors")
    if not os.access(target.parent, os.W_OK):
        raise ArgumentError(f"cannot write to {target.parent}; expected a folder that exists")
    return target


def save(
    state: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a PyTorch state dict as safetensors.

    Tensors that are one (a tied embedding and head) are written once, under their first name; each
    further name is a key of the file's metadata whose value is the first name.

    Args:
        state: name -> tensor, on any device, as `model.state_dict()` gives it.
        path: the file; it is replaced at once when it is complete.
        metadata: further strings for the file's header.

    Raises:
        ModelError: a value is not a tensor, or has no storage (it is on meta).
        ArgumentError: the file cannot be written there.
        BackendError: PyTorch is not installed.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Linear(4, 2)
        >>> save(model.state_dict(), tempfile.mkdtemp() + "/model.safetensors")
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise BackendError(f"writing safetensors needs PyTorch: {error}") from error

    target = writable(path)
    tensors, aliases = _unique(state)
    header = {"format": "pt", **(metadata or {}), **aliases}
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.touch()  # with the rights that a new file has here, which safetensors narrows
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, header)
        temporary.chmod(mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _unique(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors, each once and contiguous, and alias -> first name for the rest."""
    import torch

    tensors: dict[str, Any] = {}
    first: dict[object, str] = {}
    aliases: dict[str, str] = {}
    storages: set[int] = set()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{name!r} in the state is a {type(value).__name__}; safetensors holds tensors only"
            )
        if value.is_meta:
            raise ModelError(f"{name!r} is on meta and has no values; initialise the model first")
        where = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        if value.numel() and where in first:
            aliases[name] = first[where]
            continue
        first[where] = name
        storage = value.untyped_storage().data_ptr()
        tensor = value.detach().contiguous()
        # Part of a tensor that is written too: the file cannot share bytes, so it gets its own.
        tensors[name] = tensor.clone() if value.numel() and storage in storages else tensor
        storages.add(storage)
    return tensors, aliases
