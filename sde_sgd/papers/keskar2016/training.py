"""Training until the loss of the whole training set is down to a target, many seeds at once."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from sde_sgd.papers.keskar2016.measures import each
from sde_sgd.problems import Problem, loss_below
from sde_sgd.processes.base import AbstractProcess
from sde_sgd.run import first_passage

TARGET = 0.02  # training loss, cross entropy, at which runs are compared
_NEVER = -1.0  # no loss is below


class Runs(NamedTuple):
    """Where runs of several seeds ended: params with a leading axis, whether the target was reached, steps made."""

    params: PyTree
    reached: Bool[np.ndarray, " seeds"]
    steps: Int[np.ndarray, " seeds"]


def starts(problem: Problem, num_seeds: int, key: Array) -> PyTree:
    """Return initial params of every seed, along a leading axis."""
    return jax.jit(jax.vmap(problem.init))(jax.random.split(key, num_seeds))


def to_target(
    problem: Problem, process: AbstractProcess, params: PyTree, *, look_every: int, max_steps: int, key: Array,
    target: float = TARGET, region: Any = None,
) -> Runs:
    """Train every seed until its training loss, seen every ``look_every`` steps, is at most ``target``.

    Seed s of all calls with the same key sees the same random numbers. A seed whose start is there already stays.
    """
    region = loss_below(target) if region is None else region
    done = each(_inside, (problem, region), params) > 0
    num_seeds = len(done)
    if done.all():
        return Runs(params, done, np.zeros(num_seeds, np.int64))
    # A run that waits for nothing starts from another's start and is not used.
    begin = jax.tree.map(lambda leaf: jnp.where(_along(done, leaf), leaf[int(np.argmin(done))], leaf), params)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="none of .* runs entered the region")
        ended = first_passage(problem, process, region=region, num_lanes=num_seeds,
                              max_steps=-(-max_steps // look_every) * look_every, look_every=look_every, params=begin,
                              record={"flat": _flat}, key=key, progress=False)
    new = _unflat(problem, ended.exit_flat.values)
    found = jax.tree.map(lambda one, other: jnp.where(_along(done, one), one, other), params, new)
    return Runs(found, done | ended.event_observed.values, np.where(done, 0, ended.steps.values))


def for_steps(problem: Problem, process: AbstractProcess, params: PyTree, num_steps: int, key: Array) -> PyTree:
    """Return the params of every seed after so many steps."""
    return to_target(problem, process, params, look_every=num_steps, max_steps=num_steps, key=key, target=_NEVER).params


def _inside(task: tuple[Problem, Any], params: PyTree) -> Array:
    problem, region = task
    return region(problem, params)


def _flat(problem: Problem, params: PyTree) -> Array:
    return ravel_pytree(params)[0]


def _unflat(problem: Problem, rows: Float[np.ndarray, "seeds d"]) -> PyTree:
    _, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    return jax.vmap(unravel)(jnp.asarray(rows))


def _along(chosen: np.ndarray, leaf: Array) -> np.ndarray:
    """Return truth values of the seeds in the shape of a leaf with a leading axis."""
    return chosen.reshape(-1, *(1,) * (leaf.ndim - 1))
