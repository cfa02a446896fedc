"""What both callbacks do with a model and the first batch it is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from isometry.api import check
from isometry.checker import parse_ignore
from isometry.errors import ArgumentError, IsometryError, UnhealthyError

__all__ = ["FirstStep"]

ON_ERROR = ("raise", "warn", "ignore")

Reader = Callable[[Any], Any]


class FirstStep:
    """A check with its settings: measures, then prints, warns or raises.

    The batch is the one that the training itself is about to use: nothing is drawn from a data
    loader. `isometry.check` leaves no trace, so the training goes on as if it had not been there.

    Args:
        on_error: "raise", "warn" or "ignore" (print, and go on), where the check finds an error
            or cannot be made.
        inputs, target: functions of the batch; None: the framework's own way to read it.
        loss, select, ignore: as for `isometry.check`.

    Raises:
        ArgumentError: one of them is not such.
    """

    def __init__(
        self,
        *,
        on_error: str,
        inputs: Reader | None,
        target: Reader | None,
        loss: Any,
        select: Iterable[str],
        ignore: Iterable[str],
    ) -> None:
        if on_error not in ON_ERROR:
            raise ArgumentError(
                f"on_error is {on_error!r}; expected one of {', '.join(map(repr, ON_ERROR))}"
            )
        for name, reader in (("inputs", inputs), ("target", target)):
            if reader is not None and not callable(reader):
                raise ArgumentError(
                    f"{name} is {type(reader).__name__}; expected a function of the batch, such as "
                    f"{name}=lambda batch: batch[0]"
                )
        self.on_error, self.inputs, self.target, self.loss = on_error, inputs, target, loss
        self.select, self.ignore = _texts(select), _texts(ignore)
        parse_ignore((*self.select, *self.ignore))  # a slip of the pen, before data are loaded

    def __call__(
        self,
        model: nn.Module,
        batch: Any,
        read: Callable[[nn.Module, Any], tuple[Any, Any]],
        *,
        aloud: bool,
    ) -> None:
        """Check a model on a batch.

        Args:
            model: about to take its first step.
            batch: what the training is about to use.
            read: model, batch -> inputs, target, for what the user has given no function for.
            aloud: this process prints; the others only warn or raise.

        Raises:
            UnhealthyError: an error was found and `on_error` is "raise".
            IsometryError: the check could not be made, and `on_error` is "raise".
        """
        try:
            inputs, target = self._read(model, batch, read)
            report = check(
                model, inputs, loss=self.loss, target=target,
                select=self.select, ignore=self.ignore,
            )  # fmt: skip
        except IsometryError as error:
            if self.on_error == "raise":
                raise
            text, healthy = f"{type(model).__name__} was not checked: {error}", False
        else:
            text, healthy = str(report), report.ok
        if healthy or self.on_error == "ignore":
            say(text, aloud)
        elif self.on_error == "raise":
            raise UnhealthyError(text)
        else:
            warnings.warn(text, stacklevel=2)

    def _read(
        self, model: nn.Module, batch: Any, read: Callable[[nn.Module, Any], tuple[Any, Any]]
    ) -> tuple[Any, Any]:
        if self.inputs is None:
            inputs, target = read(model, batch)
        else:
            inputs, target = self.inputs(batch), None
        return inputs, target if self.target is None else self.target(batch)


def say(text: str, aloud: bool = True) -> None:
    """Print, in the one process of a run that does."""
    if aloud:
        print(text, flush=True)


def _texts(codes: Iterable[str]) -> tuple[str, ...]:
    return (codes,) if isinstance(codes, str) else tuple(codes)
