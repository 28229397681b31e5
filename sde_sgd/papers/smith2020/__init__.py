"""On the generalisation benefit of noise in SGD, with its companions, on handwritten digits.

The text of the paper was not available: what is tested are the claims of its abstract, of its predecessor's and of
public summaries, at a size that two cores can train. Where one does not show at this size, the table says so.
"""

from sde_sgd.papers.paper import Paper
from sde_sgd.papers.smith2020 import (
    annealing,
    batches,
    budgets,
    epochs,
    figures,
    penalty,
    quadratic,
    shuffling,
    steps,
    target,
)
from sde_sgd.papers.smith2020.size import Size

PAPER = Paper(
    name="smith2020",
    title="Smith, Elsen, De (2020), On the generalization benefit of noise in stochastic gradient descent; "
    "arXiv:2006.15081.\nClaims of its abstract and of its companions, on digits: its text was not available.",
    experiments={
        "equal epochs": epochs.learning_rates,
        "equal steps": steps.equal_steps,
        "growing budgets": budgets.learning_rates,
        "best batches": batches.best_batches,
        "annealing": annealing.decay_or_increase,
        "modified loss": shuffling.modified_loss,
        "explicit penalty": penalty.explicit,
        "steps to a loss": target.steps_to_target,
        "noisy quadratic": quadratic.regimes,
    },
    figure=figures.figure,
    # Lanes come in tiles: numbers of seeds are such that few lanes are in vain on two devices.
    full=Size(epochs_seeds=12, epochs_batches=(8, 16, 32, 64, 125, 250, 500), steps_seeds=12, steps_octaves=1.0,
              clean_seeds=7, steps_batches=(2, 4, 8, 16, 64, 500), budget_seeds=8, budgets=(4, 16, 64, 256),
              ratios=(0, 3, 6), batch_seeds=16, rates=(0.05, 0.1, 0.2, 0.4), numbers=(125, 250, 500, 1000),
              annealing_seeds=16, penalty_seeds=51, penalties=(0.025, 0.05, 0.1, 0.2), target_seeds=8,
              target_batches=(2, 4, 8, 16, 32, 64, 128, 256, 512), noise_probes=16, octaves=0.5),
    quick=Size(epochs_seeds=7, epochs_batches=(8, 32, 125, 500), steps_seeds=5, steps_octaves=2.0, clean_seeds=0,
               steps_batches=(4, 16, 500), budget_seeds=5, budgets=(2, 8, 32), ratios=(0, 5), batch_seeds=10,
               rates=(0.05, 0.1, 0.2), numbers=(), annealing_seeds=16, penalty_seeds=10, penalties=(0.05, 0.1),
               target_seeds=8, target_batches=(2, 8, 32, 128, 512), noise_probes=8, octaves=1.0),
)
