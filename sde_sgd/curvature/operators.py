"""Symmetric matrices known by their products with vectors: Hessian, Gauss-Newton, noise covariance, adaptive."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd.curvature.chunks import CHUNK_SIZE, summed
from sde_sgd.problems.network_loss import NetworkLoss
from sde_sgd.problems.problem import Problem, Weighting


class AbstractOperator(eqx.Module):
    """A symmetric matrix of a problem at given params, known by its products with vectors alone."""

    @abc.abstractmethod
    def product(self, problem: Problem, params: PyTree, vector: PyTree) -> PyTree:
        """Return the product with ``vector``, both pytrees like ``params``."""

    def check(self, problem: Problem) -> None:
        """Raise unless the matrix is defined for the problem."""


class Hessian(AbstractOperator):
    r"""The Hessian of the weighted loss.

    .. math:: H = \nabla^2 \sum_i a_i\, \ell(w, z_i), \qquad a_i = 1/N \text{ by default}

    Parameters
    ----------
    weights
        None for the risk, one weight per example, or a sparse `Batch`.
    chunk_size
        How many examples are in memory at a time.

    Notes
    -----
    A product is a forward derivative of the gradient and costs about two to three gradients; no matrix is formed.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6.

    Examples
    --------
    >>> import jax.numpy as jnp, sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: w[0] ** 2 + 3 * w[0] * w[1], start=jnp.zeros(2))
    >>> ss.curvature.Hessian().product(well, jnp.zeros(2), jnp.array([1.0, 0.0])).tolist()
    [2.0, 3.0]
    """

    weights: Weighting = None
    chunk_size: int = eqx.field(static=True, default=CHUNK_SIZE)

    def __check_init__(self):
        checks.integer("chunk_size", self.chunk_size)

    def product(self, problem: Problem, params: PyTree, vector: PyTree) -> PyTree:
        """Return the product of the Hessian with ``vector``."""

        def of_chunk(weights: Weighting) -> PyTree:
            return jax.jvp(lambda at: problem.gradient(at, weights), (params,), (vector,))[1]

        return summed(of_chunk, problem, self.weights, self.chunk_size)


class GaussNewton(AbstractOperator):
    r"""The generalised Gauss-Newton matrix: the Hessian of the loss with the network linearised at the params.

    .. math:: G = \sum_i a_i\, J_i^\top\, \nabla^2_f \ell(f_i, y_i)\, J_i, \qquad J_i = \partial f(w, x_i) / \partial w

    Positive semi-definite if the loss is convex in the prediction. For the cross entropy of a softmax and for half the
    squared error it is the Fisher information matrix of the model.

    Parameters
    ----------
    weights, chunk_size
        As for `Hessian`.

    References
    ----------
    Schraudolph (2002), Fast curvature matrix-vector products, Neural Computation 14. Martens (2020), New insights and
    perspectives on the natural gradient method, JMLR 21.

    Examples
    --------
    >>> import flax.linen, jax, jax.numpy as jnp, sde_sgd as ss
    >>> net = ss.problems.from_flax(flax.linen.Dense(1), jnp.eye(3), jnp.ones((3, 1)), lambda f, y: (f - y)[0] ** 2 / 2)
    >>> params = net.init(jax.random.key(0))
    >>> round(float(ss.curvature.trace(net, params, key=jax.random.key(1),
    ...                                operator=ss.curvature.GaussNewton()).value), 4)
    2.0
    """

    weights: Weighting = None
    chunk_size: int = eqx.field(static=True, default=CHUNK_SIZE)

    def __check_init__(self):
        checks.integer("chunk_size", self.chunk_size)

    def check(self, problem: Problem) -> None:
        """Raise unless the loss is known as a function of a prediction."""
        if not isinstance(problem.example_loss, NetworkLoss):
            raise TypeError("GaussNewton needs a loss of a prediction: a problem made by from_flax, got one with the "
                            f"loss {problem.example_loss!r}. Use Hessian().")

    def product(self, problem: Problem, params: PyTree, vector: PyTree) -> PyTree:
        """Return the product of the Gauss-Newton matrix with ``vector``."""
        network: Any = problem.example_loss

        def linearised_loss(at: PyTree, example: tuple[Array, Array]) -> Array:
            inputs, label = example
            step = jax.tree.map(jnp.subtract, at, params)
            parts = jax.jvp(lambda p: network.predict(p, inputs), (params,), (step,))
            return network.loss(jax.tree.map(jnp.add, *parts), label)

        linearised = Problem(example_loss=linearised_loss, data=problem.data, init=problem.init)
        return Hessian(self.weights, self.chunk_size).product(linearised, params, vector)


class NoiseCovariance(AbstractOperator):
    r"""The covariance of one example's gradient, as `noise_covariance` but without the matrix.

    .. math:: \Sigma v = \sum_i \frac{s_i - \bar s}{N}\, g_i, \qquad s_i = g_i \cdot v

    The slopes :math:`s_i` are one forward derivative of the example losses; the product is the gradient of the loss
    with the centred slopes for weights.

    Parameters
    ----------
    chunk_size
        As for `Hessian`.
    """

    chunk_size: int = eqx.field(static=True, default=CHUNK_SIZE)

    def __check_init__(self):
        checks.integer("chunk_size", self.chunk_size)

    def product(self, problem: Problem, params: PyTree, vector: PyTree) -> PyTree:
        """Return the product of the covariance with ``vector``."""

        def slope(example: PyTree) -> Array:
            return jax.jvp(lambda at: problem.example_loss(at, example), (params,), (vector,))[1]

        slopes = jax.lax.map(slope, problem.data, batch_size=self.chunk_size)
        weights = (slopes - jnp.mean(slopes)) / problem.num_examples
        return summed(lambda chunk: problem.gradient(params, chunk), problem, weights, self.chunk_size)


class Adaptive(AbstractOperator):
    r"""A matrix in units of the params' own sizes.

    .. math:: T A T, \qquad T = \mathrm{diag}\,|w|

    Rescaling a layer of a ReLU network and its successor inversely leaves the function and the spectrum of THT alone,
    while the spectrum of H itself can be made as large as one likes.

    Parameters
    ----------
    operator
        A: the Hessian by default.

    References
    ----------
    Kwon, Kim, Park, Choi (2021), ASAM: adaptive sharpness-aware minimization, ICML. Dinh, Pascanu, Bengio, Bengio
    (2017), Sharp minima can generalize for deep nets, ICML.
    """

    operator: AbstractOperator = Hessian()

    def check(self, problem: Problem) -> None:
        """Raise unless the inner matrix is defined for the problem."""
        self.operator.check(problem)

    def product(self, problem: Problem, params: PyTree, vector: PyTree) -> PyTree:
        """Return the product of TAT with ``vector``."""

        def scaled(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda size, leaf: jnp.abs(size) * leaf, params, tree)

        return scaled(self.operator.product(problem, params, scaled(vector)))


HESSIAN = Hessian()
