"""Random numbers by address.

Every number is a pure function of (key, lane, step, slot): the run's root key, the lane's number, the step's number
and a slot within the step. Nothing is split, carried or consumed. A lane gives the same numbers alone or among a
million, in any order, from any step on, with x64 on or off.

Bits come from threefry-2x32 in three stages, each keyed by the two words the one before put out::

    purpose key = threefry(root key,    (a constant, purpose))
    lane key    = threefry(purpose key, (lane, high word of the step))
    block       = threefry(lane key,    (low word of the step, slot))

The first two are `lane_key`, done once per lane; the third is done inside the update, where XLA fuses it. One slot is
one block is one number: generating both numbers of a Box-Muller pair would halve the blocks but costs more in
interleaving them than it saves.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int32, Key, UInt32

from sde_sgd._core import checks, laws
from sde_sgd._core.permutation import permuted
from sde_sgd._core.stable import stable
from sde_sgd._core.threefry import threefry2x32

# Purposes: streams that never meet, whatever lanes and steps they use.
DYNAMICS = 0
INITIALISE = 1
RECORD = 2
OBSERVE = 3
SELECT = 4

# JAX derives its own keys and bits from counters whose high word is 0, save in arrays beyond 2**32. Ours is not, so a
# user may draw from the root key with `jax.random` without meeting our streams.
_STREAMS = 0x53445347

# Slots from here on hold the trailing 32 bits of float64 numbers.
_TRAILING = np.uint32(2**31)

# Fewer numbers than a vector register holds.
_FEW = 8


def lane_key(
    root: Key[Array, ""], lane: UInt32[Array, "..."], step_high: Any = 0, purpose: int = DYNAMICS
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Return the stream key of each lane.

    Parameters
    ----------
    root
        The run's key: a typed JAX key of the threefry2x32 implementation.
    lane
        The lane's number. Different lanes have different keys, for certain.
    step_high
        The high word of the step, for runs beyond ``2**32`` steps.
    purpose
        Which of the lane's independent streams: `DYNAMICS`, `INITIALISE`, `RECORD`, `OBSERVE`, `SELECT`.

    Returns
    -------
    key
        The two words of the key, in the shape of ``lane``.

    Notes
    -----
    Hand ``root`` to compiled functions as an argument. Draws from a constant key are constants, which XLA evaluates
    one by one while it compiles: minutes for a million.
    """
    root0, root1 = jax.random.key_data(root)
    purpose0, purpose1 = threefry2x32(root0, root1, jnp.uint32(_STREAMS), jnp.uint32(purpose))
    return threefry2x32(purpose0, purpose1, jnp.asarray(lane, jnp.uint32), jnp.asarray(step_high, jnp.uint32))


class Draws(eqx.Module):
    """One lane's source of random numbers at one step: a pure function of (key, lane, step, slot).

    Every method takes the first ``slot`` it may use, below ``2**31``, traced or not, and uses as many consecutive
    slots as the function `slots_for_bits` etc. says. Calls that share a slot are not independent.

    Parameters
    ----------
    key
        The lane's stream key, from `lane_key`.
    step
        The low word of the step.
    """

    key: tuple[UInt32[Array, ""], UInt32[Array, ""]]
    step: UInt32[Array, ""]

    def bits(self, count: int, slot: Any = 0) -> UInt32[Array, " count"]:
        """Return random words, two from each slot."""
        blocks = _at_slots(lambda at: jnp.stack(self._block(at), axis=-1), slots_for_bits(count), slot)
        return blocks.reshape(-1)[:count]

    def uniforms(self, count: int, slot: Any = 0, dtype: Any = jnp.float32) -> Float[Array, " count"]:
        """Return uniform numbers strictly between 0 and 1; see `laws.uniform` for their resolution."""
        return _at_slots(lambda at: laws.uniform(self._words(at, dtype)[0]), count, slot)

    def normals(self, count: int, slot: Any = 0, dtype: Any = jnp.float32) -> Float[Array, " count"]:
        """Return standard normal numbers; see `laws.normal` for accuracy and tails."""
        return _at_slots(lambda at: laws.normal(*self._words(at, dtype)), count, slot)

    def indices(self, count: int, maximum: int, slot: Any = 0) -> Int32[Array, " count"]:
        """Return uniform integers in [0, maximum), ``maximum`` a static int below ``2**31``; repetitions happen."""
        checks.integer("maximum", maximum, 1, 2**31 - 1)
        return _at_slots(lambda at: laws.index(*self._block(at), maximum), count, slot)

    def subset(self, count: int, num: int, slot: Any = 0) -> Int32[Array, " count"]:
        """Return ``count`` different integers of [0, num) in random order, from one slot; see `permuted`."""
        checks.integer("count", count, 0, num, "A subset holds no more elements than there are.")
        return permuted(lax.iota(jnp.int32, count), num, *self._block(jnp.asarray(slot, jnp.uint32)))

    def stable(self, count: int, alpha: Any, slot: Any = 0, dtype: Any = jnp.float32) -> Float[Array, " count"]:
        """Return symmetric alpha-stable numbers; at alpha = 2 their variance is 2. See `stable.stable`."""
        return _at_slots(lambda at: stable(*self._words(at, dtype), alpha), count, slot)

    def jax_key(self, slot: Any = 0) -> Key[Array, ""]:
        """Return a typed JAX key, for code that draws with `jax.random`."""
        return jax.random.wrap_key_data(self.bits(2, slot), impl="threefry2x32")

    def _block(self, slot: Array) -> tuple[Array, Array]:
        return threefry2x32(*self.key, self.step, slot)

    def _words(self, slot: Array, dtype: Any) -> tuple[laws.Word, laws.Word]:
        """Return the two words of one number: of 32 bits each for float32, of 64 for float64."""
        checks.one_of("dtype", jnp.dtype(dtype), (np.dtype("float32"), np.dtype("float64")))
        leading = self._block(slot)
        if jnp.dtype(dtype) == np.float32:
            return (leading[0],), (leading[1],)
        trailing = self._block(slot + _TRAILING)
        return (leading[0], trailing[0]), (leading[1], trailing[1])


def slots_for_bits(count: int) -> int:
    """Return how many slots ``count`` words of `Draws.bits` take: one for two words."""
    return -(-count // 2)


def slots_for_normals(count: int, dtype: Any = jnp.float32) -> int:
    """Return how many slots ``count`` normals, uniforms, indices or stable numbers take: one each, in every dtype.

    So a program in float64 meets at every slot the noise that it meets in float32, refined.
    """
    return count


slots_for_uniforms = slots_for_stable = slots_for_indices = slots_for_normals


def _at_slots(draw: Callable[[Array], Array], count: int, slot: Any) -> Array:
    """Return ``draw`` at ``count`` consecutive slots, stacked.

    The three ways give the same bits and differ in speed once `jax.vmap` has put the lanes in front. A single number
    needs no index and fuses with the update. A few along an axis of their own would make the innermost loop shorter
    than a vector register; so each is computed along the lanes, and the barrier keeps XLA from fusing the stack into
    one loop with branches. For 3 to 7 numbers that is 2 to 8 times faster on a CPU than either alternative.
    """
    first = jnp.asarray(slot, jnp.uint32)
    if count == 1:
        return draw(first)[None]
    if 1 < count < _FEW:
        return jnp.stack(lax.optimization_barrier([draw(first + np.uint32(i)) for i in range(count)]))
    return draw(first + lax.iota(jnp.uint32, count))
