"""The problem: a per-example loss, its data and a start, from which risk, gradients and noise all follow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.examples import mapped


class Batch(NamedTuple):
    """A sparse weighting of the examples: those at ``indices`` carry ``weights``, all others none.

    ``indices`` must lie in [0, num_examples): they are gathered without a bounds check.
    """

    indices: Int[Array, " batch"]
    weights: Float[Array, " batch"]


Weighting = Float[Array, " num_examples"] | Batch | None


class Problem(eqx.Module):
    r"""What is minimised: the mean of a per-example loss over a data set.

    .. math:: f(w) = \frac1N \sum_{i=1}^N \ell(w, z_i)

    The per-example loss is the primitive. The risk, a minibatch loss, the exact covariance of the gradient noise and
    Gaussian noise of that covariance are all *weightings of the examples*,
    :math:`\sum_i a_i \ell(w, z_i)`, with different weights :math:`a_i`.

    Parameters
    ----------
    example_loss
        ``example_loss(params, example) -> scalar``, differentiable in ``params``. ``example`` is one row of ``data``.
        Two problems with the same function object share their compiled programs.
    data
        Pytree of arrays whose leading axis runs over the N examples.
    init
        ``init(key) -> params``: the start of one seed, a pytree of floating-point arrays.
    minimum
        A minimiser of the risk, where it is known.
    saddle
        The saddle over which the minimum is left, where it is known.
    potential
        The risk as a function of the params alone, where it has a closed form. Works on JAX arrays and, in float64, on
        NumPy arrays, so that theory can use it; axes in front of those of the params are kept.

    Raises
    ------
    TypeError
        If ``example_loss``, ``init`` or ``potential`` cannot be called, or ``init`` returns arrays that are not
        floating-point.
    ValueError
        If ``data`` is empty, its leading axes disagree, or the loss of one example is not a scalar.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> problem = ss.Problem(example_loss=lambda w, z: 0.5 * (w - z) ** 2, data=jnp.array([0.0, 1.0, 5.0]),
    ...                      init=lambda key: jnp.zeros(()))
    >>> float(problem.loss(jnp.array(2.0))), float(problem.gradient(jnp.array(2.0)))
    (2.3333..., 0.0)
    """

    example_loss: Callable[[PyTree, PyTree], Float[Array, ""]] = eqx.field(static=True, kw_only=True)
    data: PyTree = eqx.field(converter=lambda data: jax.tree.map(jnp.asarray, data), kw_only=True)
    init: Callable[[Array], PyTree] = eqx.field(static=True, kw_only=True)
    minimum: PyTree | None = eqx.field(default=None, kw_only=True)
    saddle: PyTree | None = eqx.field(default=None, kw_only=True)
    potential: Callable[[PyTree], Any] | None = eqx.field(static=True, default=None, kw_only=True)

    def __check_init__(self):
        for name in ("example_loss", "init", *(() if self.potential is None else ("potential",))):
            if not callable(getattr(self, name)):
                got = getattr(self, name)
                raise TypeError(f"{name} must be callable, got {got!r} of type {type(got).__name__}.")
        checks.leading_axis(self.data)
        params = jax.eval_shape(self.init, jax.random.key(0))
        checks.floating_params(params)
        example = jax.eval_shape(lambda data: jax.tree.map(lambda leaf: leaf[0], data), self.data)
        value = jax.eval_shape(self.example_loss, params, example)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"example_loss must return one floating-point scalar, got {value}. Reduce it.")

    @property
    def num_examples(self) -> int:
        """The number N of examples."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return ceil(N/B), the number of batches that hold every example once."""
        checks.integer("batch_size", batch_size, maximum=self.num_examples)
        return -(-self.num_examples // int(batch_size))

    @property
    def barrier(self) -> float | None:
        """The risk at the saddle less that at the minimum, in float64 with a `potential`; None if a fact is missing."""
        if self.minimum is None or self.saddle is None:
            return None
        if self.potential is None:
            return float(self.loss(self.saddle) - self.loss(self.minimum))
        saddle, minimum = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (self.saddle, self.minimum))
        return float(self.potential(saddle) - self.potential(minimum))

    def example_losses(self, params: PyTree) -> Float[Array, " num_examples"]:
        """Return the loss of every example."""
        return mapped(self.example_loss, params, self.data)

    def rows(self, indices: Int[Array, " batch"]) -> PyTree:
        """Return the examples at ``indices``, which must lie in [0, num_examples): there is no bounds check."""
        # The barrier keeps XLA from computing a drawn index anew for every number of the row it points to.
        indices = jax.lax.optimization_barrier(indices)
        return jax.tree.map(lambda leaf: _gathered(leaf, indices), self.data)

    def loss_of_rows(self, params: PyTree, rows: PyTree, weights: Float[Array, " batch"]) -> Float[Array, ""]:
        """Return the weighted loss of examples that need not be among the data."""
        losses = mapped(self.example_loss, params, rows)
        return jnp.sum(weights.astype(losses.dtype) * losses)

    def example_gradients(self, params: PyTree) -> PyTree:
        """Return the gradient of every example: ``params`` with a leading axis N. Memory N times that of params."""
        return jax.vmap(jax.grad(self.example_loss), in_axes=(None, 0))(params, self.data)

    def loss(self, params: PyTree, weights: Weighting = None) -> Float[Array, ""]:
        """Return the weighted loss.

        Parameters
        ----------
        params
            Pytree like that of ``init``.
        weights
            None for the risk (1/N each), one weight per example, or a sparse `Batch`. Weights need not sum to one.
        """
        if isinstance(weights, Batch):
            return self.loss_of_rows(params, self.rows(weights.indices), weights.weights)
        losses = self.example_losses(params)
        if weights is None:
            return jnp.mean(losses)
        return jnp.sum(weights.astype(losses.dtype) * losses)

    def gradient(self, params: PyTree, weights: Weighting = None) -> PyTree:
        """Return the gradient of the weighted loss: one vector-Jacobian product, whatever the weights."""
        return jax.grad(self.loss)(params, weights)

    def gradient_and_hessian_product(self, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return the full gradient g and the product H g of the Hessian with it, no matrix formed."""
        gradient, hessian_product = jax.linearize(self.gradient, params)
        return gradient, hessian_product(gradient)


def _gathered(leaf: Array, indices: Array) -> Array:
    rows = leaf.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return _copied_in_vectors(rows, indices) if jax.default_backend() == "cpu" else rows


# LLVM unrolls a loop of a known length if that gives fewer instructions than this, before it looks for vectors.
_MOST_UNROLLED, _OF_A_COPY = 300, 3
_VECTOR = 16


def _copied_in_vectors(rows: Array, indices: Array) -> Array:
    """Return ``rows`` by a loop too long to be unrolled.

    The copy of a row of 16 to 99 numbers is unrolled into scalar moves, in which no vectors are found: 45 of the 60
    cycles of an example of linear regression with 64 features. Operations on the bits that change nothing, since no
    index is negative, which the compiler does not know, make the loop longer; in vectors they cost next to nothing.
    """
    length = rows.shape[-1]
    if rows.ndim != indices.ndim + 1 or rows.dtype.itemsize != 4 or length < _VECTOR:
        return rows
    zero = (indices >> 31)[..., None]
    bits = jax.lax.bitcast_convert_type(rows, jnp.int32)
    for number in range(-(-_MOST_UNROLLED // length) - _OF_A_COPY):
        bits = bits + zero if number % 2 else bits ^ zero
    return jax.lax.bitcast_convert_type(bits, rows.dtype)


def float_dtype(params: PyTree) -> Any:
    """Return the dtype in which scalars of a lane are computed: that of the widest leaf, at least float32."""
    return jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
