r"""Problems whose per-example gradients are affine: the class on which two moments of SGD close exactly.

Every continuous-time model of SGD is built from the mean gradient and from the covariance of the per-example gradients.
If the gradients are affine in the parameters, the first is affine and the second quadratic, so that the equations for
mean and second moment are linear and closed: no sampling is needed to know what SGD or a model of it does on average.
"""

import abc
import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


class AbstractAffineGradients(abc.ABC):
    r"""A finite set of examples with quadratic losses.

    .. math::
        f_i(w) = \tfrac12 w^\top H_i w - b_i^\top w + c, \qquad g_i(w) = H_i w - b_i, \qquad i = 1, \dots, N

    `AffineGradients` keeps the matrices, `LeastSquares` the features they are made of. What all theory rests on is one
    map, `gradient_moment`.
    """

    @property
    @abc.abstractmethod
    def num_examples(self) -> int:
        """N."""

    @property
    @abc.abstractmethod
    def hessian(self) -> Float[np.ndarray, "d d"]:
        """H, the mean over the examples: the Hessian of the loss."""

    @property
    @abc.abstractmethod
    def offset(self) -> Float[np.ndarray, " d"]:
        """b, the mean over the examples; the full gradient is H w - b."""

    @property
    @abc.abstractmethod
    def gradients(self) -> Float[np.ndarray, "n d d+1"]:
        """Matrices [-b_i, H_i] that take (1, w) to the gradients of the examples: N d^2 numbers."""

    @property
    @abc.abstractmethod
    def loss_constant(self) -> float:
        """c, the mean loss at w = 0."""

    @abc.abstractmethod
    def example_gradients(self, params: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """Return the gradient of every example's loss at w."""

    @abc.abstractmethod
    def gradient_moment(self, moment: Float[np.ndarray, "d+1 d+1"]) -> Float[np.ndarray, "d d"]:
        """Return the mean over the examples of E[g_i g_i^T], from the second moment of (1, w); no d^4 array."""

    @abc.abstractmethod
    def restricted(self, basis: Float[np.ndarray, "d r"]) -> "AbstractAffineGradients":
        """Return the same examples as functions of z, w = basis z."""

    @property
    def dim(self) -> int:
        """Length d of the parameter vector."""
        return len(self.offset)

    def noise_covariance(self, params: ArrayLike) -> Float[np.ndarray, "d d"]:
        r"""Return the covariance of one example's gradient, with 1/N normalisation.

        .. math:: \Sigma(w) = \frac1N \sum_i (g_i - \bar g)(g_i - \bar g)^\top

        Parameters
        ----------
        params
            w, a vector of length d.

        Returns
        -------
        noise_covariance : numpy.ndarray
            The matrix. A minibatch gradient has `sampling_factor` times this covariance.

        Raises
        ------
        ValueError
            If ``params`` has another shape or is not finite.
        """
        gradients = self.example_gradients(matrices.finite_array("params", params, (self.dim,)))
        deviations = gradients - np.mean(gradients, axis=0)
        return deviations.T @ deviations / self.num_examples


@dataclasses.dataclass(frozen=True, eq=False)
class AffineGradients(AbstractAffineGradients):
    r"""Quadratic losses of the examples, matrix by matrix.

    .. math::
        f_i(w) = \tfrac12 w^\top H_i w - b_i^\top w + c

    Make one with `affine_gradients`, which checks its input. Nothing here assumes that the matrices H_i commute, are
    definite or have rank one.

    Attributes
    ----------
    hessians
        H_i, the second derivative of each example's loss.
    offsets
        b_i, minus the gradient of each example's loss at zero.
    loss_constant
        c, the mean loss at w = 0.
    """

    hessians: Float[np.ndarray, "n d d"]
    offsets: Float[np.ndarray, "n d"]
    loss_constant: float = 0.0

    def __post_init__(self) -> None:
        """Make the arrays read-only: results must not depend on when they were computed."""
        for array in (self.hessians, self.offsets):
            array.setflags(write=False)

    @property
    def num_examples(self) -> int:
        """N."""
        return self.offsets.shape[0]

    @property
    def hessian(self) -> Float[np.ndarray, "d d"]:
        """H, the mean over the examples: the Hessian of the loss."""
        return np.mean(self.hessians, axis=0)

    @property
    def offset(self) -> Float[np.ndarray, " d"]:
        """b, the mean over the examples; the full gradient is H w - b."""
        return np.mean(self.offsets, axis=0)

    @property
    def gradients(self) -> Float[np.ndarray, "n d d+1"]:
        """Matrices [-b_i, H_i] that take (1, w) to the gradients of the examples."""
        return np.concatenate([-self.offsets[:, :, None], self.hessians], axis=2)

    def example_gradients(self, params: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """Return the gradient of every example's loss at w."""
        return self.hessians @ params - self.offsets

    def gradient_moment(self, moment: Float[np.ndarray, "d+1 d+1"]) -> Float[np.ndarray, "d d"]:
        """Return the mean over the examples of E[g_i g_i^T], from the second moment of (1, w): O(N d^3)."""
        maps = self.gradients
        return np.mean(maps @ moment @ maps.transpose(0, 2, 1), axis=0)

    def restricted(self, basis: Float[np.ndarray, "d r"]) -> "AffineGradients":
        """Return the same examples as functions of z, w = basis z."""
        return AffineGradients(basis.T @ self.hessians @ basis, self.offsets @ basis, self.loss_constant)


def affine_gradients(hessians: ArrayLike, offsets: ArrayLike, loss_constant: float = 0.0) -> AffineGradients:
    r"""Describe a problem by the affine gradients of its examples.

    .. math:: g_i(w) = H_i w - b_i

    Parameters
    ----------
    hessians
        H_i, symmetric matrices, shape (N, d, d).
    offsets
        b_i, shape (N, d).
    loss_constant
        The mean loss at w = 0; it matters for the expected loss only.

    Returns
    -------
    AffineGradients
        A float64 copy of the description.

    Raises
    ------
    ValueError
        If the shapes disagree, a matrix is not symmetric or a value is not finite.
    """
    b = matrices.finite_array("offsets", offsets, (None, None))
    h = matrices.symmetric("hessians", hessians, dim=b.shape[1], leading=(b.shape[0],))
    return AffineGradients(h, b, float(matrices.finite_array("loss_constant", loss_constant, ())))


def sampling_factor(num_examples: int, batch_size: int, *, replacement: bool = True) -> float:
    r"""Return the variance of a minibatch mean in units of the variance of one example.

    .. math::
        \varphi = \frac1B \quad\text{with replacement}, \qquad
        \varphi = \frac{N - B}{B (N - 1)} \quad\text{without, drawn afresh each step}

    Both go with the 1/N normalisation of the single-example covariance.

    Parameters
    ----------
    num_examples
        N.
    batch_size
        B; at most N without replacement.
    replacement
        Whether an example may occur twice in a batch.

    Returns
    -------
    phi : float
        The factor.

    Raises
    ------
    TypeError
        If a count is not an int.
    ValueError
        If a count is below 1, or the batch exceeds the data without replacement.
    """
    checks.integer("num_examples", num_examples)
    checks.integer("batch_size", batch_size, maximum=None if replacement else int(num_examples),
                   fix=f"There are {num_examples} examples.")
    if replacement:
        return 1.0 / int(batch_size)
    # A single example leaves nothing to sample: the factor is 0, not 0/0.
    return (int(num_examples) - int(batch_size)) / (int(batch_size) * max(int(num_examples) - 1, 1))
