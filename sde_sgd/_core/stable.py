"""Symmetric alpha-stable numbers."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sde_sgd._core.laws import Word, fraction_and_complement, minus_two_log, quarter_sine, to_int32


def stable(exponential: Word, angle: Word, alpha: Any) -> Float[Array, "..."]:
    r"""Return a symmetric alpha-stable number by the method of Chambers, Mallows and Stuck.

    The characteristic function is :math:`\exp(-|k|^\alpha)`: at alpha = 2 a normal number of variance 2, at alpha = 1
    a Cauchy number. With V uniform on (-pi/2, pi/2) and W exponential,

    .. math:: X = \frac{\sin \alpha V}{\cos V}
              \left(\frac{\cos((1 - \alpha) V)}{W \cos V}\right)^{(1 - \alpha) / \alpha}

    which for a symmetric law needs no case for alpha = 1.

    Parameters
    ----------
    exponential, angle
        The words that W and V are made of.
    alpha
        In (0, 2], may be traced. Below about 0.5 float32 numbers can overflow: the law itself has mass beyond 3e38.

    Notes
    -----
    The tail is born where V is near pi/2, so every sine and cosine is taken of an argument that is small where the
    result is small and is a sum of positive terms. Computed from a rounded V, cos V would have no correct digit there,
    and near alpha = 2, where it ought to cancel, would leave jumps that the law does not have.

    References
    ----------
    Chambers, Mallows, Stuck (1976), A method for simulating stable random variables, J. Amer. Statist. Assoc. 71, 340.
    """
    fraction, complement = fraction_and_complement(angle)  # of a right angle: |V| and pi/2 - |V|
    alpha = jnp.asarray(alpha, fraction.dtype)
    cosine = quarter_sine(complement)
    # alpha |V| and its supplement have the same sine; the smaller of the two is at most a right angle.
    sine = quarter_sine(jnp.minimum(alpha * fraction, (2.0 - alpha) + alpha * complement))
    # A right angle less |1 - alpha| |V|.
    other_cosine = quarter_sine(jnp.minimum(alpha, 2.0 - alpha) + jnp.abs(1.0 - alpha) * complement)
    waiting = 0.5 * minus_two_log(exponential)
    size = sine / cosine * (other_cosine / (waiting * cosine)) ** ((1.0 - alpha) / alpha)
    return jnp.where(to_int32(angle[0]) < 0, -size, size)
