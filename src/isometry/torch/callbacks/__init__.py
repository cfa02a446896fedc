"""Checks before the first step of training, each in its framework's own form.

    from isometry.torch.callbacks.lightning import CheckInitialization
    from isometry.torch.callbacks.transformers import CheckInitialization

Importing this package imports neither framework.
"""

__all__: list[str] = []
