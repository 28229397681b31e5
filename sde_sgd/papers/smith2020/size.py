"""How much the reproduction of the paper trains."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of seeds, and the grids.

    Learning rates lie ``octaves`` factors of two apart, ``steps_octaves`` under a constant step budget.
    ``epochs_batches`` under a constant epoch budget, ``steps_batches`` under a constant step budget and ``clean_seeds``
    for its control with clean labels (0: none), ``target_batches`` until a loss is reached; ``budgets`` in epochs with
    ``ratios``, in octaves, of the last to the first learning rate; ``rates`` the constant learning rates at which the
    best batch size is looked for, with ``numbers`` of examples (none: not at all); ``noise_probes`` draws for the noise
    scale with the Hessian.
    """

    epochs_seeds: int
    epochs_batches: tuple[int, ...]
    steps_seeds: int
    steps_octaves: float
    clean_seeds: int
    steps_batches: tuple[int, ...]
    budget_seeds: int
    budgets: tuple[int, ...]
    ratios: tuple[int, ...]
    batch_seeds: int
    rates: tuple[float, ...]
    numbers: tuple[int, ...]
    annealing_seeds: int
    penalty_seeds: int
    penalties: tuple[float, ...]
    target_seeds: int
    target_batches: tuple[int, ...]
    noise_probes: int
    octaves: float
