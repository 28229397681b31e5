"""Learning rates at which moments cease to exist (Theorem 2), from the curvatures of single minibatches."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sde_sgd import theory
from sde_sgd.analysis import Claim, Measured, jackknife
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData
from sde_sgd.papers.ziyin2021.recursion import curvature_draws, measured_recursion
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.theory.roots import bracketed_root

MOMENTA = (0.0, 0.5, 0.9)
_MOMENTUM_BATCHES = (1, 2, 5, 10, 20, 50, 100)
_MOMENT_BATCHES = (1, 2, 4, 8, 10, 16, 50, 100)  # of the fourth moment and of almost sure stability
_PLANE_BATCHES = (1, 2, 10, 50)


def stability(size: Size, key: Any) -> Findings:
    """Measure where second and fourth moment and almost every run diverge, with and without momentum."""
    import xarray

    claims = []
    for place, batch in enumerate(sorted({*_MOMENTUM_BATCHES, *_MOMENT_BATCHES})):
        blocks = curvature_draws(batch, size.for_batch(batch), jax.random.fold_in(key, place))
        if batch in _MOMENTUM_BATCHES:
            claims += [_second(blocks, batch, momentum) for momentum in MOMENTA]
        if batch in _MOMENT_BATCHES:
            claims += [_fourth(blocks, batch), _almost_sure(blocks, batch)]
    variances = (1.0, 0.5)
    for batch in _PLANE_BATCHES:
        exact = theory.max_online_learning_rate(np.diag(variances), batch)
        own = jax.random.fold_in(key, 1000 + batch)
        recursion = measured_recursion(FreshData(variances), batch, size.for_batch(batch), own)
        claims.append(Claim(f"learning rate at which the fluctuation diverges; a = 1, 0.5, S = {batch}",
                            "Theorem 2, convergence", exact, *recursion.threshold(0.5 * exact, 1.5 * exact)))
    return Findings(claims, xarray.Dataset())


def _powers(blocks: Float[np.ndarray, "b n"], highest: int) -> Float[np.ndarray, "b k"]:
    return np.stack([np.mean(blocks**power, axis=1) for power in range(1, highest + 1)], axis=1)


def _root(function: Callable[[float, np.ndarray], float], exact: float, means: np.ndarray) -> Measured:
    """Return where a function of the learning rate and of means over draws changes sign near a known value."""
    return jackknife(lambda part: bracketed_root(lambda rate: function(rate, part), 0.7 * exact, 1.3 * exact), means)


def _second(blocks: np.ndarray, batch: int, momentum: float) -> Claim:
    exact = theory.max_online_learning_rate([[1.0]], batch, momentum=momentum)

    def growth(rate: float, means: np.ndarray) -> float:
        # Of (w w, w m, m m) under m' = momentum m + s w, w' = w - rate m'.
        first, second = means
        square = np.array([second, 2 * momentum * first, momentum**2])
        mixed = np.array([first, momentum, 0.0])
        step = np.array([[1.0, 0, 0] - 2 * rate * mixed + rate**2 * square, mixed - rate * square, square])
        return float(np.max(np.abs(np.linalg.eigvals(step)))) - 1 if momentum else float(step[0, 0]) - 1

    found = _root(growth, exact, _powers(blocks, 2))
    extra = f", momentum {momentum:g}" if momentum else ""
    return Claim(f"learning rate at which the fluctuation diverges; a = 1{extra}, S = {batch}",
                 "Theorem 2, convergence", exact, *found)


def _fourth(blocks: np.ndarray, batch: int) -> Claim:
    exact = theory.max_moment_learning_rate(1.0, batch, 4)

    def growth(rate: float, means: np.ndarray) -> float:
        return float(np.array([-4, 6 * rate, -4 * rate**2, rate**3]) @ means)

    return Claim(f"learning rate at which the fourth moment diverges; a = 1, S = {batch}", "E(1 - rate h)^4 = 1", exact,
                 *_root(growth, exact, _powers(blocks, 4)))


def _almost_sure(blocks: np.ndarray, batch: int) -> Claim:
    exact = theory.max_moment_learning_rate(1.0, batch, 0)
    rates = exact * np.linspace(0.9, 1.1, 17)
    logs = np.stack([np.mean(np.log(np.abs(1 - rate * blocks)), axis=1) for rate in rates], axis=1)
    found = jackknife(lambda means: bracketed_root(lambda rate: float(np.interp(rate, rates, means)), rates[0],
                                                   rates[-1]), logs)
    return Claim(f"learning rate at which almost every run diverges; a = 1, S = {batch}", "E ln |1 - rate h| = 0",
                 exact, *found)
