"""Figures 6 and 2: sharpness as the training loss falls, and test accuracy on the way."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array

from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.keskar2016.batches import LARGE, SMALL, process
from sde_sgd.papers.keskar2016.measures import measured, stacked
from sde_sgd.papers.keskar2016.networks import LABEL_NOISE, NETWORKS, Setting, digit_images, setting
from sde_sgd.papers.keskar2016.paired import difference, ratio
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.keskar2016.training import starts, to_target
from sde_sgd.papers.paper import Findings

if TYPE_CHECKING:
    import xarray

_LEVELS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)  # of the training loss
_LOOK, _MAX_STEPS = 25, 20_000
_NO_FALL = 1.0  # points of accuracy lost since the best, that do not matter


def course(size: Size, key: Any) -> Findings:
    """Stop small and large batches at the same levels of the loss; large ones also on clean labels."""
    noisy, clean = (setting(NETWORKS["F1"], digit_images(share)) for share in (LABEL_NOISE, 0.0))
    start_key, run_key = jax.random.split(key)
    cases = {"SB": (noisy, SMALL), "LB": (noisy, LARGE), "LB, clean labels": (clean, LARGE)}
    rows = [_levels(case, batch, size.num_seeds, start_key, run_key) for case, batch in cases.values()]
    data = stacked(rows, "case", list(cases))
    return Findings([*_sharpness(data), *_over_fitting(data)], data)


def _levels(case: Setting, batch_size: int, num_seeds: int, start_key: Array, run_key: Array) -> "xarray.Dataset":
    begin = starts(case.train, num_seeds, start_key)
    now, reached, rows = begin, np.ones(num_seeds, bool), []
    for place, level in enumerate(_LEVELS):
        run = to_target(case.train, process("SGD", batch_size), now, look_every=_LOOK, max_steps=_MAX_STEPS,
                        key=jax.random.fold_in(run_key, place), target=level)
        now, reached = run.params, reached & run.reached
        rows.append(measured(case, now, begin, reached))
    return stacked(rows, "level", _LEVELS)


def _sharpness(data: "xarray.Dataset") -> list[Claim]:
    small, large = (data.sharpness.sel(case=name) for name in ("SB", "LB"))
    early, middle, late, source = _LEVELS[0], _LEVELS[len(_LEVELS) // 2], _LEVELS[-1], "Fig. 6"
    return [
        ratio(f"F1: at loss {early:g} as sharp with LB as with SB, to 25 %", source, large.sel(level=early),
              small.sel(level=early), relation=Relation.WITHIN, tolerance=0.25),
        ratio(f"F1: at loss {late:g} sharper with LB, LB / SB", source, large.sel(level=late), small.sel(level=late)),
        ratio(f"F1, LB: sharpness at loss {late:g} over that at {early:g}", source, large.sel(level=late),
              large.sel(level=early)),
        ratio(f"F1, SB: sharpness at loss {late:g} over that at {middle:g}", source, small.sel(level=late),
              small.sel(level=middle), relation=Relation.BELOW),
    ]


def _over_fitting(data: "xarray.Dataset") -> list[Claim]:
    claims = []
    for name, label in (("LB, clean labels", "clean labels"), ("LB", f"{100 * LABEL_NOISE:g} % of labels drawn anew")):
        accuracy = 100 * data.test_accuracy.sel(case=name)
        best = int(np.argmax(accuracy.mean("seed").values))
        note = "" if name != "LB" else (
            "with label noise the gap between the batch sizes is in part one of labels learnt by heart, which early "
            "stopping would avoid; the paper's labels are clean.")
        claims.append(difference(f"F1, LB, {label}: test accuracy at its best level less that at the end, to "
                                 f"{_NO_FALL:g} point", "Fig. 2", accuracy.isel(level=best), accuracy.isel(level=-1),
                                 relation=Relation.WITHIN, tolerance=_NO_FALL, note=note))
    return claims
