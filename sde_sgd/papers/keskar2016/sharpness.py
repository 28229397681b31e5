"""Keskar's sharpness as the paper's tables have it, converged and as published, and the share of steep directions."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd.analysis import Claim, Relation
from sde_sgd.curvature import keskar_sharpness, keskar_sharpness_as_published, spectral_density
from sde_sgd.papers.keskar2016.batches import Pair, first, member
from sde_sgd.papers.keskar2016.measures import ASCENT, each
from sde_sgd.papers.keskar2016.paired import difference, ratio
from sde_sgd.problems import Problem

if TYPE_CHECKING:
    import xarray

EPSILONS = (1e-3, 5e-4)
SPACES = {"full": None, "subspace": 100}  # the dimension of the random subspace
_STEEP = 0.01  # of the largest eigenvalue
_STEEP_SHARE = 0.05  # of the directions that are steep, in the paper
# Tables 3 and 4: LB over SB, in the order of the epsilons.
_PUBLISHED = {"F1": {"full": (166.8, 70.3), "subspace": (83.8, 183.4)},
              "C1": {"full": (24.8, 32.1), "subspace": (63.0, 41.5)}}
_TABLES = {"full": "Table 3", "subspace": "Table 4"}


def table(found: Pair, num_seeds: int, key: Array) -> "xarray.Dataset":
    """Return ``converged`` and ``published`` sharpness of the first seeds, NaN where the target was not reached."""
    import xarray

    runs = (found.small, found.large)
    values = np.full((2, len(runs), num_seeds, len(SPACES), len(EPSILONS)), np.nan)
    for batch, run in enumerate(runs):
        for seed in np.flatnonzero(run.reached[:num_seeds]):
            params = member(run.params, int(seed))
            for space, dim in enumerate(SPACES.values()):
                options = {} if dim is None else {"subspace_dim": dim, "key": jax.random.fold_in(key, int(seed))}
                for place, epsilon in enumerate(EPSILONS):
                    for method, function in enumerate((keskar_sharpness, keskar_sharpness_as_published)):
                        here = function(found.setting.train, params, epsilon, **options)
                        values[method, batch, seed, space, place] = here.value
    dims = ("batch_size", "seed", "space", "epsilon")
    coords = {"seed": np.arange(num_seeds), "space": list(SPACES), "epsilon": list(EPSILONS)}
    return xarray.Dataset({"converged": (dims, values[0]), "published": (dims, values[1])}, coords)


def claims(name: str, values: "xarray.Dataset", measures: "xarray.Dataset") -> list[Claim]:
    """Return the claims of tables 3 and 4, and two about how the maximum is found."""
    found, label = [], f"{name}, SGD"
    small, large = (values.isel(batch_size=place) for place in (0, 1))
    for space, source in _TABLES.items():
        for place, epsilon in enumerate(EPSILONS):
            where = {"space": space, "epsilon": epsilon}
            of_paper = _PUBLISHED[name][space][place]
            found.append(ratio(f"{label}, L-BFGS-B: sharpness LB / SB, {space}, {epsilon:g} (paper: {of_paper:.0f})",
                               source, large.converged.sel(where), small.converged.sel(where)))
    where = {"space": "full", "epsilon": EPSILONS[0]}
    found.append(ratio(f"{label}: the same by ten unscaled iterations, full, 0.001", "Table 3, as published",
                       large.published.sel(where), small.published.sel(where)))
    one = values.sel(where)
    found.append(ratio(f"{label}: ten unscaled iterations over the maximum", "Metric 2.1, as published",
                       one.published.values.ravel(), one.converged.values.ravel(), relation=Relation.BELOW,
                       note="they stop short of the maximum: what is published is a lower bound."))
    steps = measures.sharpness.isel(seed=slice(values.sizes["seed"]))
    found.append(ratio(f"{label}: control, {ASCENT} steps from corner to corner over L-BFGS-B, to 5 %", "two methods",
                       steps.values.ravel(), one.converged.values.ravel(), relation=Relation.WITHIN, tolerance=0.05))
    return found


def steep_shares(found: Pair, num_seeds: int) -> "xarray.DataArray":
    """Return the share of directions that are steep, of the first seeds, NaN where the target was not reached."""
    import xarray

    rows = [np.where(run.reached[:num_seeds], each(_steep_share, found.setting.train, first(run, num_seeds)), np.nan)
            for run in (found.small, found.large)]
    return xarray.DataArray(np.stack(rows), {"seed": np.arange(num_seeds)}, ("batch_size", "seed"))


def spectrum_claims(name: str, shares: "xarray.DataArray") -> list[Claim]:
    """Return the claims that few directions are steep."""
    return [difference(f"{name}, SGD, {label}: share of directions above {100 * _STEEP:g} % of the largest curvature",
                       "Sec. 2.2.2", shares.isel(batch_size=place).values, np.zeros(shares.sizes["seed"]),
                       theory=_STEEP_SHARE, relation=Relation.BELOW)
            for place, label in enumerate(("SB", "LB"))]


def _steep_share(problem: Problem, params: PyTree) -> Any:
    spectrum = spectral_density(problem, params, key=jax.random.key(0), num_probes=3, num_steps=24)
    largest = spectrum.nodes.max()
    return spectrum.mean(lambda nodes: nodes > _STEEP * largest).value
