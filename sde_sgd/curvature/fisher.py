"""Traces of the Fisher information, exactly: over the model's own labels, or over those of the data."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sde_sgd._core import tree
from sde_sgd.curvature.flat import check_params
from sde_sgd.problems.network_loss import NetworkLoss
from sde_sgd.problems.problem import Problem

_EXAMPLES_AT_A_TIME = 64


def fisher_trace(problem: Problem, params: PyTree) -> Float[Array, ""]:
    r"""Return the trace of the Fisher information of a softmax classifier, labels summed over the model's own.

    .. math:: \mathrm{tr}\,F = \frac1N \sum_i \sum_c p_c(x_i)\, |\nabla_w \log p_c(x_i)|^2

    Exact: C gradients of one example for each example. For the cross entropy F is the Gauss-Newton matrix, so that
    ``trace(..., operator=GaussNewton())`` estimates the same number, at less cost where N C is large.

    Parameters
    ----------
    problem
        A problem of `from_flax` with class indices for labels, whose loss is the cross entropy of the softmax of its
        predictions, the logits.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.

    Raises
    ------
    TypeError, ValueError
        If the problem is none of a classifier with logits and class indices, or the params do not fit.

    Examples
    --------
    >>> import flax.linen, jax, jax.numpy as jnp, optax, sde_sgd as ss
    >>> net = ss.problems.from_flax(flax.linen.Dense(2, kernel_init=flax.linen.initializers.zeros), jnp.eye(3),
    ...                             jnp.array([0, 1, 1]), optax.softmax_cross_entropy_with_integer_labels)
    >>> round(float(ss.curvature.fisher_trace(net, net.init(jax.random.key(0)))), 4)
    1.0
    """
    params = check_params(problem, params)
    _check_classifier(problem, params)
    return _fisher_trace(problem, params)


@jax.jit
def empirical_fisher_trace(problem: Problem, params: PyTree) -> Float[Array, ""]:
    r"""Return the mean squared gradient of the examples, with the labels of the data.

    .. math:: \frac1N \sum_i |\nabla \ell(w, z_i)|^2 = \mathrm{tr}\,\Sigma + |\nabla f|^2

    A measure of gradients, not of curvature: where every example is fitted it vanishes and `fisher_trace`, in
    general, does not.

    Parameters
    ----------
    problem
        Any problem.
    params
        Where to evaluate. For an ensemble, with a leading axis, wrap in `jax.vmap`.

    References
    ----------
    Kunstner, Balles, Hennig (2019), Limitations of the empirical Fisher approximation for natural gradient descent,
    NeurIPS.
    """
    params = check_params(problem, params)
    return _mean_over_examples(lambda example: _squared_gradient(problem, params, example), problem)


@jax.jit
def _fisher_trace(problem: Problem, params: PyTree) -> Array:
    network: Any = problem.example_loss

    def of_example(example: tuple[Array, Array]) -> Array:
        inputs, _ = example
        probabilities = jax.nn.softmax(network.predict(params, inputs))
        classes = jnp.arange(probabilities.shape[-1], dtype=jnp.int32)
        squares = jax.lax.map(lambda label: _squared_gradient(problem, params, (inputs, label)), classes)
        return jnp.sum(probabilities * squares)

    return _mean_over_examples(of_example, problem)


def _squared_gradient(problem: Problem, params: PyTree, example: PyTree) -> Array:
    return tree.squared_norm(jax.grad(problem.example_loss)(params, example))


def _mean_over_examples(function: Any, problem: Problem) -> Array:
    return jnp.mean(jax.lax.map(function, problem.data, batch_size=_EXAMPLES_AT_A_TIME))


def _check_classifier(problem: Problem, params: PyTree) -> None:
    if not isinstance(problem.example_loss, NetworkLoss):
        raise TypeError(f"fisher_trace needs a classifier made by from_flax, got a problem with the loss "
                        f"{problem.example_loss!r}. Use empirical_fisher_trace.")
    inputs, labels = problem.data
    logits = jax.eval_shape(problem.example_loss.predict, params, jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype))
    if getattr(logits, "ndim", 0) != 1 or labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"fisher_trace needs one vector of logits and one class index per example, got a prediction "
                         f"{logits} and labels of shape {labels.shape} and dtype {labels.dtype}. Use "
                         "trace(..., operator=GaussNewton()).")
