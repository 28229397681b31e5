"""Runs with a small and with a large batch from the same starts, to the same training loss."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, PyTree

from sde_sgd.noise import EpochShuffle
from sde_sgd.papers.keskar2016.measures import measured, stacked
from sde_sgd.papers.keskar2016.networks import Setting
from sde_sgd.papers.keskar2016.training import Runs, starts, to_target
from sde_sgd.processes import SGD, from_optax
from sde_sgd.processes.base import AbstractProcess

if TYPE_CHECKING:
    import xarray

SMALL, LARGE = 4, 50  # 0.8 % and 10 % of the examples
RATE = 0.0125  # of SGD: at it every run of either batch size reaches the target
_ADAM_RATE = 1e-3  # ADAM's default
LOOKS = {"SGD": 50, "ADAM": 20}  # steps between two looks at the loss
_MAX_STEPS = 20_000


class Pair(NamedTuple):
    """Runs with a small and with a large batch from the same starts, and what was measured of them."""

    setting: Setting
    small: Runs
    large: Runs
    measures: "xarray.Dataset"


def process(optimiser: str, batch_size: int) -> AbstractProcess:
    """Return SGD or ADAM at the one learning rate that it has for all batch sizes."""
    noise = EpochShuffle(batch_size)
    return SGD(RATE, noise) if optimiser == "SGD" else from_optax(optax.adam, noise, learning_rate=_ADAM_RATE)


def trained(case: Setting, optimiser: str, batch_size: int, begin: PyTree, key: Array) -> Runs:
    """Return the runs of one batch size."""
    return to_target(case.train, process(optimiser, batch_size), begin, look_every=LOOKS[optimiser],
                     max_steps=_MAX_STEPS, key=key)


def pair(case: Setting, optimiser: str, batches: tuple[int, int], num_seeds: int, key: Array) -> Pair:
    """Train with two batch sizes and measure."""
    start_key, run_key = jax.random.split(key)
    begin = starts(case.train, num_seeds, start_key)
    small, large = (trained(case, optimiser, batch, begin, run_key) for batch in batches)
    rows = [measured(case, run.params, begin, run.reached) for run in (small, large)]
    return Pair(case, small, large, stacked(rows, "batch_size", batches))


def first(runs: Runs, number: int) -> PyTree:
    """Return the params of the first seeds."""
    return jax.tree.map(lambda leaf: leaf[:number], runs.params)


def member(params: PyTree, seed: int) -> PyTree:
    """Return the params of one seed."""
    return jax.tree.map(lambda leaf: leaf[seed], params)


def both_reached(found: Pair, number: int) -> np.ndarray:
    """Return which of the first seeds reached the target with both batch sizes."""
    return (found.small.reached & found.large.reached)[:number]
