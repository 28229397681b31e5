"""One step of a chain with a given law of noise, as a matrix between the nodes of panels."""

import numpy as np
from jaxtyping import Float

from sde_sgd.theory.noise_laws import NoiseLaw
from sde_sgd.theory.panels import Panels, between, interpolation


def transition_matrix(
    noise: NoiseLaw, learning_rate: float, means: Float[np.ndarray, " points"], panels: Panels
) -> Float[np.ndarray, "points nodes"]:
    """Return the matrix from a function's values at the nodes to its expectation after a step, over the panels.

    Parameters
    ----------
    noise
        The law of xi, with a density.
    learning_rate
        eta: the step adds eta xi.
    means
        Where the step leads without noise, from each point.
    panels
        The panels, on each of which the function is smooth; outside of them it is taken as 0.
    """
    scaled = (panels.nodes.ravel() - means[:, None]) / learning_rate
    matrix = panels.weights.ravel() * _density(noise, scaled) / learning_rate
    for kink in noise.kinks:
        _mend(matrix, noise, learning_rate, means, panels, means + learning_rate * kink)
    return matrix


def _mend(
    matrix: Float[np.ndarray, "points nodes"], noise: NoiseLaw, learning_rate: float,
    means: Float[np.ndarray, " points"], panels: Panels, kinks: Float[np.ndarray, " points"],
) -> None:
    """Integrate anew, in two pieces, over the panel in which the density of a step has a kink."""
    which = np.searchsorted(panels.edges, kinks) - 1
    rows = np.flatnonzero((which >= 0) & (which < len(panels.widths)))
    which, kinks, means = which[rows], kinks[rows], means[rows]
    left, width = panels.edges[which], panels.widths[which]
    entries = np.zeros((len(rows), panels.nodes.shape[1]))
    for positions, weights in (between(left, kinks), between(kinks, panels.edges[which + 1])):
        masses = weights * _density(noise, (positions - means[:, None]) / learning_rate) / learning_rate
        entries += np.einsum("rq,rqn->rn", masses, interpolation((positions - left[:, None]) / width[:, None]))
    columns = which[:, None] * entries.shape[1] + np.arange(entries.shape[1])
    matrix[rows[:, None], columns] = entries


def _density(noise: NoiseLaw, values: np.ndarray) -> np.ndarray:
    assert noise.density is not None
    return noise.density(values)
