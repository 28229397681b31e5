"""Neural networks as problems: a flax module, linen or nnx, with a loss per example."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd.problems.landscape import Constant
from sde_sgd.problems.network_data import check_class_indices, checked
from sde_sgd.problems.network_loss import NetworkLoss
from sde_sgd.problems.problem import Problem

_BATCH_STATISTICS = ("A batch-dependent normalisation has no per-example loss or gradient. "
                     "Use GroupNorm or LayerNorm instead of BatchNorm.")
_RANDOM_NUMBERS = ("Dropout draws random numbers inside the loss, where all noise must be a weighting of the examples. "
                   "Leave it out, or use Dropout(rate, deterministic=True) without rngs.")
_OTHER_STATE = "State has no place in a per-example loss. Make it a parameter, or a constant inside __call__."


@dataclasses.dataclass(frozen=True)
class _LinenApply:
    """The forward pass of a batch. A value, so that equal modules share their compiled programs."""

    module: Any

    def __call__(self, params: PyTree, batch: Array) -> PyTree:
        return self.module.apply({"params": params}, batch)


@dataclasses.dataclass(frozen=True)
class _LinenInit:
    module: Any
    shape: tuple[int, ...]
    dtype: Any

    def __call__(self, key: Array) -> PyTree:
        return self.variables(key).get("params", {})

    def variables(self, key: Array) -> dict[str, PyTree]:
        return self.module.init({"params": key}, jnp.zeros((1, *self.shape), self.dtype))


@dataclasses.dataclass(frozen=True)
class _NnxApply:
    graph: Any

    def __call__(self, params: PyTree, batch: Array) -> PyTree:
        from flax import nnx

        return nnx.merge(self.graph, params)(batch)


@dataclasses.dataclass(frozen=True)
class _NnxInit:
    constructor: Callable[..., Any]

    def __call__(self, key: Array) -> PyTree:
        from flax import nnx

        return nnx.to_pure_dict(nnx.state(self.constructor(rngs=nnx.Rngs(key)), nnx.Param))


def from_flax(module: Any, inputs: Any, labels: Any, loss: Callable[[PyTree, Array], Array]) -> Problem:
    r"""Make a problem of a flax network, its data and a loss per example.

    .. math:: \ell(w, (x, y)) = \mathrm{loss}(\mathrm{module}_w(x), y)

    The module is applied to a batch of one example, so that the loss of an example depends on that example alone.
    Layers for which this does not hold (batch normalisation, dropout) are refused.

    Parameters
    ----------
    module
        A linen module; or a constructor of an nnx module taking ``rngs`` alone, such as
        ``lambda rngs: MLP(10, rngs=rngs)``; or an nnx module, whose own parameters then start every seed. It maps a
        batch, with no further arguments, to an array or pytree of arrays with the same leading axis.
    inputs
        Array of shape (num_examples, ...); its dtype is kept.
    labels
        Array of shape (num_examples, ...); integers are stored as int32. Integer labels with one axis less than the
        prediction are class indices and must be in range; pass floats for integers of another meaning.
    loss
        ``loss(prediction, label) -> scalar`` for one example, without the batch axis; for example
        ``optax.softmax_cross_entropy_with_integer_labels``.

    Returns
    -------
    Problem
        With ``data = (inputs, labels)``. Its params are nested dicts of arrays: the "params" collection of linen, the
        pure dict of the ``Param`` variables of nnx.

    Raises
    ------
    TypeError
        If ``module`` is not one of the three or ``loss`` cannot be called.
    ValueError
        If the data are empty, their leading axes disagree, a value is not finite or a class index is out of range; if
        the module cannot be applied to one example or keeps state or random numbers; if the loss is not a scalar.

    Notes
    -----
    Equal modules share their compiled programs, unless a field is a list, dict or array: prefer tuples. The
    constructor of an nnx module is compared by identity: pass the same function again.

    Examples
    --------
    >>> import flax.linen, jax, jax.numpy as jnp, optax, sde_sgd as ss
    >>> inputs, labels = jnp.eye(3), jnp.array([0, 1, 1])
    >>> net = ss.problems.from_flax(flax.linen.Dense(2), inputs, labels,
    ...                             optax.softmax_cross_entropy_with_integer_labels)
    >>> net.init(jax.random.key(0))["kernel"].shape
    (3, 2)
    """
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {loss!r} of type {type(loss).__name__}.")
    inputs, labels = checked(inputs, labels)
    apply, init = _network(module, inputs)
    prediction = _prediction_of_one(apply, init, inputs)
    check_class_indices(prediction, labels)
    _check_loss(loss, prediction, jax.ShapeDtypeStruct(labels.shape[1:], labels.dtype))
    return Problem(example_loss=NetworkLoss(apply, loss), data=(inputs, labels), init=init)


def predict(problem: Problem, params: PyTree, inputs: Any) -> PyTree:
    """Return the predictions of a network of `from_flax` for many inputs.

    Parameters
    ----------
    problem
        A problem made by `from_flax`.
    params
        Pytree like that of ``problem.init``.
    inputs
        Array of shape (n, ...), for example test images; n is free.

    Returns
    -------
    PyTree
        What the module returns for one example, with a leading axis n.

    Raises
    ------
    TypeError
        If ``problem`` was not made by `from_flax`.

    Examples
    --------
    >>> import flax.linen, jax, jax.numpy as jnp, sde_sgd as ss
    >>> net = ss.problems.from_flax(flax.linen.Dense(2), jnp.eye(3), jnp.eye(3, 2), lambda p, y: jnp.sum((p - y) ** 2))
    >>> ss.problems.predict(net, net.init(jax.random.key(0)), jnp.ones((5, 3))).shape
    (5, 2)
    """
    if not isinstance(problem.example_loss, NetworkLoss):
        raise TypeError(f"problem must be made by from_flax, got one with the loss {problem.example_loss!r}.")
    return jax.vmap(problem.example_loss.predict, in_axes=(None, 0))(params, inputs)


def _network(module: Any, inputs: Array) -> tuple[Callable[[PyTree, Array], PyTree], Callable[[Array], PyTree]]:
    """Return the forward pass and the init of a flax module."""
    from flax import linen, nnx

    if isinstance(module, linen.Module):
        init = _LinenInit(module, inputs.shape[1:], inputs.dtype)
        _check_linen_variables(init, inputs)
        return _static(_LinenApply(module)), _static(init)
    if isinstance(module, nnx.Module):
        graph, params = _split_nnx(module)
        return _static(_NnxApply(graph)), Constant(params)
    if callable(module) and not (isinstance(module, type) and issubclass(module, linen.Module)):
        graph, _ = _split_nnx(_construct_nnx(module))
        return _static(_NnxApply(graph)), _NnxInit(module)
    raise TypeError("module must be an instance of flax.linen.Module or flax.nnx.Module, or a constructor of an nnx "
                    f"module taking rngs, got {module!r} of type {type(module).__name__}.")


def _static(function: Callable) -> Callable:
    """Return ``function`` itself, or compared by identity if a field of its module, such as a list, has no hash."""
    try:
        hash(function)
    except TypeError:
        return functools.partial(function)
    return function


def _check_linen_variables(init: _LinenInit, inputs: Array) -> None:
    try:
        variables = jax.eval_shape(init.variables, jax.random.key(0))
    except Exception as error:
        raise _not_applicable(inputs, error) from error
    for collection in variables:
        if collection != "params":
            reason = _BATCH_STATISTICS if collection == "batch_stats" else _OTHER_STATE
            raise ValueError(f"module must keep its params alone, got the collection {collection!r}. {reason}")


def _construct_nnx(constructor: Callable[..., Any]) -> Any:
    """Return the abstract module (shapes instead of arrays) that ``constructor(rngs=...)`` makes."""
    from flax import nnx

    def construct():
        module = constructor(rngs=nnx.Rngs(0))
        if not isinstance(module, nnx.Module):
            raise TypeError(f"got {module!r} of type {type(module).__name__}")
        return module

    try:
        return nnx.eval_shape(construct)
    except Exception as error:
        raise ValueError("module, a constructor, must return a flax.nnx.Module when called with rngs alone, as does "
                         f"lambda rngs: MLP(10, rngs=rngs). {type(error).__name__}: {error}") from error


def _split_nnx(module: Any) -> tuple[Any, PyTree]:
    """Return the graph and the parameters of an nnx module; raise if it keeps anything else."""
    from flax import nnx

    graph, params, others = nnx.split(module, nnx.Param, ...)
    for path, variable in nnx.to_flat_state(others):
        reasons = {nnx.BatchStat: _BATCH_STATISTICS, nnx.RngState: _RANDOM_NUMBERS, object: _OTHER_STATE}
        reason = next(reason for kind, reason in reasons.items() if isinstance(variable, kind))
        name = ".".join(map(str, path))
        raise ValueError(f"module must keep Param variables alone, got {name}, a {type(variable).__name__}. {reason}")
    return graph, nnx.to_pure_dict(params)


def _not_applicable(inputs: Array, error: Exception) -> ValueError:
    from flax.errors import InvalidRngError

    advice = _RANDOM_NUMBERS if isinstance(error, InvalidRngError) else "It must accept a batch and no other arguments."
    return ValueError(f"module cannot be applied to a batch of one example, of shape {(1, *inputs.shape[1:])} and "
                      f"dtype {inputs.dtype}. {advice} {type(error).__name__}: {error}")


def _prediction_of_one(apply: Callable, init: Callable, inputs: Array) -> PyTree:
    """Return shapes and dtypes of the prediction for one example; raise if the module drops the batch axis."""
    params = jax.eval_shape(init, jax.random.key(0))
    batch = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    try:
        predictions = jax.eval_shape(apply, params, batch)
    except Exception as error:
        raise _not_applicable(inputs, error) from error
    for leaf in jax.tree.leaves(predictions):
        if leaf.shape[:1] != (1,):
            raise ValueError(f"module must keep the batch axis in front, but a batch of shape {batch.shape} gave an "
                             f"output of shape {leaf.shape}. Reshape with x.reshape(x.shape[0], -1), squeeze axis=-1.")
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), predictions)


def _check_loss(loss: Callable[[PyTree, Array], Array], prediction: PyTree, label: jax.ShapeDtypeStruct) -> None:
    """Raise unless the loss of one example is a scalar."""
    shapes = jax.tree.map(lambda leaf: leaf.shape, prediction)
    of_one = f"of one prediction of shape {shapes} and one label of shape {label.shape} and dtype {label.dtype}"
    try:
        value = jax.eval_shape(lambda *example: loss(*example), prediction, label)
    except Exception as error:
        raise ValueError(f"loss {of_one} failed. {type(error).__name__}: {error}") from error
    if getattr(value, "shape", None) != ():
        got = jax.tree.map(lambda leaf: leaf.shape, value)
        raise ValueError(f"loss {of_one} must be a scalar, got shape {got}. Make the two shapes agree, for example "
                         "with labels[:, None], and reduce the loss over its axes.")
