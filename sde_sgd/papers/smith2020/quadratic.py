"""The noisy quadratic model: the same regimes in closed form, without a network."""

from typing import Any

import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.smith2020.size import Size
from sde_sgd.papers.smith2020.training import slope

_SOURCE = "Zhang et al. (2019)"
_BATCHES = tuple(4**power for power in range(2, 9))  # 16 to 65,536
_MOMENTA = (0.9, 0.95, 0.97, 0.99)
_TARGET = 0.01


def regimes(size: Size, key: Any) -> Findings:
    """Find the least steps to a loss at every batch size, exactly: SGD, and heavy ball with the best momentum."""
    import xarray

    model = theory.noisy_quadratic(1 / np.arange(1, 10_001), num_bins=200)
    plain = np.array([_least(model, batch, 0.0) for batch in _BATCHES])
    ball = np.array([min(_least(model, batch, momentum) for momentum in _MOMENTA) for batch in _BATCHES])
    logs = np.log2(_BATCHES)
    gain = plain[:, 0] / ball[:, 0]
    cap = theory.max_stable_learning_rate([[float(model.curvatures.max())]])
    claims = [
        Claim("exponent of the steps in B, SGD, B = 16 to 256", _SOURCE, -1.0, slope(logs[:3], np.log2(plain[:3, 0])),
              tolerance=0.1),
        Claim("exponent of the best learning rate in B, SGD, B = 16 to 256", _SOURCE, 1.0,
              slope(logs[:3], np.log2(plain[:3, 1])), tolerance=0.1),
        Claim("exponent of the steps in B, SGD, B = 4096 to 65536: a floor", _SOURCE, 0.0,
              slope(logs[-3:], np.log2(plain[-3:, 0])), tolerance=0.1),
        Claim("best learning rate of SGD at the largest batch, over 2 / h_max: below the edge of stability", _SOURCE,
              1.0, plain[-1, 1] / cap, relation=Relation.BELOW),
        Claim("steps of SGD over those of heavy ball, B = 16: none gained, to 2 %", _SOURCE, 1.0, gain[0],
              tolerance=0.02),
        Claim("the same, B = 16384: gained more than tenfold", _SOURCE, 10.0, gain[5], relation=Relation.ABOVE),
    ]
    data = xarray.Dataset({"steps": (("process", "batch_size"), np.stack([plain[:, 0], ball[:, 0]])),
                           "learning_rate": (("process", "batch_size"), np.stack([plain[:, 1], ball[:, 1]]))},
                          {"process": ["SGD", "heavy ball"], "batch_size": list(_BATCHES)})
    return Findings(claims, data)


def _least(model: theory.NoisyQuadratic, batch: int, momentum: float) -> tuple[float, float]:
    """Return the least steps over effective learning rates, and where."""
    cap = 2 * (1 + momentum) / (1 - momentum) / float(model.curvatures.max())
    rates = np.geomspace(0.03, 0.999 * cap, 240 if not momentum else 100)
    steps = theory.noisy_quadratic_steps(model, _TARGET, rates * (1 - momentum), batch,
                                         theory.QuadraticOptimizer(momentum))
    best = int(np.argmin(steps))
    return float(steps[best]), float(rates[best])
