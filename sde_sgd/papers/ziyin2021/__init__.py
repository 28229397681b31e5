"""Strength of minibatch noise in SGD: every claim as a record, figures 2 to 4 by our own simulations.

Ensembles measure a second moment where the fourth exists; beyond, single steps measure the recursion of the second
(`recursion`). Equation numbers are those of the ICLR version.
"""

from typing import Any

from sde_sgd.analysis import Claim
from sde_sgd.papers.paper import Findings, Paper
from sde_sgd.papers.ziyin2021 import (
    figures,
    high_dimension,
    label_noise,
    minima,
    regularisation,
    scaling,
    tails,
    thresholds,
)
from sde_sgd.papers.ziyin2021.size import Size


def not_reproduced(size: Size, key: Any) -> Findings:
    """List what the paper claims and this reproduction does not show: figure 1 and figures without known settings."""
    import xarray

    missing = (
        ("two-layer tanh network on MNIST, rate 0.5: the variance of the loss grows with the width", "Fig. 1 left"),
        ("the same with Adam", "Fig. 1 middle"),
        ("logistic regression on MNIST, rate 1.5, S = 32: best weight decay", "Fig. 1 right"),
    )
    claims = [Claim(statement, source, 0.0, None, note="batch size, initialisation or metric are not given.")
              for statement, source in missing]
    return Findings(claims, xarray.Dataset())


PAPER = Paper(
    name="ziyin2021",
    title="Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, ICLR; arXiv:2102.05375",
    experiments={
        "finite data": minima.finite_data,
        "label noise": label_noise.general_theory,
        "input noise": regularisation.input_noise,
        "weight decay": regularisation.weight_decay,
        "stability": thresholds.stability,
        "minima": minima.network_minimum,
        "high dimension": high_dimension.high_dimension,
        "second-order methods": scaling.second_order_methods,
        "scaling rules": scaling.scaling_rules,
        "figure 2": tails.figure_2,
        "figure 3 left": label_noise.figure_3_left,
        "figure 3 right": regularisation.figure_3_right,
        "figure 4a": label_noise.figure_4a,
        "figures 4b and 4c": label_noise.figures_4bc,
        "not reproduced": not_reproduced,
    },
    figure=figures.figure,
    full=Size(num_settings=6, num_lanes=4096, num_steps=2000, burn_in=400, thinning=4, num_draws=2**22, num_tail=2**20,
              num_seeds=128, num_data_steps=4000, num_data_sets=16),
    quick=Size(num_settings=3, num_lanes=2048, num_steps=300, burn_in=160, thinning=4, num_draws=2**19, num_tail=2**17,
               num_seeds=128, num_data_steps=1000, num_data_sets=4),
)
