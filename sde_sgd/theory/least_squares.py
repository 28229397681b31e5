"""Linear regression on a finite data set, kept as its features and targets: no matrix per example."""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd.theory import matrices
from sde_sgd.theory.affine_gradients import AbstractAffineGradients


@dataclasses.dataclass(frozen=True, eq=False)
class LeastSquares(AbstractAffineGradients):
    r"""Squared errors of a linear model.

    .. math:: f_i(w) = \tfrac12 (x_i \cdot w - y_i)^2, \qquad H_i = x_i x_i^\top, \qquad b_i = y_i x_i

    Make one with `least_squares`, which checks its input. As each H_i has rank one, the second moment of a step costs
    O(N d^2), and nothing larger than the data and d^2 is stored.

    Attributes
    ----------
    features
        The rows x_i.
    targets
        The values y_i.
    """

    features: Float[np.ndarray, "n d"]
    targets: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        """Make the arrays read-only: results must not depend on when they were computed."""
        _read_only(self.features)
        _read_only(self.targets)

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.targets)

    @property
    def hessian(self) -> Float[np.ndarray, "d d"]:
        """H = X^T X / N, the Hessian of the loss."""
        return self.features.T @ self.features / self.num_examples

    @property
    def offset(self) -> Float[np.ndarray, " d"]:
        """B = X^T y / N; the full gradient is H w - b."""
        return self.targets @ self.features / self.num_examples

    @property
    def loss_constant(self) -> float:
        """The mean loss at w = 0."""
        return float(np.mean(self.targets**2)) / 2

    @property
    def hessians(self) -> Float[np.ndarray, "n d d"]:
        """H_i of every example, made anew at every call: N d^2 numbers."""
        return _read_only(self.features[:, :, None] * self.features[:, None, :])

    @property
    def offsets(self) -> Float[np.ndarray, "n d"]:
        """b_i of every example, made anew at every call."""
        return _read_only(self.targets[:, None] * self.features)

    @property
    def gradients(self) -> Float[np.ndarray, "n d d+1"]:
        """Matrices [-b_i, H_i] that take (1, w) to the gradients of the examples."""
        return self.features[:, :, None] * self._residual_maps[:, None, :]

    def example_gradients(self, params: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """Return the gradient of every example's loss at w."""
        return self.features * (self.features @ params - self.targets)[:, None]

    def gradient_moment(self, moment: Float[np.ndarray, "d+1 d+1"]) -> Float[np.ndarray, "d d"]:
        """Return the mean over the examples of E[g_i g_i^T], from the second moment of (1, w): O(N d^2)."""
        maps = self._residual_maps
        squared_residuals = np.sum((maps @ moment) * maps, axis=1)
        return self.features.T @ (squared_residuals[:, None] * self.features) / self.num_examples

    def restricted(self, basis: Float[np.ndarray, "d r"]) -> "LeastSquares":
        """Return the same examples as functions of z, w = basis z."""
        return LeastSquares(self.features @ basis, self.targets)

    @property
    def _residual_maps(self) -> Float[np.ndarray, "n d+1"]:
        """Rows (-y_i, x_i), which take (1, w) to the residuals."""
        return np.column_stack([-self.targets, self.features])


def least_squares(features: ArrayLike, targets: ArrayLike) -> LeastSquares:
    r"""Describe linear regression on a finite data set.

    .. math:: f_i(w) = \tfrac12 (x_i \cdot w - y_i)^2, \qquad H_i = x_i x_i^\top, \qquad b_i = y_i x_i

    Parameters
    ----------
    features
        The rows x_i, shape (N, d).
    targets
        The values y_i, shape (N,).

    Returns
    -------
    LeastSquares
        The same problem as ``sde_sgd.problems.least_squares(features, targets)``, in float64.

    Raises
    ------
    ValueError
        If the shapes disagree, an array is empty or a value is not finite.

    Examples
    --------
    >>> problem = ss.theory.least_squares([[1.0], [2.0]], [1.0, 2.5])
    >>> problem.hessian, problem.noise_covariance([1.2])
    (array([[2.5]]), array([[0.04]]))
    """
    x = matrices.finite_array("features", features, (None, None))
    y = matrices.finite_array("targets", targets, (x.shape[0],))
    return LeastSquares(x, y)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
