"""Large batches and sharp minima on small data, with the paper's protocol and the objections to it.

Digits of 8 x 8 pixels, 500 to train on, a fifth of their labels drawn anew: without label noise the test accuracy has
no room for a gap. B = 4 stands for 256 of 60,000, and B = 50 is the paper's 10 %. Runs are compared at one training
loss, which the paper does not do and without which sharpness says how far a run has come. Published numbers stand in
the statements; the verdicts are on their signs.
"""

from sde_sgd.papers.keskar2016 import (
    batch_sizes,
    course,
    figures,
    image_file,
    remedies,
    reparametrisation,
    tables,
    warm_start,
)
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.paper import Paper

PAPER = Paper(
    name="keskar2016",
    title="Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), On large-batch training for deep learning, ICLR;\n"
    "arXiv:1609.04836. F1 and C1 at an eighth of the widths, layer instead of batch normalisation, no dropout;\n"
    "500 digits, 20 % of labels drawn anew; SB: B = 4, LB: B = 50, both to a training loss of 0.02.",
    experiments={
        "small and large": tables.small_and_large,
        "batch sizes": batch_sizes.sweep,
        "warm start": warm_start.warm_start,
        "course": course.course,
        "remedies": remedies.remedies,
        "reparametrisation": reparametrisation.reparametrisation,
        "image file": image_file.image_file,
    },
    figure=figures.figure,
    full=Size(num_seeds=8, num_tables=5, batch_sizes=(4, 8, 16, 32, 50, 125, 250), warm_epochs=(0, 1, 2, 4, 8, 16),
              num_doublings=5, networks=("F1", "C1"), optimisers=("SGD", "ADAM"), remedies=remedies.NAMES,
              num_train=1000, num_test=2000),
    quick=Size(num_seeds=5, num_tables=3, batch_sizes=(4, 16, 50), warm_epochs=(0, 1, 8), num_doublings=2,
               networks=("F1",), optimisers=("SGD",), remedies=("SAM 0.05",), num_train=500, num_test=1000),
)
