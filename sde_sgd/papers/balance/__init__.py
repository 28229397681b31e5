"""The law of balance: SGD balances two layers of one number each, step by step, and the product then has a known law.

The loss (u w x - y)^2 knows the product v = u w alone. Time is t = learning rate x steps, temperature T = learning rate
over batch size.
"""

from sde_sgd.papers.balance import experiments, figures
from sde_sgd.papers.paper import Paper

PAPER = Paper(
    name="balance",
    title="Ziyin, Li, Ueda (2023), Law of balance and stationary distribution of SGD; arXiv:2308.06671",
    experiments={"contraction": experiments.contraction, "Gamma law": experiments.gamma_law,
                 "general law": experiments.general_law, "normal features": experiments.normal_features},
    figure=figures.figure,
    full=experiments.Size(num_lanes=4096, num_steps=1000, burn_in=1000, substeps=32),
    quick=experiments.Size(num_lanes=2048, num_steps=300, burn_in=400, substeps=16),
)
