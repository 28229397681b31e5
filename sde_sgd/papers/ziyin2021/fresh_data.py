"""Linear regression on data drawn anew at every step: the paper's limit of many examples, as a problem and a noise."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sde_sgd._core.random import Draws, slots_for_normals
from sde_sgd.noise import AbstractNoise
from sde_sgd.noise.base import batch_leaf
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem, potential
from sde_sgd.problems.problem import float_dtype
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate


@dataclasses.dataclass(frozen=True)
class FreshData:
    r"""The law of the examples, in coordinates in which all covariances are diagonal.

    .. math:: x \sim N(0, A), \qquad \tilde x = x + n, \quad n \sim N(0, B), \qquad y = u \cdot x + \sigma \epsilon

    Called with params it returns the population risk of predicting y from the noisy input, weight decay included. A
    value, so that runs on equal data share their compiled programs.
    """

    feature_variances: tuple[float, ...]
    label_noise: float = 0.0
    teacher: tuple[float, ...] | None = None
    input_variances: tuple[float, ...] | None = None
    weight_decay: float = 0.0
    preconditioner: tuple[float, ...] | None = None

    @property
    def dim(self) -> int:
        """D."""
        return len(self.feature_variances)

    @property
    def target(self) -> Float[np.ndarray, " d"]:
        """The teacher u."""
        return np.asarray(self.teacher or (0.0,) * self.dim)

    @property
    def minimum(self) -> Float[np.ndarray, " d"]:
        """The minimum of the risk."""
        variances = np.asarray(self.feature_variances)
        return variances * self.target / (variances + np.asarray(self.input_variances or 0.0) + self.weight_decay)

    def __call__(self, params: Array) -> Array:
        """Return the population risk, including weight decay."""
        blur = jnp.asarray(self.input_variances or (0.0,) * self.dim, params.dtype) + self.weight_decay
        return self.clean_loss(params) + 0.5 * (jnp.sum(blur * params**2) + self.label_noise**2)

    def clean_loss(self, params: Array) -> Array:
        """Return the test loss, on inputs and labels without noise."""
        variances, teacher = (jnp.asarray(values, params.dtype) for values in (self.feature_variances, self.target))
        return 0.5 * jnp.sum(variances * (params - teacher) ** 2)

    def problem(self) -> Problem:
        """Return the population risk as a problem, started at its minimum."""
        return potential(self, start=jnp.asarray(self.minimum, jnp.float32))


class FreshBatch(AbstractNoise):
    """The gradient of a minibatch of examples that were never seen before.

    Examples are drawn one by one, so that all batch sizes share one compiled program.

    Parameters
    ----------
    batch_size
        Number S of examples.
    data
        Their law.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    data: FreshData = eqx.field(static=True)

    def check(self, problem: Problem) -> None:
        """Accept any batch size: there is no end of fresh data."""

    def init(self) -> PyTree:
        """Return the empty sampler: batches are independent."""
        return ()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return int(self.batch_size) * slots_for_normals(self._normals_per_example)

    def factor(self, problem: Problem) -> Any:
        """Return 1/S."""
        return 1.0 / self.batch_size

    @property
    def _normals_per_example(self) -> int:
        return self.data.dim * (2 if self.data.input_variances else 1) + (1 if self.data.label_noise else 0)

    def gradient(
        self, problem: Problem, params: Array, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[Array, PyTree]:
        """Return the mean gradient over the batch, weight decay included and preconditioned."""
        data, dim, count = self.data, self.data.dim, self._normals_per_example
        dtype = float_dtype(params)
        scales, teacher = (jnp.asarray(v, dtype) for v in (np.sqrt(data.feature_variances), data.target))

        def add(index: Array, total: Array) -> Array:
            normals = draws.normals(count, jnp.uint32(slot) + index * jnp.uint32(count), dtype)
            clean = scales * normals[:dim]
            seen = clean
            if data.input_variances:
                seen = clean + jnp.asarray(np.sqrt(data.input_variances), dtype) * normals[dim : 2 * dim]
            residual = jnp.sum(seen * params) - jnp.sum(clean * teacher)
            if data.label_noise:
                residual -= data.label_noise * normals[-1]
            return total + seen * residual

        batch = jnp.asarray(self.batch_size, jnp.uint32)
        total = jax.lax.fori_loop(jnp.uint32(0), batch, add, jnp.zeros_like(params))
        gradient = total / batch.astype(dtype) + data.weight_decay * params
        return gradient * jnp.asarray(data.preconditioner or 1.0, dtype), sampler


@dataclasses.dataclass(frozen=True)
class _Fluctuation:
    """Records (w - w*)(w - w*)^T."""

    data: FreshData

    def __call__(self, problem: Problem, params: Array) -> Array:
        distance = params - jnp.asarray(self.data.minimum, params.dtype)
        return jnp.outer(distance, distance)


@dataclasses.dataclass(frozen=True)
class _GradientNoise:
    """Records (g - grad L)(g - grad L)^T for a minibatch drawn for the record alone."""

    data: FreshData
    batch_size: int

    def __call__(self, problem: Problem, params: Array, key: Array) -> Array:
        words = jax.random.key_data(key)
        draws = Draws((words[0], words[1]), jnp.uint32(0))
        gradient, _ = FreshBatch(self.batch_size, self.data).gradient(problem, params, (), draws)
        noise = gradient - problem.gradient(params)
        return jnp.outer(noise, noise)


@dataclasses.dataclass(frozen=True)
class _CleanLoss:
    """Records the test loss."""

    data: FreshData

    def __call__(self, problem: Problem, params: Array) -> Array:
        return self.data.clean_loss(params)


class Measured(NamedTuple):
    """A mean over an ensemble with its standard error: numbers or matrices."""

    value: Any
    stderr: Any

    def at(self, *index: int) -> "Measured":
        """Return one entry."""
        return Measured(float(self.value[index]), float(self.stderr[index]))


def stationary(
    data: FreshData, learning_rate: float, batch_size: int, size: Size, key: Array, *, momentum: float = 0.0,
    noise: bool = False,
) -> dict[str, Measured]:
    """Run an ensemble of SGD at its minimum into its stationary law.

    Returns
    -------
    dict
        ``fluctuation`` (d, d) about the minimum, ``training_loss``, ``test_loss``, and with ``noise`` the covariance of
        one step's gradient ``noise`` (d, d); standard errors from the spread between lanes.
    """
    quantities: dict[str, Any] = {"fluctuation": _Fluctuation(data), "training_loss": Problem.loss,
                                  "test_loss": _CleanLoss(data)}
    if noise:
        quantities["noise"] = _GradientNoise(data, batch_size)
    found = simulate(
        data.problem(), SGD(learning_rate, FreshBatch(batch_size, data), momentum=momentum),
        num_seeds=size.num_lanes, num_steps=size.burn_in + size.num_steps,
        record={name: Moments(function, every=size.thinning, burn_in=size.burn_in)
                for name, function in quantities.items()},
        key=key, progress=False,
    )
    return {name: Measured(found[f"{name}_mean"].values, found[f"{name}_mean_stderr"].values) for name in quantities}
