r"""Linear maps of second moments: the engine below every moment recursion of this room.

Write the state with a leading one, z = (1, w) or (1, w, velocity). Then Z = E[z z^T] holds the one, the mean and the
second moment together, an affine drift is a matrix, and noise that is affine in w enters through the examples'
gradient deviations D_i z = g_i(w) - g(w). SGD, its Euler schemes and its SDEs all have the form

.. math::
    Z' = P Z P^\top + s\, J \Big(\frac1N \sum_i D_i Z D_i^\top\Big) J^\top
    \qquad\text{or}\qquad
    \dot Z = A Z + Z A^\top + s\, J \Big(\frac1N \sum_i D_i Z D_i^\top\Big) J^\top .

Both are linear in Z. They are stored as one matrix on the upper triangle of Z, so that k steps are its k-th power and a
flow over time t is its exponential. Nothing is approximated and nothing is sampled.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients

# Side of the largest map: 8 MB a matrix and about a second for its exponential on one core.
_MAX_COORDINATES = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Exact mean, second moment and expected loss of the parameters.

    With ``record_every`` each array has a leading axis over the recorded steps; without it, none.

    Attributes
    ----------
    steps
        The SGD steps to which the moments belong, an integer or an array of them.
    mean
        E[w].
    second
        E[w w^T], not centred.
    loss
        E[f(w)], the expected loss over all examples.
    """

    steps: np.ndarray
    mean: Float[np.ndarray, "*steps d"]
    second: Float[np.ndarray, "*steps d d"]
    loss: Float[np.ndarray, "*steps"]

    @property
    def covariance(self) -> Float[np.ndarray, "*steps d d"]:
        """Cov(w) = E[w w^T] - E[w] E[w]^T; it loses digits where the mean is large beside the spread."""
        return self.second - self.mean[..., :, None] * self.mean[..., None, :]


def initial_state(
    problem: AbstractAffineGradients,
    start: ArrayLike,
    start_covariance: ArrayLike | None,
    start_velocity: Float[np.ndarray, " d"] | None = None,
) -> Float[np.ndarray, "q q"]:
    """Return Z at step 0; a velocity, where the state has one, starts at a fixed value."""
    mean = matrices.finite_array("start", start, (problem.dim,))
    z = np.concatenate([[1.0], mean] if start_velocity is None else [[1.0], mean, start_velocity])
    state = np.outer(z, z)
    if start_covariance is not None:
        params = slice(1, 1 + problem.dim)
        state[params, params] += matrices.covariance("start_covariance", start_covariance, problem.dim)
    return state


def step_map(
    problem: AbstractAffineGradients,
    propagator: Float[np.ndarray, "q q"],
    injection: Float[np.ndarray, "q d"],
    strength: float,
    repeats: int = 1,
) -> Float[np.ndarray, "p p"]:
    """Return the matrix of a discrete step Z' = P Z P^T + s J K(Z) J^T, taken ``repeats`` times."""
    basis = _symmetric_basis(problem, len(propagator))
    images = propagator @ basis @ propagator.T + strength * _noise_images(problem, basis, injection)
    # Far beyond stability powers overflow; `evolve` reports that in words.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.matrix_power(_on_upper_triangle(images), repeats)


def flow_map(
    problem: AbstractAffineGradients,
    drift: Float[np.ndarray, "q q"],
    injection: Float[np.ndarray, "q d"],
    strength: float,
    duration: float,
) -> Float[np.ndarray, "p p"]:
    """Return the matrix of the flow of dZ/dt = A Z + Z A^T + s J K(Z) J^T over ``duration``."""
    import scipy.linalg

    basis = _symmetric_basis(problem, len(drift))
    images = drift @ basis + basis @ drift.T + strength * _noise_images(problem, basis, injection)
    return scipy.linalg.expm(duration * _on_upper_triangle(images))


