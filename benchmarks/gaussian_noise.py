"""What exact Gaussian gradient noise costs: drift and noise together over one full gradient alone.

    python benchmarks/gaussian_noise.py --out results [--quick]

All rows are steps of the same run function on the same problem, so their ratio is that of the work inside a step. The
first row takes one full gradient a step; the promise is that the second, drift plus noise of the exact minibatch
covariance by one weighted gradient, costs at most 1.5 times as much. A smaller network shows what forming the
covariance would cost instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import machine
import numpy as np
from jax.flatten_util import ravel_pytree
from machine import Contender, Estimate

import sde_sgd as ss

LEARNING_RATE, BATCH, CLASSES = 0.01, 32, 10


class ParamsState(NamedTuple):
    """A state that is its params."""

    params: Any


class GradientDescent(ss.processes.AbstractProcess):
    """One full gradient a step: the yardstick."""

    learning_rate: float

    @property
    def time_per_step(self) -> Any:
        return self.learning_rate

    def check(self, problem: Any) -> None:
        """Accept every problem."""

    def init(self, problem: Any, params: Any) -> ParamsState:
        return ParamsState(params)

    def step(self, problem: Any, state: ParamsState, draws: Any) -> ParamsState:
        return self.moved(state, problem.gradient(state.params))

    def moved(self, state: ParamsState, direction: Any) -> ParamsState:
        rate = jnp.asarray(self.learning_rate, jnp.float32)
        return ParamsState(jax.tree.map(lambda w, g: w - rate * g, state.params, direction))


class ExplicitCovariance(GradientDescent):
    """The same noise the long way: every example's gradient, their covariance, its root, times normal numbers."""

    batch_size: int

    def step(self, problem: Any, state: ParamsState, draws: Any) -> ParamsState:
        drift, unravel = ravel_pytree(problem.gradient(state.params))
        covariance = ss.curvature.noise_covariance(problem, state.params) / self.batch_size
        values, vectors = jnp.linalg.eigh(covariance)
        xi = jax.random.normal(draws.jax_key(), drift.shape)
        noise = vectors @ (jnp.sqrt(jnp.maximum(values, 0.0)) * (vectors.T @ xi))
        return self.moved(state, unravel(drift + noise))


def make_problem(inputs: int, hidden: int, examples: int) -> Any:
    """Return a network of one hidden layer on synthetic data."""
    import flax.linen as nn
    import optax

    class Network(nn.Module):
        @nn.compact
        def __call__(self, batch: Any) -> Any:
            return nn.Dense(CLASSES)(nn.relu(nn.Dense(hidden)(batch)))

    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, inputs)).astype(np.float32)
    y = rng.integers(0, CLASSES, size=examples)
    return ss.problems.from_flax(Network(), jnp.asarray(x), jnp.asarray(y, jnp.int32),
                                 optax.softmax_cross_entropy_with_integer_labels)


def runner(problem: Any, process: Any, lanes: int, steps: int) -> Callable[[], Any]:
    """Return a run of the process that reports the mean loss at the end."""

    def run() -> dict[str, Estimate]:
        ds = ss.simulate(problem, process, num_seeds=lanes, num_steps=steps, progress=False,
                         record={"loss": ss.EnsembleMoments(ss.Problem.loss)}, key=jax.random.key(1))
        end = ds.isel(step=-1)
        return {"loss": Estimate(float(end["loss_mean"]), float(end["loss_mean_stderr"]))}

    return run


def contenders(problem: Any, lanes: int, steps: int, explicit_steps: int) -> list[Contender]:
    """Return the three ways; the explicit one, hopeless on a large network, only if it is given steps."""

    def way(name: str, process: Any, count: int) -> Contender:
        return Contender(name, float(lanes * count), lambda: runner(problem, process, lanes, count))

    rate = float(LEARNING_RATE)
    ways = [
        way("one full gradient", GradientDescent(rate), steps),
        way("drift and exact Gaussian noise", ss.SGD(rate, ss.Gaussian(BATCH)), steps),
    ]
    if explicit_steps:
        ways.append(way("drift and explicit covariance", ExplicitCovariance(rate, BATCH), explicit_steps))
    return ways


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=64),
        parser.add_argument("--steps", type=int, default=20),
    ])
    ss.configure(cpu_devices=1, wide_vectors=True)
    lanes, steps = (8, 2) if parsed.quick else (parsed.lanes, parsed.steps)
    # inputs, hidden, steps, steps of the explicit way
    cases = [(784, 64, steps, 0), (8, 4 if parsed.quick else 16, 20 * steps, 1)]
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    tables = []
    for inputs, hidden, count, explicit_steps in cases:
        examples = 1000
        problem = make_problem(inputs, hidden, examples)
        num_params = inputs * hidden + hidden + hidden * CLASSES + CLASSES
        rows = machine.compare(contenders(problem, lanes, count, explicit_steps), parsed.repeats, parsed.only)
        title = (f"Exact noise on a {inputs}-{hidden}-{CLASSES} network ({num_params} params, N={examples}), "
                 f"{lanes} lanes, float32; 'first is' is the cost in full gradients")
        machine.print_table(title, "lane-steps", rows)
        settings = {"inputs": inputs, "hidden": hidden, "params": num_params, "examples": examples, "lanes": lanes}
        tables.append(machine.as_json(title, "lane-steps", rows, settings))
    machine.write(parsed.out, "gaussian_noise", about, tables)


if __name__ == "__main__":
    main()
