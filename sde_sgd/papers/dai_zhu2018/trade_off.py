"""The price of a larger eta / B: it leaves a minimum sooner and ends with more excess loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sde_sgd.analysis import Claim, Relation, escape_time
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.dai_zhu2018 import escape_law
from sde_sgd.papers.dai_zhu2018.measured import Measured, times
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import NormalLaw, finite_sum, potential
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate

_DIM, _RATE, _BATCH = 10, 0.1, 4
_STRENGTH = 2.0  # T = eta s^2 / (2 B) = 0.05
_BURN_IN, _NUM_STEPS = 200, 1000


def _bowl(params: Any) -> Any:
    return 0.5 * (params**2).sum()


def _risk(problem: Any, params: Any) -> Any:
    return _bowl(params)


def _excess_loss(batch_size: int, size: Size, key: Any) -> Measured:
    bowl = potential(_bowl, start=jnp.zeros(_DIM, jnp.float32), minimum=np.zeros(_DIM))
    problem = finite_sum(bowl, NormalLaw(), strength=_STRENGTH, num_examples=1024)
    found = simulate(problem, SGD(_RATE, WithReplacement(batch_size)), num_seeds=size.num_fluctuating,
                     num_steps=_NUM_STEPS, record={"risk": Moments(_risk, every=5, burn_in=_BURN_IN)}, key=key,
                     progress=False)
    return Measured(found.risk_mean.item(), found.risk_mean_stderr.item())


def excess_loss(size: Size, key: Any) -> Findings:
    """Measure the excess loss in a quadratic basin, and both sides of the trade-off."""
    import xarray

    temperature = _RATE * _STRENGTH**2 / (2 * _BATCH)
    found = _excess_loss(_BATCH, size, jax.random.fold_in(key, 0))
    noisier = _excess_loss(_BATCH // 2, size, jax.random.fold_in(key, 1))
    where = f"d = {_DIM}, eta = {_RATE:g}, T = {temperature:g}"
    more = noisier.value / found.value
    spread = more * float(np.hypot(noisier.stderr / noisier.value, found.stderr / found.value))
    return Findings([
        Claim(f"excess loss d T / (2 - eta h); {where}", "reconstruction, discrete", _DIM * temperature / (2 - _RATE),
              *found),
        Claim(f"excess loss d T / 2; {where}", "reconstruction, continuous", _DIM * temperature / 2, *found,
              note=f"the finite learning rate adds eta h / (2 - eta h) = {100 * _RATE / (2 - _RATE):.1f} %."),
        _leaves_sooner(size, jax.random.fold_in(key, 2)),
        Claim("eta / B doubled: more excess loss within a basin", "abstract", 1.0, more, spread,
              relation=Relation.ABOVE),
    ], xarray.Dataset())


def _leaves_sooner(size: Size, key: Any) -> Claim:
    """Compare escape times at eta / B and twice that."""
    found = times([escape_time(escape_law.exits(escape_law.LEARNING_RATE, batch, size, jax.random.fold_in(key, batch)))
                   for batch in (4, 2)])
    return Claim("eta / B doubled: leaves a minimum sooner, ratio of times", "abstract", 1.0, *found.ratio(1, 0),
                 relation=Relation.BELOW)
