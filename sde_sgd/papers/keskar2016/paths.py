"""Figures 3 and 7: loss and accuracy on a line and on an arc through a small- and a large-batch solution."""

from typing import TYPE_CHECKING

import numpy as np

from sde_sgd.analysis import Claim
from sde_sgd.curvature import curved_path, interpolate, linear_path
from sde_sgd.papers.keskar2016.batches import Pair, both_reached, member
from sde_sgd.papers.keskar2016.measures import stacked
from sde_sgd.papers.keskar2016.paired import ratio
from sde_sgd.problems import Problem, accuracy

if TYPE_CHECKING:
    import xarray

PATHS = {"linear": linear_path, "curved": curved_path}
POSITIONS = np.linspace(-1, 2, 25)  # the small batch's solution at 0, the large one's at 1
_SOURCES = {"linear": "Fig. 3", "curved": "Fig. 7"}
_BEYOND = (0.25, 0.5)


def along_paths(name: str, found: Pair, num_seeds: int) -> "tuple[list[Claim], xarray.Dataset]":
    """Return the claims that the loss rises faster beyond the large batch's solution, and the mean curves."""
    import xarray

    quantities = {"loss": Problem.loss, "accuracy": accuracy}
    problems = {"train": found.setting.train, "test": found.setting.test}
    seeds = np.flatnonzero(both_reached(found, num_seeds))
    claims, rows = [], []
    for kind, path in PATHS.items():
        if not len(seeds):
            curves = np.full((2, 1, 2, len(POSITIONS)), np.nan)
            each = xarray.Dataset({name: (("seed", "data", "position"), values)
                                   for name, values in zip(quantities, curves, strict=True)},
                                  {"data": list(problems), "position": POSITIONS})
        else:
            each = stacked([interpolate(problems, *(member(run.params, int(seed))
                                                          for run in (found.small, found.large)),
                                              POSITIONS, path=path, quantities=quantities)
                                  for seed in seeds], "seed", seeds.tolist())
        claims += _claims(name, kind, each.loss.sel(data="train"))
        rows.append(each.mean("seed").rename({one: f"path_{one}" for one in quantities}))
    return claims, stacked(rows, "path", list(PATHS))


def _claims(name: str, kind: str, loss: "xarray.DataArray") -> list[Claim]:
    claims = []
    for distance in _BEYOND:
        small, large = (loss.sel(position=outside, method="nearest") - loss.sel(position=end)
                        for outside, end in ((-distance, 0), (1 + distance, 1)))
        claims.append(ratio(f"{name}, SGD: rise of the training loss {distance:g} beyond LB / beyond SB, {kind}",
                            _SOURCES[kind], large.values, small.values))
    return claims
