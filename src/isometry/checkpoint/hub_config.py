"""The files beside the weights from which transformers builds the model again."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["hub_configs"]


def hub_configs(model: Any, dtype: str | None) -> dict[str, str]:
    """File name -> text, for a transformers model; nothing for another.

    What `save_pretrained` writes: the class's name, and in `dtype` the one that `from_pretrained` loads
    the weights in. The model's own configuration is left as it is.

    Args:
        model: any model.
        dtype: of the checkpoint; None: the model's own. transformers computes in no float8: it is
            told the model's own dtype, and widens the weights to that.
    """
    config: Any = getattr(model, "config", None)
    if not callable(getattr(config, "to_json_string", None)):
        return {}
    written = copy.deepcopy(config)
    computed = dtype is not None and not dtype.startswith("float8")
    written.dtype = dtype if computed else str(model.dtype).removeprefix("torch.")
    written.architectures = [type(model).__name__]
    texts = {"config.json": str(written.to_json_string())}
    generation: Any = getattr(model, "generation_config", None)
    if callable(getattr(generation, "to_json_string", None)) and model.can_generate():
        texts["generation_config.json"] = str(generation.to_json_string())
    return texts