def evolve(
    problem: AbstractAffineGradients,
    one_step: Float[np.ndarray, "p p"],
    state: Float[np.ndarray, "q q"],
    num_steps: int,
    record_every: int | None,
) -> Moments:
    """Apply the map of one SGD step ``num_steps`` times and read the moments off."""
    stride = num_steps if record_every is None else record_every
    upper = np.triu_indices(len(state))
    coordinates = [state[upper]]
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.linalg.matrix_power(one_step, stride)
        for _ in range(num_steps // stride if stride else 0):
            coordinates.append(power @ coordinates[-1])
    stacked = np.stack(coordinates)
    states = np.zeros((len(stacked), *state.shape))
    states[:, *upper] = stacked
    states[:, *upper[::-1]] = stacked
    return _recorded(problem, states, num_steps, record_every)


def iterate(
    problem: AbstractAffineGradients,
    step: Callable[[Float[np.ndarray, "q q"]], Float[np.ndarray, "q q"]],
    state: Float[np.ndarray, "q q"],
    num_steps: int,
    record_every: int | None,
) -> Moments:
    """Take the steps one by one: for states whose map is too large to be stored."""
    states = [state]
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(1, num_steps + 1):
            state = step(state)
            if (record_every is None and index == num_steps) or (record_every and index % record_every == 0):
                states.append(state)
    return _recorded(problem, np.stack(states), num_steps, record_every)


def _recorded(
    problem: AbstractAffineGradients, states: Float[np.ndarray, "k q q"], num_steps: int, record_every: int | None
) -> Moments:
    if not np.all(np.isfinite(states)):
        raise OverflowError(f"The second moment exceeds float64 within {num_steps} steps: the learning rate is beyond "
                            "the mean-square stability threshold. Lower it, or take fewer steps.")
    if record_every is None:
        return _read_off(problem, np.asarray(num_steps), states[-1])
    return _read_off(problem, np.arange(len(states)) * record_every, states)


def check_problem(problem: AbstractAffineGradients) -> None:
    """Raise unless ``problem`` is a description that this room can work on."""
    if not isinstance(problem, AbstractAffineGradients):
        raise TypeError(f"problem must be an AffineGradients, got {type(problem).__name__}. Build one with "
                        "theory.least_squares(features, targets) or theory.affine_gradients(hessians, offsets).")


def fits(state_size: int) -> bool:
    """Return whether the map of Z is small enough to be stored."""
    return state_size * (state_size + 1) // 2 <= _MAX_COORDINATES


def check_size(problem: AbstractAffineGradients, state_size: int) -> int:
    """Return the number of coordinates of Z; raise if its map would be too large."""
    num_coordinates = state_size * (state_size + 1) // 2
    if not fits(state_size):
        raise ValueError(f"problem has dim {problem.dim}, which makes a moment map of side {num_coordinates}; at most "
                         f"{_MAX_COORDINATES} is supported (dim 43, or 21 with momentum). Use fewer parameters.")
    return num_coordinates


def check_run(
    problem: AbstractAffineGradients, learning_rate: float, num_steps: int, record_every: int | None
) -> float:
    """Return the learning rate as a float; raise unless the arguments common to all recursions make sense."""
    check_problem(problem)
    checks.positive("learning_rate", learning_rate)
    checks.integer("num_steps", num_steps, minimum=0)
    if record_every is not None:
        checks.integer("record_every", record_every)
        if num_steps % record_every:
            raise ValueError(f"record_every must divide num_steps, got {record_every} and {num_steps}.")
    return float(learning_rate)


def _read_off(problem: AbstractAffineGradients, steps: np.ndarray, states: np.ndarray) -> Moments:
    params = slice(1, 1 + problem.dim)
    mean, second = states[..., 0, params], states[..., params, params]
    quadratic = np.einsum("ij,...ij->...", problem.hessian, second) / 2
    return Moments(np.asarray(steps), mean, second, quadratic - mean @ problem.offset + problem.loss_constant)


def _symmetric_basis(problem: AbstractAffineGradients, size: int) -> Float[np.ndarray, "p q q"]:
    """Return the symmetric matrices whose upper triangle is a unit vector."""
    num_coordinates = check_size(problem, size)
    rows, columns = np.triu_indices(size)
    basis = np.zeros((num_coordinates, size, size))
    each = np.arange(num_coordinates)
    basis[each, rows, columns] = 1.0
    basis[each, columns, rows] = 1.0
    return basis


def _noise_images(
    problem: AbstractAffineGradients, basis: Float[np.ndarray, "p q q"], injection: Float[np.ndarray, "q d"]
) -> Float[np.ndarray, "p q q"]:
    """Return J K(Z) J^T for every Z of ``basis``, with K(Z) the mean of D_i Z D_i^T over the examples."""
    d = problem.dim
    deviations = problem.gradients - np.mean(problem.gradients, axis=0)
    flat = deviations.reshape(problem.num_examples, -1)
    # One fourth-order tensor instead of a sum over examples for every basis matrix: its cost does not grow with N.
    tensor = (flat.T @ flat / problem.num_examples).reshape(d, d + 1, d, d + 1)
    noise = np.tensordot(basis[:, : d + 1, : d + 1], tensor, axes=([1, 2], [1, 3]))
    return injection @ noise @ injection.T


def _on_upper_triangle(images: Float[np.ndarray, "p q q"]) -> Float[np.ndarray, "p p"]:
    """Return the matrix whose columns are the upper triangles of the images of the basis."""
    rows, columns = np.triu_indices(images.shape[-1])
    return images[:, rows, columns].T
