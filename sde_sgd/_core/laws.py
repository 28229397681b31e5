"""From random bits to numbers with a given law, element by element.

Every function here maps words to one number per element and uses no index, no gather and no library call that XLA
cannot fuse. A *word* is a tuple of uint32 arrays, most significant first: 32 bits give a float32, 64 bits a float64.
Both read the word as the same point of (0, 1), the middle of a cell of width ``2**-32`` or ``2**-64``, so the float64
number refines the float32 number of the same leading bits.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int32, UInt32

Word = tuple[UInt32[Array, "..."]] | tuple[UInt32[Array, "..."], UInt32[Array, "..."]]

# Minimax polynomials, found with benchmarks' plain NumPy in float64: iteratively reweighted least squares (Lawson) on
# 3001 Chebyshev points, rounding the coefficients to float32 one by one, lowest first, and refitting the rest.
# sin(pi t / 2) / t - 1 in powers of t**2 for |t| <= 1; error 1.1e-8 relative to the sine.
_SINE = (0.570796311, -0.64596343, 0.0796881765, -0.0046712379, 0.000150169959)
# (-2 log(1 - g / 2) - g) / g**2 in powers of g for 0 <= g <= 1; error 2.4e-8 relative to the logarithm.
_LOGARITHM = (
    0.249997616, 0.0834078938, 0.030461289, 0.0164772775, -0.00564809004, 0.018878812, -0.0128050344, 0.00552456453,
)  # fmt: skip

_LARGEST_INT32 = np.int32(2**31 - 1)


def uniform(word: Word) -> Float[Array, "..."]:
    """Return a uniform number strictly between 0 and 1.

    Near 0 the resolution is that of the word, ``2**-32`` or ``2**-64``, so comparisons with a small probability are
    right to that; near 1 it is that of the floating-point type, and the numbers that would round to 1 are moved to
    its predecessor.
    """
    largest = 1 - jnp.finfo(_dtype(word)).epsneg
    return jnp.minimum(_cell_centre(word), jnp.asarray(largest, _dtype(word)))


def normal(radius: Word, angle: Word) -> Float[Array, "..."]:
    r"""Return a standard normal number by the method of Box and Muller.

    .. math:: x = \sqrt{-2 \log u}\, \sin(\pi t / 2)

    with u uniform on (0, 1) and t on (-1, 1). The sine of a uniform angle in the right half plane has the same law as
    that of one on the whole circle, so one number needs no quadrant.

    Returns
    -------
    x
        Accurate in float32 to ``2.5e-7 * max(1, abs(x))``, two units in the last place, over all words. The largest
        absolute value is 6.76 in float32 (a tail beyond it has mass 1.3e-11) and 11.6 in float64.

    References
    ----------
    Box, Muller (1958), A note on the generation of random normal deviates, Ann. Math. Statist. 29.
    """
    return jnp.sqrt(minus_two_log(radius)) * quarter_sine(signed_fraction(angle))


def index(high: UInt32[Array, "..."], low: UInt32[Array, "..."], maximum: int) -> Int32[Array, "..."]:
    """Return a uniform integer in [0, maximum), the floor of ``maximum`` times a 64-bit fraction.

    No integer is favoured by more than ``maximum * 2**-64`` relative to its share. 64-bit integers do not exist with
    x64 off, hence the product in 32-bit limbs.
    """
    product_high, product_low = multiply_high(high, maximum), high * np.uint32(maximum)
    middle = product_low + multiply_high(low, maximum)
    carry = (middle < product_low).astype(jnp.uint32)
    return to_int32(product_high + carry)


def multiply_high(word: UInt32[Array, "..."], factor: int) -> UInt32[Array, "..."]:
    """Return the high 32 bits of the 64-bit product of ``word`` and a constant below ``2**32``, in 16-bit limbs."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    factor_high, factor_low = np.uint32(factor >> 16), np.uint32(factor & 0xFFFF)
    word_high, word_low = word >> half, word & mask
    first = word_high * factor_low + ((word_low * factor_low) >> half)
    second = word_low * factor_high + (first & mask)
    return word_high * factor_high + (first >> half) + (second >> half)


def minus_two_log(word: Word) -> Float[Array, "..."]:
    """Return ``-2 log u``, twice an exponential number, for the cell centre u of ``word``.

    Right in relative terms at both ends: where u > 1/2 it is computed from 1 - u, which is the cell centre of the
    complemented word and thus known to all digits. The float32 version is a polynomial, good to 1.7e-7.
    """
    upper = to_int32(word[0]) < 0
    fold = to_uint32(to_int32(word[0]) >> np.int32(31))  # all ones where u > 1/2
    centre = _cell_centre(tuple(limb ^ fold for limb in word))  # min(u, 1 - u)
    if len(word) == 2:
        return jnp.float64(-2) * jnp.where(upper, jnp.log1p(-centre), jnp.log(centre))
    # u = (1 - g / 2) * 2**-exponent, with 1 - g / 2 in [1/2, 1). Where u > 1/2 that is g = 2 (1 - u) and exponent 0.
    bits = to_int32(centre)
    mantissa = to_float32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F800000))  # in [1, 2)
    exponent = jnp.where(upper, jnp.int32(0), np.int32(126) - (bits >> np.int32(23)))
    g = jnp.where(upper, centre + centre, np.float32(2) - mantissa)
    return (exponent.astype(jnp.float32) * np.float32(2 * np.log(2)) + g) + (g * g) * _polynomial(_LOGARITHM, g)


def quarter_sine(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return ``sin(pi t / 2)`` for |t| <= 1, right in relative terms; in float32 a polynomial, good to 9e-8."""
    if t.dtype == jnp.float64:
        return jnp.sin(t * np.float64(np.pi / 2))
    return t + t * _polynomial(_SINE, t * t)


def signed_fraction(word: Word) -> Float[Array, "..."]:
    """Return the cell centre of ``word`` read as a two's complement fraction: uniform on (-1, 1), symmetric about 0."""
    return _centre(to_int32(word[0]), word[1:]) * _scale(word, 2)


def unsigned_fraction(word: Word) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return a and 1 - a for the absolute value a of the signed fraction, both right in relative terms."""
    fold = to_uint32(to_int32(word[0]) >> np.int32(31))
    limbs = tuple(limb ^ fold for limb in word)
    below = _centre(to_int32(limbs[0]), limbs[1:])
    above = _centre(_LARGEST_INT32 - to_int32(limbs[0]), tuple(~limb for limb in limbs[1:]))
    return below * _scale(word, 2), above * _scale(word, 2)


def to_int32(x: Array) -> Int32[Array, "..."]:
    """Return the same 32 bits as int32."""
    return lax.bitcast_convert_type(x, jnp.int32)


def to_uint32(x: Array) -> UInt32[Array, "..."]:
    """Return the same 32 bits as uint32."""
    return lax.bitcast_convert_type(x, jnp.uint32)


def to_float32(x: Array) -> Float[Array, "..."]:
    """Return the same 32 bits as float32."""
    return lax.bitcast_convert_type(x, jnp.float32)
