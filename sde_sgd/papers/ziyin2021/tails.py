"""Power-law tails in one dimension (Sec. 6.6 and figure 2)."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from sde_sgd import theory
from sde_sgd.analysis import Claim, Measured, Relation, jackknife, tail_index
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData
from sde_sgd.papers.ziyin2021.recursion import BLOCKS, curvature_draws
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.processes import SGD
from sde_sgd.run import simulate
from sde_sgd.theory.roots import bracketed_root

if TYPE_CHECKING:
    import xarray

FIGURE_2_BATCHES = (1, 2, 3, 4, 5, 6, 8, 10)
_OTHER_RATES = ((0.5, 1), (0.5, 2), (0.5, 4), (1.5, 4), (1.0, 20))  # with batch sizes; beyond figure 2
_BULK_BATCHES = (4, 10)  # where the whole law is compared
_LARGEST_IN_SAMPLES = 4.0  # exponent; lighter tails begin beyond the largest of a million samples
_BURN_IN = 50  # steps from the minimum; the distance forgets half of itself in a step or two


def _distance(problem: Any, params: Any) -> Any:
    return params[0]


def _samples(rate: float, batch: int, size: Size, key: Any) -> "xarray.DataArray":
    """Return independent samples of the stationary law at a = 1: one of every lane, over ``seed``."""
    data = FreshData((1.0,), label_noise=1.0)
    found = simulate(data.problem(), SGD(rate, data.batch(batch)), num_seeds=size.num_tail, num_steps=_BURN_IN,
                     record={"distance": _distance}, key=key, progress=False)
    return found.distance.isel(step=-1)


def _index(samples: "xarray.DataArray") -> Measured:
    """Return the tail index of samples, its interval of 95 % as a standard error of its inverse."""
    found = tail_index(samples)
    value, lower = found.tail_index.item(), found.tail_index_lower.item()
    return Measured(value, value**2 * (1 / lower - 1 / value) / 1.96)


def _diverging_moment(rate: float, batch: int, size: Size, key: Any) -> Measured:
    """Return the order of the smallest diverging moment, the root of E|1 - rate h|^beta = 1 over drawn curvatures h."""
    factors = np.abs(1 - rate * curvature_draws(batch, size, key))
    orders = theory.tail_exponent(rate, batch) * np.linspace(0.7, 1.3, 25)
    moments = np.stack([np.mean(factors**order, axis=1) for order in orders], axis=1)

    def root(means: Float[np.ndarray, " orders"]) -> float:
        return bracketed_root(lambda order: float(np.interp(order, orders, np.log(means))), orders[0], orders[-1])

    return Measured(*jackknife(root, moments))


def figure_2(size: Size, key: Any) -> Findings:
    """Measure the tail exponent against the batch size at a * rate = 1 (Fig. 2), and the law of the bulk.

    The paper's exponent is the order of the smallest diverging moment. It is measured from single steps, which tell
    how every moment grows, and for itself from the largest samples of the stationary law.
    """
    import xarray

    claims, rows = [], []
    for place, batch in enumerate(FIGURE_2_BATCHES):
        own = jax.random.fold_in(key, place)
        moment = _diverging_moment(1.0, batch, size, jax.random.fold_in(own, 1))
        kesten, index = theory.tail_exponent(1.0, batch), Measured(np.nan, np.nan)
        if kesten < _LARGEST_IN_SAMPLES:
            index = _index(_samples(1.0, batch, size, own))
        rows.append((*moment, *index, kesten))
        claims += _exponent_claims(batch, moment, index)
        if batch in _BULK_BATCHES:
            claims += _bulk_claims(batch, _samples(1.0, batch, size, own))
    claims += _other_rates(size, jax.random.fold_in(key, len(FIGURE_2_BATCHES)))
    claims.append(_exact_noise(size, jax.random.fold_in(key, len(FIGURE_2_BATCHES) + 1)))
    names = ("measured", "measured_stderr", "tail_index", "tail_index_stderr", "kesten")
    return Findings(claims, xarray.Dataset(
        {name: ("batch_size", list(column)) for name, column in zip(names, zip(*rows, strict=True), strict=True)},
        {"batch_size": list(FIGURE_2_BATCHES)}))


def _exponent_claims(batch: int, moment: Measured, index: Measured) -> list[Claim]:
    kesten, where = theory.tail_exponent(1.0, batch), f"a * rate = 1, S = {batch}"
    note = (f"{batch} of the paper, which matches the variance, against {moment.value:.3f} of the smallest diverging "
            f"moment at S = {batch}.")
    from_samples = Claim(f"tail exponent from the largest samples; {where}", "Kesten's equation", kesten, *index,
                         resolution=0.1 * kesten)
    return [
        Claim(f"tail exponent 2S/(a rate) - S; {where}", "Sec. 6.6, Fig. 2", batch, *moment,
              note="" if batch == 2 else note),
        Claim(f"tail exponent from the smallest diverging moment; {where}", "Kesten's equation", kesten, *moment,
              resolution=0.02 * kesten),
        *([from_samples] if kesten < _LARGEST_IN_SAMPLES else []),
        Claim(f"heavier than in continuous time, 2S/(a rate) + 1; {where}", "Sec. 6.6", 2 * batch + 1, *moment,
              relation=Relation.BELOW),
    ]


def _other_rates(size: Size, key: Any) -> list[Claim]:
    """Measure the exponent at other learning rates, from single steps and where it is low from samples too."""
    claims = []
    for place, (rate, batch) in enumerate(_OTHER_RATES):
        own = jax.random.fold_in(key, place)
        kesten, where = theory.tail_exponent(rate, batch), f"a * rate = {rate:g}, S = {batch}"
        claims.append(Claim(f"tail exponent from the smallest diverging moment; {where}", "Kesten's equation", kesten,
                            *_diverging_moment(rate, batch, size, own), resolution=0.03 * kesten))
        if kesten < _LARGEST_IN_SAMPLES:
            index = _index(_samples(rate, batch, size, jax.random.fold_in(own, 1)))
            claims.append(Claim(f"tail exponent from the largest samples; {where}", "Kesten's equation", kesten, *index,
                                resolution=0.1 * kesten))
    return claims


def _bulk_claims(batch: int, samples: "xarray.DataArray") -> list[Claim]:
    """Compare the whole law with the Student form of the paper's exponent and with that of continuous time."""
    from scipy import stats

    claims = []
    for degrees, source, bound, relation in (
        (batch, "form of Sec. 6.6", 0.012, Relation.BELOW),
        (2 * batch + 1, "continuous time", 0.05, Relation.ABOVE),
    ):
        probabilities = stats.t.cdf(samples.values.reshape(BLOCKS, -1) * np.sqrt(degrees), degrees)
        edges = np.linspace(0, 1, 201)
        shares = np.stack([np.searchsorted(np.sort(row), edges) / row.size for row in probabilities])
        found = jackknife(lambda share, edges=edges: float(np.max(np.abs(share - edges))), shares)
        claims.append(Claim(f"Kolmogorov distance of the law from it; a * rate = 1, S = {batch}", source, bound, *found,
                            relation=relation))
    return claims


def _exact_noise(size: Size, key: Any) -> Claim:
    """Hold the exponent against that of the SDE with the exact noise, at a small learning rate."""
    rate, batch = 0.2, 1
    found, sde = _diverging_moment(rate, batch, size, key), theory.sde_tail_exponent(rate, batch)
    return Claim("heavier than that of the SDE with the exact noise, S/(a rate) + 1; a * rate = 0.2, S = 1", "Sec. 6.6",
                 sde, *found, relation=Relation.BELOW,
                 note=f"heavier than that of the SDE with decoupled noise it is, but against the exact noise's {sde:g} "
                 f"the smallest diverging moment is {found.value:.2f}, by Kesten's equation "
                 f"{theory.tail_exponent(rate, batch):.2f} (so high a moment comes out too small in a finite sample).")
