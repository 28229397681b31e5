"""Grids of training runs, and the claims that are made of them."""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_sgd.analysis import Claim, Measured, Saturation, fit_saturation, grid_minimum, jackknife
from sde_sgd.noise import AbstractNoise
from sde_sgd.papers.smith2020.data import NUM_CLASSES
from sde_sgd.processes import from_optax
from sde_sgd.processes.from_optax import Optax

if TYPE_CHECKING:
    import xarray

MOMENTUM = 0.9
_STAGES = 10  # in which the learning rate falls during the second half


def annealed_sgd(learning_rate: Any, num_steps: Any, momentum: Any, weight_decay: Any, octaves: Any) -> Any:
    """Return an optax optimiser whose learning rate is constant for the first half and then falls in ten equal stages.

    By so many ``octaves``, factors of two, in all: ten are the paper's schedule, `halving_sgd`; none is a constant one.
    """
    import optax

    def schedule(step: Any) -> Array:
        place = (jnp.asarray(step, jnp.float32) + 0.5) / num_steps
        stage = jnp.clip(jnp.floor(2 * _STAGES * place) - (_STAGES - 1), 0, _STAGES)
        return learning_rate * jnp.exp2(-octaves * stage / _STAGES)

    return optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum),
                       optax.scale_by_learning_rate(schedule))


def annealed(
    effective_rate: float, noise: AbstractNoise, num_steps: int, *, momentum: float = 0.0, weight_decay: float = 0.0,
    octaves: float = 10.0,
) -> Optax:
    """Return SGD on the paper's schedule; the learning rate is the effective one, eta / (1 - momentum)."""
    return from_optax(annealed_sgd, noise, learning_rate=effective_rate * (1 - momentum), num_steps=float(num_steps),
                      momentum=float(momentum), weight_decay=float(weight_decay), octaves=float(octaves))


def grid(low: int, high: int, octaves: float) -> tuple[float, ...]:
    """Return learning rates 2^low to 2^high, so many octaves apart."""
    return tuple((2.0 ** np.arange(low, high + octaves / 2, octaves)).tolist())


@contextmanager
def divergence_expected() -> Iterator[None]:
    """Say nothing of lanes that diverge: a grid that holds the best learning rate goes beyond the stable ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* lanes diverged")
        yield


def end(runs: "xarray.Dataset", *dims: str) -> "xarray.Dataset":
    """Return the last record, with ``log_loss`` and ``error``, smaller the better; single dims go unless named.

    A run that diverged, or whose loss is above that of guessing, counts as a guess.
    """
    along = next(name for name in ("step", "epoch", "time") if name in runs.dims)
    last = runs.isel({along: -1}, drop=True)
    last = last.drop_vars([name for name in last.coords if name not in last.dims])
    last = last[["loss", "accuracy", "test_loss"]].astype(np.float64)
    last["log_loss"] = np.log(last.loss.fillna(np.inf).clip(max=np.log(NUM_CLASSES)))
    last["error"] = (1 - last.accuracy).fillna(1 - 1 / NUM_CLASSES)
    return last.squeeze([name for name in ("process", "batch_size") if last.sizes.get(name) == 1 and name not in dims],
                        drop=True)


def curves(values: "xarray.DataArray", *dims: str) -> Float[np.ndarray, "seed ..."]:
    """Return values as an array, the seeds first and the given dims after them."""
    return values.transpose("seed", *dims).values


def best_rates(rates: Sequence[float], means: np.ndarray, num_points: int = 3) -> Float[np.ndarray, "..."]:
    """Return log2 of the best learning rate of mean curves, the rates along the last axis; NaN at the edge of the grid.

    So that a claim of it is inconclusive: the best may lie outside.
    """
    found = grid_minimum(np.log2(rates), means, num_points)
    return np.where(found.at_edge, np.nan, found.position)


def saturation(batches: Sequence[int], logs: np.ndarray, *, rising: bool) -> Saturation:
    """Return `fit_saturation` of 2^logs, NaN throughout where one of them is not known."""
    if not np.all(np.isfinite(logs)):
        return Saturation(np.nan, np.nan, np.nan)
    return fit_saturation(batches, 2**logs, rising=rising)


def slope(x: Any, y: Any) -> float:
    """Return the slope of a straight line by least squares."""
    centred = np.asarray(x, np.float64) - np.mean(x)
    return float(centred @ np.asarray(y, np.float64) / (centred @ centred))


def measured(statistic: Callable[..., Any], *samples: np.ndarray) -> Callable[..., Claim]:
    """Return a function that makes a claim of a statistic of means over seeds, its error by the jackknife."""
    found = jackknife(statistic, *samples)
    return of(found, len(samples[0]))


def of(found: Measured, num_seeds: int) -> Callable[..., Claim]:
    """Return a function that makes a claim of a number measured with so many seeds."""
    return functools.partial(Claim, measured=found.value, standard_error=found.stderr, degrees_of_freedom=num_seeds - 1)


def pair(difference: "xarray.DataArray") -> Callable[..., Claim]:
    """Return a function that makes a claim of the mean over ``seed`` of paired differences."""
    return measured(lambda mean: mean, difference.values)


def at_edge(where: str, flags: "dict[str, xarray.DataArray]") -> str:
    """Return a note that names the cells whose best learning rate lies at the edge of the grid."""
    found = [f"{name}, B = {batch}" for name, edge in flags.items() for batch in edge.batch_size.values[edge.values]]
    return f"the best learning rate is at the edge of the grid of {where}: {'; '.join(found)}." if found else ""
