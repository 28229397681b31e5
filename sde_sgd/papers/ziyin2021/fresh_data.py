"""Linear regression on data drawn anew at every step: the paper's limit of many examples, as a problem and a noise."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sde_sgd._core.random import Draws, slots_for_normals
from sde_sgd.analysis import Measured
from sde_sgd.noise import AbstractNoise
from sde_sgd.noise.base import batch_leaf
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem
from sde_sgd.problems.landscape import Constant
from sde_sgd.problems.problem import float_dtype
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate


class _Law(NamedTuple):
    """What is known of the examples, as arrays: variances of features and of input noise, teacher, and the rest."""

    variances: Any
    blur: Any
    teacher: Any
    label_noise: Any
    weight_decay: Any
    preconditioner: Any


def _risk(params: Array, law: _Law) -> Array:
    """Return the population risk, including weight decay."""
    decayed = (law.blur + law.weight_decay) * params**2
    return _distance(params, law) + 0.5 * (jnp.sum(decayed) + law.label_noise**2)


def _distance(params: Array, law: _Law) -> Array:
    return 0.5 * jnp.sum(law.variances * (params - law.teacher) ** 2)


@dataclasses.dataclass(frozen=True)
class FreshData:
    r"""The law of the examples, in coordinates in which all covariances are diagonal.

    .. math:: x \sim N(0, A), \qquad \tilde x = x + n, \quad n \sim N(0, B), \qquad y = u \cdot x + \sigma \epsilon
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

    def problem(self) -> Problem:
        """Return the population risk as a problem whose one example is the law: all laws share their programs."""
        nothing = (0.0,) * self.dim
        law = _Law(self.feature_variances, self.input_variances or nothing, self.target, self.label_noise,
                   self.weight_decay, self.preconditioner or (1.0,) * self.dim)
        rows = _Law(*(jnp.asarray(values, jnp.float32)[None] for values in law))
        minimum = jnp.asarray(self.minimum, jnp.float32)
        return Problem(example_loss=_risk, data=rows, init=Constant(jnp.zeros_like(minimum)), minimum=minimum)

    def batch(self, batch_size: int) -> "FreshBatch":
        """Return the noise of a minibatch of fresh examples."""
        return FreshBatch(batch_size, self.input_variances is not None, bool(self.label_noise))


class FreshBatch(AbstractNoise):
    """The gradient of a minibatch of examples that were never seen before, of the law that the problem holds.

    Examples are drawn one by one, so that all batch sizes share one compiled program.

    Parameters
    ----------
    batch_size
        Number S of examples.
    noisy_inputs, noisy_labels
        Whether the law has such noise; without it no random numbers are drawn for it.
    """

    batch_size: Any = eqx.field(converter=batch_leaf)
    noisy_inputs: bool = eqx.field(static=True)
    noisy_labels: bool = eqx.field(static=True)

    def check(self, problem: Problem) -> None:
        """Accept any batch size: there is no end of fresh data."""

    def init(self) -> PyTree:
        """Return the empty sampler: batches are independent."""
        return ()

    def num_slots(self, problem: Problem, params: PyTree) -> int:
        """Return how many slots of randomness one gradient takes."""
        return int(self.batch_size) * slots_for_normals(self._normals_per_example(params.shape[0]))

    def factor(self, problem: Problem) -> Any:
        """Return 1/S."""
        return 1.0 / self.batch_size

    def _normals_per_example(self, dim: int) -> int:
        return dim * (2 if self.noisy_inputs else 1) + (1 if self.noisy_labels else 0)

    def gradient(
        self, problem: Problem, params: Array, sampler: PyTree, draws: Draws, slot: Any = 0
    ) -> tuple[Array, PyTree]:
        """Return the mean gradient over the batch, weight decay included and preconditioned."""
        law, dtype = _law(problem), float_dtype(params)
        dim = params.shape[0]
        count = self._normals_per_example(dim)

        def add(index: Array, total: Array) -> Array:
            normals = draws.normals(count, jnp.uint32(slot) + index * jnp.uint32(count), dtype)
            clean = jnp.sqrt(law.variances) * normals[:dim]
            seen = clean + jnp.sqrt(law.blur) * normals[dim : 2 * dim] if self.noisy_inputs else clean
            residual = jnp.sum(seen * params) - jnp.sum(clean * law.teacher)
            if self.noisy_labels:
                residual -= law.label_noise * normals[-1]
            return total + seen * residual

        batch = jnp.asarray(self.batch_size, jnp.uint32)
        total = jax.lax.fori_loop(jnp.uint32(0), batch, add, jnp.zeros_like(params))
        return (total / batch.astype(dtype) + law.weight_decay * params) * law.preconditioner, sampler


def _law(problem: Problem) -> _Law:
    return jax.tree.map(lambda leaf: leaf[0], problem.data)


def _fluctuation(problem: Problem, params: Array) -> Array:
    """Return (w - w*)(w - w*)^T."""
    law = _law(problem)
    distance = params - law.variances * law.teacher / (law.variances + law.blur + law.weight_decay)
    return jnp.outer(distance, distance)


def _clean_loss(problem: Problem, params: Array) -> Array:
    """Return the test loss, on inputs and labels without noise."""
    return _distance(params, _law(problem))


@dataclasses.dataclass(frozen=True)
class _GradientNoise:
    """Records (g - grad L)(g - grad L)^T for a minibatch drawn for the record alone."""

    noisy_inputs: bool
    noisy_labels: bool
    batch_size: int

    def __call__(self, problem: Problem, params: Array, key: Array) -> Array:
        words = jax.random.key_data(key)
        draws = Draws((words[0], words[1]), jnp.uint32(0))
        batch = FreshBatch(self.batch_size, self.noisy_inputs, self.noisy_labels)
        noise = batch.gradient(problem, params, (), draws)[0] - problem.gradient(params)
        return jnp.outer(noise, noise)


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
    quantities: dict[str, Any] = {"fluctuation": _fluctuation, "training_loss": Problem.loss, "test_loss": _clean_loss}
    batch = data.batch(batch_size)
    if noise:
        quantities["noise"] = _GradientNoise(batch.noisy_inputs, batch.noisy_labels, batch_size)
    problem = data.problem()
    found = simulate(
        problem, SGD(learning_rate, batch, momentum=momentum), params=problem.minimum,
        num_seeds=size.num_lanes, num_steps=size.burn_in + size.num_steps,
        record={name: Moments(function, every=size.thinning, burn_in=size.burn_in)
                for name, function in quantities.items()},
        key=key, progress=False,
    )
    return {name: Measured(found[f"{name}_mean"].values, found[f"{name}_mean_stderr"].values) for name in quantities}
