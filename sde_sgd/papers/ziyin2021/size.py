"""How much the reproduction of the paper simulates."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of lanes and steps.

    ``num_settings`` of the settings under label noise; ``num_lanes`` x ``num_steps`` for stationary ensembles after
    ``burn_in``, every ``thinning``-th step kept;
    ``num_draws`` minibatch gradients for recursions; ``num_tail`` lanes, each a sample of a law with a tail;
    ``num_seeds`` x ``num_data_steps`` for SGD on a finite data set, of which there are ``num_data_sets``.
    """

    num_settings: int
    num_lanes: int
    num_steps: int
    burn_in: int
    thinning: int
    num_draws: int
    num_tail: int
    num_seeds: int
    num_data_steps: int
    num_data_sets: int

    def for_batch(self, batch_size: int) -> "Size":
        """Return a size with fewer draws for large batches, whose gradients vary little: ten examples a draw."""
        return dataclasses.replace(self, num_draws=self.num_draws * 10 // max(batch_size, 10))
