"""Small models with a symmetry, and so with equal minima, whose saddle and barrier are known in closed form."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.landscape import Constant
from sde_sgd.problems.problem import Problem


def matrix_factorization(matrix: Float[ArrayLike, "d d"]) -> Problem:
    r"""Factor a symmetric matrix by one vector, entry by entry, started at one of the two minima.

    .. math:: \ell_{ij}(w) = \tfrac14 (A_{ij} - w_i w_j)^2, \qquad f(w) = \frac{1}{4 d^2} \|A - w w^\top\|_F^2

    The critical points are 0 and the eigenvectors of A with squared length their (positive) eigenvalue. Minima are
    +-sqrt(l_1) v_1; the lowest saddles +-sqrt(l_2) v_2, or 0 where l_2 < 0. The barrier is
    (l_1^2 - max(l_2, 0)^2) / (4 d^2). The d^2 examples disagree at the minimum unless A has rank one.

    Parameters
    ----------
    matrix
        A, symmetric, with l_1 > 0 and above l_2, which is not 0. Kept small: an example is two indicators of length d.

    Returns
    -------
    Problem
        Params of shape (d,), with ``minimum``, ``saddle`` and ``barrier``.

    Raises
    ------
    ValueError
        If the matrix is not symmetric or the minimum or the saddle would be degenerate.

    Examples
    --------
    >>> import numpy as np, sde_sgd as ss
    >>> problem = ss.problems.matrix_factorization(np.diag([2.0, 1.0, 0.5]))
    >>> problem.minimum.round(3).tolist(), round(problem.barrier, 5), (2**2 - 1) / (4 * 9)
    ([1.4140000343322754, 0.0, 0.0], 0.08333, 0.08333...)
    """
    entries = np.asarray(matrix, np.float64)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1] or not np.allclose(entries, entries.T):
        raise ValueError(f"matrix must be symmetric, got shape {entries.shape}. Pass (A + A.T) / 2.")
    dim = entries.shape[0]
    checks.integer("the size of matrix", dim, minimum=2)
    values, vectors = np.linalg.eigh(entries)
    largest, second = values[-1], values[-2]
    tolerance = 1e-6 * np.abs(values).max()
    if largest <= tolerance or largest - second <= tolerance or abs(second) <= tolerance:
        raise ValueError("matrix must have a largest eigenvalue that is positive and simple, and a second one that is "
                         f"not 0; got {largest:.6g} and {second:.6g}: the minimum or the saddle is degenerate.")
    dtype = np.float32
    minimum, saddle = (np.sqrt(max(value, 0.0)) * _positive_sum(vector)
                       for value, vector in ((largest, vectors[:, -1]), (second, vectors[:, -2])))
    rows, columns = np.divmod(np.arange(dim * dim), dim)
    unit = np.eye(dim, dtype=dtype)
    return Problem(example_loss=_entry_loss, data=(unit[rows], unit[columns], entries.ravel().astype(dtype)),
                   init=Constant(minimum.astype(dtype)), minimum=jnp.asarray(minimum, dtype),
                   saddle=jnp.asarray(saddle, dtype))


def two_layer_network(*, num_examples: int, dim: int = 1, signal: float = 1.0, label_noise: float = 1.0,
                      weight_decay: float = 0.1, key: Array) -> Problem:
    r"""Make a linear network of two layers and one hidden unit, started at one of its two minima.

    .. math:: \ell(w, (x, y)) = \tfrac12 \bigl(y - v\, (u \cdot x)\bigr)^2 + \tfrac{\lambda}{2} (|u|^2 + v^2), \qquad
              y_i = a\, x_{i1} + \sigma r_i

    The features are made with exactly unit covariance and residuals r_i of mean square 1 orthogonal to them, so that
    the risk is exactly that of the population. The sign symmetry (u, v) -> (-u, -v) makes two minima,
    u = +-sqrt(a - lambda) e_1 and v = +-sqrt(a - lambda), with a saddle at the origin and the barrier
    (a - lambda)^2 / 2.

    Parameters
    ----------
    num_examples
        N, above ``dim``.
    dim
        Number of features.
    signal, weight_decay
        a and lambda, with a > lambda > 0. Without weight decay the minima are lines, u and v trading their scale.
    label_noise
        sigma >= 0. Without it the examples agree at the minimum and SGD does not leave.
    key
        Typed key of the data set.

    Returns
    -------
    Problem
        Params ``{"first": (dim,), "second": ()}``, with ``minimum``, ``saddle`` and ``barrier``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> net = ss.problems.two_layer_network(num_examples=64, dim=2, weight_decay=0.2, key=jax.random.key(0))
    >>> round(net.barrier, 5)
    0.32
    """
    checks.integer("dim", dim)
    checks.integer("num_examples", num_examples, minimum=dim + 1)
    checks.positive("signal", signal)
    checks.non_negative("label_noise", label_noise)
    checks.positive("weight_decay", weight_decay, fix="Without weight decay the minima are not isolated.")
    checks.typed_key(key)
    if weight_decay >= signal:
        raise ValueError(f"weight_decay must be below signal = {signal}, got {weight_decay}: the only minimum is 0.")
    draws = np.asarray(jax.random.normal(key, (num_examples, dim + 1), jnp.float32), np.float64)
    columns = np.sqrt(num_examples) * np.linalg.qr(draws)[0]
    features, residuals = columns[:, :dim].astype(np.float32), columns[:, dim]
    targets = float(signal) * columns[:, 0] + float(label_noise) * residuals
    scale = np.sqrt(np.float32(signal) - np.float32(weight_decay))
    minimum = {"first": scale * np.eye(dim, dtype=np.float32)[0], "second": scale}
    return Problem(example_loss=_TwoLayerLoss(float(weight_decay)), data=(features, targets.astype(np.float32)),
                   init=Constant(minimum), minimum=jax.tree.map(jnp.asarray, minimum),
                   saddle=jax.tree.map(jnp.zeros_like, minimum))


def _entry_loss(params: Array, example: tuple[Array, Array, Array]) -> Array:
    row, column, entry = example
    return 0.25 * jnp.square(entry - jnp.sum(row * params) * jnp.sum(column * params))


@dataclasses.dataclass(frozen=True)
class _TwoLayerLoss:
    weight_decay: float

    def __call__(self, params: PyTree, example: tuple[Array, Array]) -> Array:
        features, target = example
        first, second = params["first"], params["second"]
        penalty = jnp.sum(jnp.square(first)) + jnp.square(second)
        return 0.5 * jnp.square(target - second * jnp.sum(first * features)) + 0.5 * self.weight_decay * penalty


def _positive_sum(vector: Any) -> Any:
    """Return the vector with the sign that makes its sum positive: eigenvectors have none of their own."""
    return -vector if vector.sum() < 0 else vector
