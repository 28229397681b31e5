"""Regression problems: least squares, quadratics with prescribed gradients, logistic and softmax regression."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem


@dataclasses.dataclass(frozen=True)
class Zeros:
    """Start at zero, of a given shape and dtype. A value, so that equal problems share their compiled programs."""

    shape: tuple[int, ...]
    dtype: Any = jnp.float32

    def __call__(self, key: Array) -> Array:
        """Return zeros; the key is not used."""
        return jnp.zeros(self.shape, self.dtype)


def _squared_error(params: Array, example: tuple[Array, Array]) -> Array:
    features, target = example
    return 0.5 * jnp.square(features @ params - target)


def _quadratic_loss(params: Array, example: tuple[Array, Array]) -> Array:
    hessian, offset = example
    return 0.5 * params @ hessian @ params - offset @ params


def _logistic_loss(params: Array, example: tuple[Array, Array]) -> Array:
    features, label = example
    return jax.nn.softplus(-(2.0 * label - 1.0) * (features @ params))


def _softmax_loss(params: dict[str, Array], example: tuple[Array, Array]) -> Array:
    features, label = example
    logits = features @ params["weight"] + params["bias"]
    return jax.nn.logsumexp(logits) - jnp.sum(jnp.where(jnp.arange(logits.shape[0]) == label, logits, 0.0))


def _floating(name: str, array: Any, ndim: int) -> Array:
    values = jnp.asarray(array)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.float32)
    if values.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {values.shape}.")
    if not bool(jnp.all(jnp.isfinite(values))):
        raise ValueError(f"{name} holds NaN or infinite values. Clean the data first.")
    return values


def least_squares(features: Float[ArrayLike, "n d"], targets: Float[ArrayLike, " n"]) -> Problem:
    r"""Linear regression on given data, started at zero.

    .. math:: \ell(w, (x, y)) = \tfrac12 (x \cdot w - y)^2

    Parameters
    ----------
    features, targets
        The rows x_i and the values y_i. Integers are converted to float32.

    Returns
    -------
    Problem
        With ``minimum`` the least-squares solution of smallest norm.

    Raises
    ------
    ValueError
        If the axes disagree, an array is empty or a value is not finite.
    """
    features = _floating("features", features, 2)
    targets = _floating("targets", targets, 1).astype(features.dtype)
    checks.leading_axis({"features": features, "targets": targets})
    solution = np.linalg.lstsq(np.asarray(features, np.float64), np.asarray(targets, np.float64), rcond=None)[0]
    return Problem(
        example_loss=_squared_error,
        data=(features, targets),
        init=Zeros((features.shape[1],), features.dtype),
        minimum=jnp.asarray(solution, features.dtype),
    )


def linear_regression(
    *,
    num_examples: int,
    dim: int,
    label_noise: float = 1.0,
    feature_covariance: Float[ArrayLike, "d d"] | None = None,
    key: Array,
) -> Problem:
    r"""Linear regression on synthetic Gaussian data.

    .. math:: x_i \sim N(0, A), \quad y_i = x_i \cdot u + \sigma \epsilon_i, \quad u \sim N(0, I/d), \quad
              \epsilon_i \sim N(0, 1)

    Parameters
    ----------
    num_examples, dim
        N and d.
    label_noise
        Standard deviation sigma of the label noise.
    feature_covariance
        Covariance A of the features; the identity by default.
    key
        Typed key of the data set.

    Raises
    ------
    TypeError, ValueError
        If a count is not a positive int, sigma is negative, A is not symmetric positive semi-definite, or the key is
        not a typed key.
    """
    checks.integer("num_examples", num_examples)
    checks.integer("dim", dim)
    checks.non_negative("label_noise", label_noise)
    checks.typed_key(key)
    root = _covariance_root(feature_covariance, dim)
    key_features, key_teacher, key_noise = jax.random.split(key, 3)
    features = jax.random.normal(key_features, (num_examples, dim), jnp.float32) @ root.T
    teacher = jax.random.normal(key_teacher, (dim,), jnp.float32) / np.sqrt(np.float32(dim))
    noise = jax.random.normal(key_noise, (num_examples,), jnp.float32)
    return least_squares(features, features @ teacher + np.float32(label_noise) * noise)


def _covariance_root(covariance: Any, dim: int) -> Float[Array, "d d"]:
    if covariance is None:
        return jnp.eye(dim, dtype=jnp.float32)
    matrix = np.asarray(covariance, np.float64)
    if matrix.shape != (dim, dim) or not np.allclose(matrix, matrix.T):
        raise ValueError(f"feature_covariance must be a symmetric {dim} x {dim} matrix, got shape {matrix.shape}.")
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-10 * max(values[-1], 1.0):
        raise ValueError(f"feature_covariance must be positive semi-definite, got the eigenvalue {values[0]:.3g}.")
    return jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), jnp.float32)


def quadratic(hessian: Float[ArrayLike, "*n d d"], offsets: Float[ArrayLike, "n d"]) -> Problem:
    r"""Quadratic losses with prescribed per-example gradients :math:`H_i w - b_i`, started at zero.

    .. math:: \ell_i(w) = \tfrac12 w^\top H_i w - b_i^\top w

    Parameters
    ----------
    hessian
        One symmetric matrix for all examples (additive noise) or one per example (multiplicative noise).
    offsets
        The vectors b_i; with one Hessian and offsets of mean zero the minimum is the origin and the noise is -b_i.

    Raises
    ------
    ValueError
        If shapes disagree, a Hessian is not symmetric or a value is not finite.
    """
    offsets = _floating("offsets", offsets, 2)
    num_examples, dim = offsets.shape
    matrices = jnp.asarray(hessian, offsets.dtype)
    if matrices.shape not in ((dim, dim), (num_examples, dim, dim)):
        raise ValueError(f"hessian must have shape ({dim}, {dim}) or ({num_examples}, {dim}, {dim}) to go with offsets "
                         f"of shape {offsets.shape}, got {matrices.shape}.")
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2)):
        raise ValueError("hessian must be symmetric. Pass (H + H.T) / 2.")
    matrices = jnp.broadcast_to(matrices, (num_examples, dim, dim))
    mean_hessian = np.mean(np.asarray(matrices, np.float64), axis=0)
    mean_offset = np.mean(np.asarray(offsets, np.float64), axis=0)
    minimum = np.linalg.lstsq(mean_hessian, mean_offset, rcond=None)[0] if np.all(
        np.linalg.eigvalsh(mean_hessian) > 0) else None
    return Problem(
        example_loss=_quadratic_loss,
        data=(matrices, offsets),
        init=Zeros((dim,), offsets.dtype),
        minimum=None if minimum is None else jnp.asarray(minimum, offsets.dtype),
    )


def logistic_regression(features: Float[ArrayLike, "n d"], labels: Any) -> Problem:
    r"""Binary classification with labels 0 and 1, started at zero.

    .. math:: \ell(w, (x, y)) = \log\bigl(1 + e^{-(2y-1)\, x \cdot w}\bigr)

    Raises
    ------
    ValueError
        If shapes disagree, a feature is not finite or a label is neither 0 nor 1.
    """
    features = _floating("features", features, 2)
    labels = jnp.asarray(labels)
    checks.leading_axis({"features": features, "labels": labels})
    if not bool(jnp.all((labels == 0) | (labels == 1))):
        raise ValueError(f"labels must be 0 or 1, got values from {labels.min()} to {labels.max()}.")
    return Problem(example_loss=_logistic_loss, data=(features, labels.astype(features.dtype)),
                   init=Zeros((features.shape[1],), features.dtype))


@dataclasses.dataclass(frozen=True)
class _ZeroSoftmax:
    dim: int
    num_classes: int
    dtype: Any

    def __call__(self, key: Array) -> PyTree:
        return {"weight": jnp.zeros((self.dim, self.num_classes), self.dtype),
                "bias": jnp.zeros((self.num_classes,), self.dtype)}


def softmax_regression(features: Float[ArrayLike, "n d"], labels: Any, num_classes: int | None = None) -> Problem:
    r"""Multi-class classification by a linear softmax model, started at zero.

    .. math:: \ell(w, (x, y)) = \log \sum_c e^{x \cdot w_c + b_c} - (x \cdot w_y + b_y)

    Parameters
    ----------
    features
        Rows x_i.
    labels
        Integers in [0, num_classes).
    num_classes
        One more than the largest label by default.

    Returns
    -------
    Problem
        Its params are a dict with ``weight`` (d, num_classes) and ``bias`` (num_classes).

    Raises
    ------
    ValueError
        If shapes disagree, a feature is not finite or a label is out of range.
    """
    features = _floating("features", features, 2)
    labels = jnp.asarray(labels)
    checks.leading_axis({"features": features, "labels": labels})
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}. Use labels.astype(int).")
    num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
    checks.integer("num_classes", num_classes, minimum=2)
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got values from {labels.min()} to {labels.max()}.")
    return Problem(example_loss=_softmax_loss, data=(features, labels.astype(jnp.int32)),
                   init=_ZeroSoftmax(features.shape[1], num_classes, features.dtype))
