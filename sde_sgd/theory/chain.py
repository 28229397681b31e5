r"""Discrete SGD on a line, solved exactly: the ground truth of escape times at any learning rate and for any noise.

The step x' = x - eta U'(x) + eta xi makes a Markov chain whose backward equations

.. math:: \tau(x) = 1 + \int_{x' < c} p(x, x')\, \tau(x')\, dx'

are solved by Nystrom's method: values at Gauss-Legendre nodes, panels narrower than the noise. No path runs between
two iterates, so that nothing else is meant by the escape of SGD.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices, potentials
from sde_sgd.theory.absorption import expected_reward
from sde_sgd.theory.line_diffusion import LineDiffusion
from sde_sgd.theory.noise_laws import NoiseLaw
from sde_sgd.theory.panels import Panels
from sde_sgd.theory.transition import transition_matrix

_PANEL = 1.8  # panel width in standard deviations of a step; sixteen nodes each
_MAX_NODES = 6000
_MAX_LOOPS = 1000


class Loop(NamedTuple):
    """One loop of the Hill relation, from entrance into a basin out to a surface and on to the basin or the target."""

    success_probability: float
    """Probability p that the loop ends in the target."""
    mean_steps: float
    """Mean number of steps of a loop, whatever its end."""

    @property
    def mean_first_passage_steps(self) -> float:
        """Mean number of steps to the target from an entrance: mean_steps / p."""
        return self.mean_steps / self.success_probability


@dataclasses.dataclass(frozen=True, eq=False)
class SGDChain:
    r"""SGD with independent noise of a known law on a potential of one variable.

    .. math:: x_{k+1} = x_k - \eta\, U'(x_k) + \eta\, \xi_k

    Its SDE has temperature T = eta s^2 / 2. Times have about ten right digits, whatever the barrier; about six if the
    density jumps, and with it the derivatives of the times.

    Attributes
    ----------
    potential
        U(x), elementwise, of operators or jax.numpy.
    learning_rate
        eta > 0.
    noise
        The law of xi, which must have a density.

    Raises
    ------
    TypeError, ValueError
        If the potential cannot be called, the learning rate is not positive, or the noise has no density.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> eta, temperature = 0.02, 0.25
    >>> noise = ss.theory.gaussian_noise((2 * temperature / eta) ** 0.5)
    >>> chain = ss.theory.SGDChain(lambda x: (x**2 - 1) ** 2, eta, noise)
    >>> round(chain.mean_first_passage_time(start=-1.0, target=0.8), 3)
    67.138
    """

    potential: Callable[[Any], Any]
    learning_rate: float
    noise: NoiseLaw

    def __post_init__(self) -> None:
        """Refuse what makes no chain."""
        if not callable(self.potential):
            raise TypeError(f"potential must be callable, got {self.potential!r} of type "
                            f"{type(self.potential).__name__}.")
        checks.positive("learning_rate", self.learning_rate)
        if not isinstance(self.noise, NoiseLaw):
            raise TypeError(f"noise must be a NoiseLaw, got {self.noise!r}. Pass gaussian_noise(s), say.")
        if self.noise.density is None or self.noise.below is None or self.noise.above is None:
            raise ValueError("noise must have a density. Pass gaussian_noise of the same standard deviation, say.")

    @property
    def temperature(self) -> float:
        """T = eta s^2 / 2 of the SDE with the same mean and variance per step."""
        return self.learning_rate * self.noise.standard_deviation**2 / 2

    def mirrored(self) -> "SGDChain":
        """Return the chain of -x."""
        return SGDChain(lambda x: self.potential(-x), self.learning_rate, self.noise.mirrored())

    def mean_first_passage_time(self, start: float, target: float) -> float:
        """Return the mean time t = eta k until an iterate is at the target or beyond.

        Parameters
        ----------
        start
            Where the chain starts.
        target
            The edge of the target, on either side of the start.

        Raises
        ------
        TypeError, ValueError
            If start and target are the same, the potential does not confine on the far side, or the noise is so small
            that the chain would need too many nodes.
        """
        return self.learning_rate * self.mean_first_passage_steps(start, target)

    def mean_first_passage_steps(self, start: float, target: float) -> float:
        """Return the mean number of steps k until an iterate is at the target or beyond.

        Parameters
        ----------
        start
            Where the chain starts.
        target
            The edge of the target, on either side of the start.

        Raises
        ------
        TypeError, ValueError
            As `mean_first_passage_time`.
        """
        start, target = potentials.number("start", start), potentials.number("target", target)
        if start == target:
            raise ValueError(f"target must differ from start, got {target:.6g} for both. Move it.")
        if target < start:
            return self.mirrored().mean_first_passage_steps(-start, -target)
        panels = self._panels(self._left_end(start, target), target)
        points = panels.nodes.ravel()
        steps = expected_reward(self._transition(points, panels), self._beyond(points, target),
                                np.ones((points.size, 1)))
        return 1 + float(self._transition(np.array([start]), panels)[0] @ steps[:, 0])

    def committor(self, points: ArrayLike, low: float, high: float) -> Float[np.ndarray, " points"]:
        """Return the probability to be at or beyond ``high`` before being at or below ``low``.

        Parameters
        ----------
        points
            Positions strictly between the two, shape (points,).
        low, high
            The edges of the two sets.

        Returns
        -------
        probability : numpy.ndarray
            At each point, right in relative terms however small.

        Raises
        ------
        TypeError, ValueError
            If the points are not between the edges.
        """
        points = matrices.finite_array("points", points, (None,))
        low, high = potentials.number("low", low), potentials.number("high", high)
        if not np.all((low < points) & (points < high)):
            raise ValueError(f"points must lie between low={low:.6g} and high={high:.6g}. The committor is 0 and 1 "
                             "beyond.")
        panels = self._panels(low, high)
        inside = self._committor(panels, low, high)
        return self._beyond(points, high) + self._transition(points, panels) @ inside

    def loop(self, basin: float, surface: float, target: float) -> Loop:
        r"""Return the success probability and the mean length of a loop, for the Hill relation.

        A loop starts where the chain enters {x <= basin}, runs to {x >= surface}, and from there to the basin or to
        {x >= target}. Entrances have the quasi-stationary law of successive loops; then, exactly,

        .. math:: E\,[\text{steps to the target}] = \frac{E\,[\text{steps of a loop}]}{p}

        Parameters
        ----------
        basin, surface, target
            The three edges, in ascending order.

        Raises
        ------
        TypeError, ValueError
            If they do not ascend, or as `mean_first_passage_time`.
        """
        edges = matrices.finite_array("basin, surface, target", [basin, surface, target], (3,))
        if not np.all(np.diff(edges) > 0):
            raise ValueError(f"basin, surface and target must ascend, got {basin:.6g}, {surface:.6g}, {target:.6g}. "
                             "Mirror the potential for a target on the left.")
        panels = self._panels(self._left_end(basin, target), *edges)
        nodes = panels.nodes.ravel()
        committor = np.where(nodes > basin, 1.0, 0.0)
        committor[nodes > basin] = self._committor(Panels(panels.edges[panels.edges >= basin]), basin, target)
        jump = self._beyond(nodes, target)
        return _quasi_stationary_loop(self._transition(nodes, panels), jump, committor, nodes < surface, nodes > basin)

    def _left_end(self, start: float, target: float) -> float:
        """Return where the chain is cut off: where the SDE is, and beyond that as far as one step reaches."""
        sde = LineDiffusion(self.potential, self.temperature)
        return sde.left_end(start, (target - start) / 8) + self.learning_rate * self.noise.reach[0]

    def _panels(self, *edges: float) -> Panels:
        width = _PANEL * self.learning_rate * self.noise.standard_deviation
        counts = [int(np.ceil((right - left) / width)) for left, right in itertools.pairwise(edges)]
        if sum(counts) * 16 > _MAX_NODES:
            raise ValueError(f"noise must not be so small against the interval: {sum(counts) * 16} nodes would be "
                             f"needed, at most {_MAX_NODES} are allowed. Use mean_first_passage_time of the SDE.")
        pieces = [np.linspace(left, right, count + 1)[:-1]
                  for (left, right), count in zip(itertools.pairwise(edges), counts, strict=True)]
        return Panels(np.concatenate([*pieces, edges[-1:]]))

    def _mean_step(self, points: np.ndarray) -> np.ndarray:
        return points - self.learning_rate * potentials.derivative(self.potential, points)

    def _beyond(self, points: np.ndarray, edge: float) -> np.ndarray:
        """Return the probability that one step from each point ends at the edge or beyond."""
        assert self.noise.above is not None
        return self.noise.above((edge - self._mean_step(points)) / self.learning_rate)

    def _short_of(self, points: np.ndarray, edge: float) -> np.ndarray:
        """Return the probability that one step from each point ends at the edge or short of it."""
        assert self.noise.below is not None
        return self.noise.below((edge - self._mean_step(points)) / self.learning_rate)

    def _transition(self, points: np.ndarray, panels: Panels) -> Float[np.ndarray, "points nodes"]:
        return transition_matrix(self.noise, self.learning_rate, self._mean_step(points), panels)

    def _committor(self, panels: Panels, low: float, high: float) -> Float[np.ndarray, " nodes"]:
        """Return the committor at the nodes of panels between the edges."""
        nodes = panels.nodes.ravel()
        up = self._beyond(nodes, high)
        leaving = up + self._short_of(nodes, low)
        return expected_reward(self._transition(nodes, panels), leaving, up[:, None])[:, 0]


def _quasi_stationary_loop(
    transition: Float[np.ndarray, "nodes nodes"], jump: Float[np.ndarray, " nodes"],
    committor: Float[np.ndarray, " nodes"], below: np.ndarray, above: np.ndarray,
) -> Loop:
    """Return the loop whose entrances into the basin are distributed as those of the loop before.

    ``below`` marks the nodes below the surface, ``above`` those above the basin, and ``jump`` is the probability of
    reaching the target in one step.
    """
    outward = np.linalg.inv(np.eye(np.sum(below)) - transition[np.ix_(below, below)])
    homeward = np.linalg.inv(np.eye(np.sum(above)) - transition[np.ix_(above, above)])
    entrance, previous = np.where(above, 0.0, 1.0), np.inf
    for _ in range(_MAX_LOOPS):
        entrance /= np.sum(entrance)
        visits_below = entrance[below] @ outward
        arrival = np.where(below, 0.0, visits_below @ transition[below])
        visits_above = arrival[above] @ homeward
        probability = visits_below @ jump[below] + arrival @ committor
        steps = np.sum(visits_below) + np.sum(visits_above)
        if abs(steps - previous) <= 1e-13 * steps:
            return Loop(float(probability), float(steps))
        entrance, previous = np.where(above, 0.0, visits_above @ transition[above]), steps
    raise ValueError("The law of the entrances does not settle: choose basin and surface about one minimum.")
