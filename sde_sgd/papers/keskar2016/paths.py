"""Figures 3 and 7: loss and accuracy on a line and on an arc through a small- and a large-batch solution."""

from typing import TYPE_CHECKING

import numpy as np

from sde_sgd.analysis import Claim
from sde_sgd.curvature import curved_path, interpolate, linear_path
from sde_sgd.papers.keskar2016.batches import Pair, both_reached, member
from sde_sgd.papers.keskar2016.paired import ratio
from sde_sgd.problems import Problem, accuracy

if TYPE_CHECKING:
    import xarray

PATHS = {"linear": linear_path, "curved": curved_path}
POSITIONS = np.linspace(-1, 2, 25)  # the small batch's solution at 0, the large one's at 1
_SOURCES = {"linear": "Fig. 3", "curved": "Fig. 7"}
# At 0.5 the arc passes through the difference of the two solutions, at either end: the same network up to a sign.
_BEYOND = {"linear": (0.25, 0.5), "curved": (0.25,)}


def along_paths(found: Pair, num_seeds: int) -> "xarray.Dataset":
    """Return loss and accuracy of every pair on both paths, NaN where the target was not reached."""
    import xarray

    quantities = {"loss": Problem.loss, "accuracy": accuracy}
    problems = {"train": found.setting.train, "test": found.setting.test}
    shape = (len(PATHS), num_seeds, len(problems), len(POSITIONS))
    values = {name: np.full(shape, np.nan) for name in quantities}
    for seed in np.flatnonzero(both_reached(found, num_seeds)):
        ends = [member(run.params, int(seed)) for run in (found.small, found.large)]
        for place, path in enumerate(PATHS.values()):
            curves = interpolate(problems, ends[0], ends[1], POSITIONS, path=path, quantities=quantities)
            for name in quantities:
                values[name][place, seed] = curves[name].values
    dims = ("path", "seed", "data", "position")
    return xarray.Dataset({f"path_{name}": (dims, rows) for name, rows in values.items()},
                          {"path": list(PATHS), "seed": np.arange(num_seeds), "data": list(problems),
                           "position": POSITIONS})


def claims(name: str, paths: "xarray.Dataset") -> list[Claim]:
    """Return the claims that the loss rises faster beyond the large batch's solution."""
    found = []
    for path in PATHS:
        loss = paths.path_loss.sel(path=path, data="train")
        for distance in _BEYOND[path]:
            small, large = (loss.sel(position=outside) - loss.sel(position=end)
                            for outside, end in ((-distance, 0), (1 + distance, 1)))
            found.append(ratio(f"{name}, SGD: rise of the training loss {distance:g} beyond LB / beyond SB, {path}",
                               _SOURCES[path], large.values, small.values))
    return found
