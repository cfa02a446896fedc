"""What one wide random layer does to a signal and to a gradient, by quadrature.

    q' = C_W E[phi(sqrt(q) z)²]        chi = C_W E[phi'(sqrt(q) z)²],   z ~ N(0, 1)

with C_W = fan_in Var W, q the second moment of the pre-activations, and chi the factor by which
the second moment of the gradient grows (Poole et al. 2016; Schoenholz et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isometry.gains import find, gaussian_grid

__all__ = ["Depths", "through_layers"]


@dataclass(frozen=True, slots=True)
class Depths:
    """Second moments by depth, the first layer first."""

    before: tuple[float, ...]  # of the pre-activations, q
    after: tuple[float, ...]  # of the activations, E[phi²]
    chi: tuple[float, ...]  # by which a squared gradient grows on its way back through a layer

    @property
    def gradients(self) -> tuple[float, ...]:
        """The second moment of the gradient of each layer's output, 1 at the last."""
        back = [1.0]
        for factor in self.chi[:0:-1]:
            back.append(back[-1] * factor)
        return tuple(reversed(back))


def through_layers(activation: str, scales: Sequence[float], q: float = 1.0) -> Depths:
    """Follow an input of second moment q through layers of C_W = `scales`.

    Args:
        activation: a name that `iso.gain` knows.
        scales: fan_in times the variance of a weight, for each layer.
        q: E[x²] of the input.

    Example:
        >>> glorot = through_layers("tanh", [1.0] * 5)
        >>> [round(v**0.5, 4) for v in glorot.after]
        [0.6279, 0.4863, 0.4082, 0.3576, 0.3216]

    Source: Poole et al. 2016; Schoenholz et al. 2017.
    """
    phi = find(activation, {})
    before, after, chi = [], [], []
    for scale in scales:
        q = scale * q
        grid = gaussian_grid(phi.function, phi.kinks, q=q)
        before.append(q)
        q = grid.mean(grid.value**2)
        after.append(q)
        chi.append(scale * grid.mean(grid.slope**2))
    return Depths(tuple(before), tuple(after), tuple(chi))
