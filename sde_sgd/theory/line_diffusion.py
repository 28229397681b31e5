r"""A diffusion on a line, cut where it is never found and resolved into panels.

.. math:: dX = -U'(X)\,dt + \sqrt{2 D(X)}\,dW \quad (\text{It\^o}), \qquad \psi = \int U'/D, \qquad p \sim e^{-\psi}/D

With D = T constant psi is U/T. The noise of SGD at step k depends on the parameters before the step: hence Itô.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sde_sgd._core import checks
from sde_sgd.theory import potentials
from sde_sgd.theory.panels import Exponent, Panels

_CUT = 50.0  # where psi is this far above its lowest value the law has e^-50 of its mass left
_MAX_VARIATION = 2.0  # of psi within a panel
_TOLERANCE = 1e-9
_MAX_HALVINGS = 8


class LineDiffusion(NamedTuple):
    """Potential U and diffusion coefficient: a temperature, or a function D(x)."""

    potential: Callable[[Any], Any]
    diffusion: float | Callable[[Any], Any]

    def mirrored(self) -> "LineDiffusion":
        """Return the diffusion of -X."""
        diffusion = self.diffusion
        return LineDiffusion(lambda x: self.potential(-x),
                             (lambda x: diffusion(-x)) if callable(diffusion) else diffusion)

    def coefficient(self, x: np.ndarray) -> np.ndarray:
        """Return D at positions; raise unless it is positive."""
        if not callable(self.diffusion):
            return np.full(np.shape(x), float(self.diffusion))
        result = potentials.values(self.diffusion, x, "temperature")
        if not np.all(result > 0):
            raise ValueError(f"temperature must be positive wherever the process goes, but is {np.min(result):.6g} at "
                             f"{x.ravel()[np.argmin(result)]:.6g}. A point without noise is not crossed.")
        return result

    def exponent(self, panels: Panels) -> Exponent:
        """Return psi at the nodes and edges of panels."""
        if not callable(self.diffusion):
            return Exponent(*(potentials.values(self.potential, x) / self.diffusion
                              for x in (panels.nodes, panels.edges)))
        slope = panels.derivative(potentials.values(self.potential, panels.nodes)) / self.coefficient(panels.nodes)
        edges = np.concatenate([[0.0], np.cumsum(panels.integrals(slope))])
        return Exponent(edges[:-1, None] + panels.within(slope), edges)

    def resolve(self, *positions: float) -> Panels:
        """Return panels with edges at the ordered positions, in which psi varies little."""
        panels = Panels(np.array(positions, dtype=np.float64)).split()
        while np.any(coarse := self.exponent(panels).variation() > _MAX_VARIATION):
            panels = panels.split(coarse)
            if np.min(panels.widths / np.maximum(np.abs(panels.edges[1:]), np.abs(panels.edges[:-1]))) < 1e-12:
                raise ValueError("potential jumps. Give it as a continuous function.")
        return panels

    def left_end(self, start: float, step: float) -> float:
        """Return a point left of ``start`` beyond which the process is never found; raise if there is none."""
        lowest = top = 0.0
        edge = start
        for _ in range(1000):
            with np.errstate(over="ignore", invalid="ignore"):
                ascent = self._ascent(edge - step, edge)
            if not np.max(np.abs(ascent)) <= _CUT:  # NaN and infinity included
                step /= 2
                continue
            lowest = min(lowest, float(np.min(top + ascent)))
            top, edge, step = top + float(ascent[0]), edge - step, 1.2 * step
            if top - lowest > _CUT:
                return edge
        raise ValueError("potential does not confine the process on the far side of the start, so that the mean time "
                         "is infinite. Pass reflecting=, the position of a wall there.")

    def _ascent(self, left: float, right: float) -> np.ndarray:
        """Return psi at the edges and nodes of one panel, less psi at its right end."""
        exponent = self.exponent(Panels(np.array([left, right])))
        return np.concatenate([exponent.edges[:1], exponent.nodes[0]]) - exponent.edges[1]


def line_diffusion(potential: Callable[[Any], Any], temperature: Any) -> LineDiffusion:
    """Return the checked diffusion of a potential and a temperature or diffusion coefficient."""
    if not callable(potential):
        raise TypeError(f"potential must be callable, got {potential!r} of type {type(potential).__name__}.")
    if callable(temperature):
        return LineDiffusion(potential, temperature)
    checks.positive("temperature", temperature)
    return LineDiffusion(potential, float(temperature))


def refined(
    panels: Panels, evaluate: Callable[[Panels], Float[np.ndarray, " values"]]
) -> Float[np.ndarray, " values"]:
    """Return what converges as panels are halved; raise if it does not, or leaves the range of float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        previous = evaluate(panels)
        for _ in range(_MAX_HALVINGS):
            panels = panels.split()
            result = evaluate(panels)
            if not np.all(np.isfinite(result)):
                raise OverflowError("The result is beyond float64: the barrier is above 700 temperatures.")
            if np.all(np.abs(result - previous) <= _TOLERANCE * np.abs(result)):
                return result
            previous = result
    raise ValueError("The integral does not converge: potential or temperature is not smooth enough.")
