"""The data of a network: checks before training starts, held-out examples, label noise, standardisation."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.network_loss import NetworkLoss
from sde_sgd.problems.problem import Problem


def checked(inputs: Any, labels: Any) -> tuple[Array, Array]:
    """Return the data as arrays, integer labels as int32; raise if a value is not finite or the lengths disagree."""
    inputs, labels = _finite("inputs", inputs), _finite("labels", labels)
    checks.leading_axis({"inputs": inputs, "labels": labels})
    if jnp.issubdtype(labels.dtype, jnp.integer):
        labels = labels.astype(jnp.int32)
    return inputs, labels


def _finite(name: str, values: Any) -> Array:
    array = jnp.asarray(values)
    if jnp.issubdtype(array.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(array))):
        raise ValueError(f"{name} holds NaN or infinite values. Clean the data first.")
    return array


def check_class_indices(prediction: PyTree, labels: Array) -> None:
    """Raise if integer labels that index the last axis of the prediction are out of its range."""
    shape = getattr(prediction, "shape", ())
    if not jnp.issubdtype(labels.dtype, jnp.integer) or not shape or shape[:-1] != labels.shape[1:] or shape[-1] == 1:
        return
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= shape[-1]:
        raise ValueError(f"labels must lie in 0..{shape[-1] - 1}, the last axis of the prediction of shape {shape}, "
                         f"got values from {smallest} to {largest}. Renumber them, give the module more outputs, or "
                         "pass floats if they are not class indices.")


def with_data(problem: Problem, inputs: Any, labels: Any) -> Problem:
    """Return the same network with other examples, for instance those held out for a test.

    Both share their compiled programs as far as the numbers of examples agree. See `on` for recording a quantity of
    one problem while another is trained.

    Parameters
    ----------
    problem
        A problem made by `from_flax`.
    inputs, labels
        As for `from_flax`, of the same shapes and dtypes except for the number of examples.

    Returns
    -------
    Problem
        With ``data = (inputs, labels)``.

    Raises
    ------
    TypeError
        If ``problem`` was not made by `from_flax`.
    ValueError
        If the data do not fit, hold a value that is not finite, or a class index is out of range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, sde_sgd as ss
    >>> net = ss.problems.from_flax(ss.problems.mlp((4,), 2), jnp.eye(3), jnp.array([0, 1, 1]),
    ...                             optax.softmax_cross_entropy_with_integer_labels)
    >>> test = ss.problems.with_data(net, jnp.ones((5, 3)), jnp.zeros(5, int))
    >>> float(ss.problems.accuracy(test, net.init(jax.random.key(0)))) in (0.0, 1.0)
    True
    """
    if not isinstance(problem.example_loss, NetworkLoss):
        raise TypeError(f"problem must be made by from_flax, got one with the loss {problem.example_loss!r}.")
    data = checked(inputs, labels)
    for name, new, old in zip(("inputs", "labels"), data, problem.data, strict=True):
        if (new.shape[1:], new.dtype) != (old.shape[1:], old.dtype):
            raise ValueError(f"{name} must be like those of the problem, of shape {('n', *old.shape[1:])} and dtype "
                             f"{old.dtype}, got shape {new.shape} and dtype {new.dtype}.")
    params = jax.eval_shape(problem.init, jax.random.key(0))
    example = jax.ShapeDtypeStruct(data[0].shape[1:], data[0].dtype)
    check_class_indices(jax.eval_shape(problem.example_loss.predict, params, example), data[1])
    return dataclasses.replace(problem, data=data)


def with_label_noise(
    labels: Any, fraction: float, *, num_classes: int, key: Any
) -> Int[np.ndarray, " n"]:
    """Return class labels, some of which were drawn anew, uniformly over all classes.

    A redrawn label may be the old one: of N labels about ``fraction * (1 - 1/num_classes) * N`` change. Fixed once;
    for labels redrawn at every step see `sde_sgd.noise.fresh_labels`.

    Parameters
    ----------
    labels
        Integers in 0..num_classes-1.
    fraction
        Share of the labels to redraw, rounded to a whole number of them; 0 to 1.
    num_classes
        Number of classes.
    key
        Typed key.

    Returns
    -------
    ndarray
        Int32 labels of the same shape.

    Raises
    ------
    TypeError, ValueError
        If a label or the fraction is out of range.

    References
    ----------
    Zhang, Bengio, Hardt, Recht, Vinyals (2017), Understanding deep learning requires rethinking generalization, ICLR.

    Examples
    --------
    >>> import jax, numpy as np, sde_sgd as ss
    >>> labels = np.arange(1000) % 10
    >>> noisy = ss.problems.with_label_noise(labels, 0.2, num_classes=10, key=jax.random.key(5))
    >>> 150 < int((noisy != labels).sum()) <= 200
    True
    """
    checks.typed_key(key)
    checks.integer("num_classes", num_classes, minimum=2)
    checks.non_negative("fraction", fraction)
    labels = np.asarray(labels)
    if fraction > 1:
        raise ValueError(f"fraction must lie in [0, 1], got {fraction}. Pass 0.2 for 20 %.")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers of shape (n,), got {labels.dtype} of shape {labels.shape}.")
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got values from {labels.min()} to {labels.max()}.")
    chosen, drawn = jax.random.split(key)
    count = round(fraction * len(labels))
    where = np.asarray(jax.random.permutation(chosen, len(labels)))[:count]
    noisy = labels.astype(np.int32)
    noisy[where] = np.asarray(jax.random.randint(drawn, (count,), 0, num_classes))
    return noisy


def standardised(train: Any, *others: Any) -> tuple[Float[np.ndarray, "..."], ...]:
    r"""Return inputs less the mean of the training inputs, over their standard deviation: two numbers for all pixels.

    .. math:: z = (x - \bar x)/s

    Pixel by pixel it would blow up the pixels that hardly vary, such as those in the corners of digits.

    Parameters
    ----------
    train
        The inputs that mean and standard deviation are taken from.
    *others
        Inputs of the same kind, such as those of a test set.

    Returns
    -------
    tuple
        All of them, float32.

    Raises
    ------
    ValueError
        If the training inputs are constant or not finite.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> features, _ = ss.problems.digits()
    >>> train, test = ss.problems.standardised(features[:1000], features[1000:])
    >>> abs(float(train.mean())) < 1e-6, abs(float(train.std()) - 1) < 1e-6
    (True, True)
    """
    values = np.asarray(train)
    mean, spread = (float(getattr(values, name)(dtype=np.float64)) for name in ("mean", "std"))
    if not (math.isfinite(spread) and spread > 0):
        raise ValueError(f"train must be finite and not constant, got mean {mean} and standard deviation {spread}.")
    return tuple(((np.asarray(inputs) - mean) / spread).astype(np.float32) for inputs in (train, *others))
