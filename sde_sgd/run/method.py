"""What a method of splitting is: a way to estimate the probability of a rare excursion."""

import abc
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import PyTree

from sde_sgd.run.basin import Basin
from sde_sgd.run.excursions import Excursions, Stream


class Estimates(NamedTuple):
    """What the replicas of a splitting found.

    Attributes
    ----------
    probability
        Of reaching the region before the core of the basin, from the rim, by replica; 0 for an extinct one.
    levels
        The scores of the levels.
    level_probability
        Of reaching each level from the one before, and the region from the last, over all replicas; None where the
        particles choose their own thresholds.
    """

    probability: np.ndarray
    levels: np.ndarray
    level_probability: np.ndarray | None


class AbstractSplitting(eqx.Module):
    """A way to estimate the probability to reach the region from the rim of a basin, without bias."""

    num_particles: eqx.AbstractVar[int]

    @abc.abstractmethod
    def estimate(
        self, excursions: Excursions, pool: PyTree, basin: Basin, num_replicas: int, stream: Stream
    ) -> Estimates:
        """Return the estimates of the replicas.

        ``pool`` holds states at the rim, equally many for every replica, those of one replica together.
        """
