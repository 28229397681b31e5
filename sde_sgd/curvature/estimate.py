"""An estimate and its standard error."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Estimate(NamedTuple):
    """A number estimated from random probes, or an array of them.

    ``stderr`` is the standard error s / sqrt(n) over n independent probes, s with n - 1: an interval takes Student's
    t with n - 1 degrees of freedom.
    """

    value: Float[Array, "..."]
    stderr: Float[Array, "..."]


def over_probes(samples: Float[Array, "probes ..."]) -> Estimate:
    """Return the mean of independent samples along the first axis and its standard error."""
    num = samples.shape[0]
    return Estimate(jnp.mean(samples, axis=0), jnp.std(samples, axis=0, ddof=1) / num**0.5)
