"""Large batches and sharp minima: the claims of an abstract, reconstructed for isotropic noise, and two later papers.

The theorems of the paper were not available. What its abstract claims is held against formulas derived anew, for
gradient noise of covariance s^2 I / B at each step, T = eta s^2 / (2 B); no claim cites a theorem.
"""

from sde_sgd.papers.dai_zhu2018 import escape_law, figures, logistic, mori2022, preference, trade_off, xie2021
from sde_sgd.papers.dai_zhu2018.size import Size
from sde_sgd.papers.paper import Paper

PAPER = Paper(
    name="dai-zhu2018",
    title="Dai, Zhu (2018), Towards theoretical understanding of large batch training in SGD; arXiv:1812.00542.\n"
    "Claims of its abstract and a reconstruction for isotropic noise: its theorems were not available.",
    experiments={
        "escape times": escape_law.escape_times,
        "iterations": escape_law.iterations_and_time,
        "shares": preference.shares,
        "convergence": preference.convergence,
        "excess loss": trade_off.excess_loss,
        "white noise": xie2021.white_noise,
        "hessian noise": xie2021.hessian_noise,
        "logistic regression": logistic.escape_slopes,
        "power law": mori2022.power_law,
    },
    figure=figures.figure,
    full=Size(num_exits=16_000, num_particles=2048, num_replicas=48, num_power_exits=2000, num_lanes=2048,
              horizon=1000.0, num_relaxing=2**17, num_fluctuating=1024),
    quick=Size(num_exits=1000, num_particles=128, num_replicas=16, num_power_exits=100, num_lanes=512, horizon=100.0,
               num_relaxing=2**12, num_fluctuating=128),
)
