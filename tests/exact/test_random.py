"""Draws without sampling: bits against JAX's generator, laws against formulas and by enumeration."""

import functools
import itertools
import math

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax import lax

from sde_sgd._core import laws, permutation, random
from sde_sgd._core.permutation import permuted
from sde_sgd._core.random import Draws, lane_key
from sde_sgd._core.stable import stable
from sde_sgd._core.threefry import threefry2x32

U32 = jnp.uint32
MAX_WORD = 2**32 - 1
HALF_PI = np.longdouble("1.5707963267948966192313216916397514")


def edge_words():
    """All words near 0, the middle and the end, and a lattice of odd stride over the rest."""
    near = np.arange(5000, dtype=np.uint64)
    edges = [near, 2**31 - 2500 + near, MAX_WORD - near, np.arange(0, 2**32, 65539, dtype=np.uint64)]
    return np.concatenate(edges).astype(np.uint32)


def draws(seed=0, lane=3, step=5, step_high=0, purpose=random.DYNAMICS):
    return Draws(lane_key(jax.random.key(seed), U32(lane), step_high, purpose), U32(step))


# Bits and addresses


def jax_block(key, counter):
    return tuple(jax.extend.random.threefry_2x32(jnp.asarray(key, U32), jnp.asarray(counter, U32)))


def test_threefry_gives_the_bits_of_jax(precision):
    words = np.random.default_rng(1).integers(0, 2**32, (4, 1000), dtype=np.uint32)
    ours = threefry2x32(*map(jnp.asarray, words))
    for i in range(0, 1000, 200):
        assert jax_block(words[:2, i], words[2:, i]) == (ours[0][i], ours[1][i])


@pytest.mark.parametrize(
    ("rounds", "key", "counter", "expected"),
    [
        (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        (13, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
        (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_authors_test_vectors(rounds, key, counter, expected):
    assert tuple(map(int, threefry2x32(*map(U32, key + counter), rounds=rounds))) == expected


def test_an_address_is_three_nested_blocks(precision):
    address = {"seed": 7, "lane": 11, "step_high": 2, "purpose": random.RECORD, "step": 13}
    root = jax.random.key_data(jax.random.key(7))
    key = jax_block(jax_block(root, (random._STREAMS, random.RECORD)), (11, 2))
    assert tuple(draws(**address).bits(2, slot=17)) == jax_block(key, (13, 17))


def test_every_part_of_the_address_changes_the_bits():
    base = {"seed": 0, "lane": 3, "step": 5, "step_high": 0, "purpose": random.DYNAMICS}
    reference = np.asarray(draws(**base).bits(2, slot=0))
    others = [draws(**{**base, part: value + 1}).bits(2, slot=0) for part, value in base.items()]
    for other in (*others, draws(**base).bits(2, slot=1)):
        flipped = np.bitwise_count(np.asarray(other) ^ reference).sum()
        assert 12 <= flipped <= 52  # 32 +- 5 standard deviations


def all_kinds(source):
    """Each method, and each way of laying numbers out (one, a few, many)."""
    return {
        "bits": source.bits(5),
        "uniforms": source.uniforms(1),
        "normals": source.normals(1),
        "a few normals": source.normals(3),
        "many normals": source.normals(20),
        "indices": source.indices(3, 1000),
        "subset": source.subset(5, 9),
        "stable": source.stable(1, 1.5),
    }


def assert_same_draws(ours, theirs):
    """Integers agree in every bit; fusion may contract products into sums, so floats agree to rounding."""
    for name in ours:
        if jnp.issubdtype(ours[name].dtype, jnp.integer):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        else:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)


def test_same_address_same_numbers_compiled_or_not_vmapped_or_not_with_x64_or_without():
    plain = all_kinds(draws())
    lanes = jax.jit(jax.vmap(all_kinds))(jax.vmap(lambda lane: draws(lane=lane))(jnp.arange(6, dtype=U32)))
    assert_same_draws({name: x[3] for name, x in lanes.items()}, plain)
    with jax.enable_x64(True):
        wide = jax.jit(all_kinds)(draws())
    assert_same_draws(wide, plain)
    assert all(wide[name].dtype == plain[name].dtype for name in plain)


def test_number_i_of_a_call_is_the_number_at_slot_plus_i():
    source = draws()
    apart = jax.jit(jax.vmap(lambda slot: source.normals(1, slot)[0]))(jnp.arange(2, 22, dtype=U32))
    for count in (5, 20):
        np.testing.assert_allclose(source.normals(count, slot=2), apart[:count], rtol=1e-6)


def test_slots_follow_from_the_count():
    assert [random.slots_for_bits(n) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert random.slots_for_normals(7, jnp.float32) == random.slots_for_normals(7, jnp.float64) == 7
    assert random.slots_for_indices(7) == random.slots_for_uniforms(7) == random.slots_for_stable(7) == 7


def primitives(function, *arguments):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*arguments).eqns}


def test_a_single_number_is_elementwise_arithmetic():
    def step(source):
        return source.normals(1) + source.uniforms(1) + source.indices(1, 10).astype(jnp.float32)

    indexed = {"iota", "concatenate", "gather", "dynamic_slice", "optimization_barrier", "while", "scan"}
    assert not primitives(step, draws()) & indexed
    assert primitives(lambda source: source.normals(40), draws()) & indexed


def test_a_jax_key_is_one_block():
    key = draws().jax_key(slot=9)
    np.testing.assert_array_equal(jax.random.key_data(key), draws().bits(2, slot=9))
    assert jax.random.normal(key).shape == ()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"maximum must be in 1\.\.2147483647, got 0"):
        draws().indices(1, 0)
    with pytest.raises(ValueError, match=r"count must be in 0\.\.4, got 5"):
        draws().subset(5, 4)
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        draws().normals(1, dtype=jnp.float16)


# Uniform numbers and integers


def test_uniforms_keep_off_the_ends_and_resolve_small_probabilities(precision):
    ends = laws.uniform((jnp.asarray([0, 1, 2**31, MAX_WORD], U32),))
    np.testing.assert_array_equal(ends, np.float32([2.0**-33, 3 * 2.0**-33, 0.5, 1 - 2.0**-24]))


def test_uniforms_in_float64(x64):
    words = jnp.asarray([0, MAX_WORD], U32)
    np.testing.assert_array_equal(laws.uniform((words, words)), [2.0**-65, 1 - 2.0**-53])


@pytest.mark.parametrize("maximum", [1, 10, 1000, 65537, 3 * 2**29, 2**31 - 1])
def test_an_index_is_the_floor_of_a_64_bit_product(maximum, precision):
    rng = np.random.default_rng(2)
    high = np.concatenate([edge_words()[::50], rng.integers(0, 2**32, 2000, dtype=np.uint32)])
    low = rng.permutation(high)
    expected = [(int(h) * 2**32 + int(w)) * maximum >> 64 for h, w in zip(high, low, strict=True)]
    np.testing.assert_array_equal(laws.index(jnp.asarray(high), jnp.asarray(low), maximum), expected)
    assert 0 <= min(expected) and max(expected) == maximum - 1


# Normal numbers


def exact_radius(words):
    """The radius of Box and Muller, from the cell centres, in float64."""
    words = words.astype(np.float64)
    lower, upper = (words + 0.5) * 2.0**-32, (MAX_WORD - words + 0.5) * 2.0**-32
    return np.sqrt(-2 * np.where(lower < 0.5, np.log(lower), np.log1p(-upper)))


def quarter_turns(words):
    """The fraction of a right angle that a word stands for in float32, an odd multiple of 2**-31."""
    return (words.view(np.int32) | 1) * 2.0**-31


def exact_sine(words):
    return np.sin(np.pi / 2 * quarter_turns(words))


@jax.jit
def radius_of(words):
    return jnp.sqrt(laws.minus_two_log((words,)))


@jax.jit
def sine_of(words):
    return laws.quarter_sine(laws.signed_fraction((words,)))


def relative_error(value, exact):
    return np.max(np.abs(np.asarray(value, np.float64) / exact - 1))


def test_radius_and_sine_are_right_to_rounding_for_all_words(precision):
    words = edge_words()
    assert relative_error(radius_of(words), exact_radius(words)) < 1.6e-7
    assert relative_error(sine_of(words), exact_sine(words)) < 1.6e-7


def test_teeth_a_library_logarithm_of_a_rounded_uniform_is_not():
    words = edge_words()
    uniform = np.float32(words) * np.float32(2.0**-32)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert relative_error(np.sqrt(-2 * np.log(uniform)), exact_radius(words)) > 0.5


def test_normals_are_right_to_rounding(precision):
    radius = edge_words()
    angle = np.random.default_rng(3).permutation(radius)
    x = np.asarray(jax.jit(lambda r, a: laws.normal((r,), (a,)))(radius, angle), np.float64)
    exact = exact_radius(radius) * exact_sine(angle)
    assert np.max(np.abs(x - exact) / np.maximum(1, np.abs(exact))) < 2.7e-7
    assert np.all(np.isfinite(x)) and np.all(x != 0)


def test_normals_are_exactly_symmetric():
    radius = edge_words()
    angle = np.random.default_rng(4).permutation(radius)
    normal = jax.jit(lambda r, a: laws.normal((r,), (a,)))
    np.testing.assert_array_equal(normal(radius, ~angle), -normal(radius, angle))


@functools.cache
def jax_normal_law():
    """All 2**23 values of ``jax.random.normal`` in float32, equally likely."""

    @jax.jit
    def values():
        unit = lax.bitcast_convert_type(lax.iota(U32, 2**23) | U32(0x3F800000), jnp.float32) - np.float32(1)
        low = np.nextafter(np.float32(-1), np.float32(0))
        return np.float32(np.sqrt(2)) * lax.erf_inv(jnp.maximum(low, unit * (np.float32(1) - low) + low))

    return np.asarray(values(), np.float64)


def test_the_enumerated_law_is_that_of_jax_random_normal():
    sample = np.asarray(jax.random.normal(jax.random.key(0), (10_000,), jnp.float32), np.float64)
    law = np.sort(jax_normal_law())
    after = np.clip(np.searchsorted(law, sample), 1, len(law) - 1)
    distance = np.minimum(np.abs(law[after] - sample), np.abs(law[after - 1] - sample))
    assert np.max(distance / np.maximum(1, np.abs(sample))) < 1e-6


def our_tail(c):
    """P(X > c), from all radius words that reach c, the angle integrated out."""
    words = np.arange(math.ceil(math.exp(-(c**2) / 2) * 2**32) + 10, dtype=np.uint32)
    radius = np.asarray(radius_of(words), np.float64)
    return np.sum(np.arccos(np.minimum(1, c / radius))) / np.pi * 2.0**-32


TAILS = [(4.0, 1e-6), (5.0, 1e-4), (6.0, 2e-2)]  # sigma, relative error allowed


@pytest.mark.parametrize(("c", "tolerance"), TAILS)
def test_tails_hold_the_mass_of_the_normal_law(c, tolerance):
    assert abs(our_tail(c) / scipy.stats.norm.sf(c) - 1) < tolerance


@pytest.mark.parametrize(("c", "tolerance"), TAILS)
def test_teeth_the_tails_of_jax_random_normal_do_not(c, tolerance):
    law = jax_normal_law()
    for side in (law, -law):
        assert abs(np.mean(side > c) / scipy.stats.norm.sf(c) - 1) > tolerance


def radius_moments(orders):
    """E r^p over all words: every word near the ends, else the middle words of 2**12 parts of each octave."""
    nodes, weights = [np.arange(2**13)], [np.ones(2**13)]
    for octave in range(13, 31):
        stride = 2 ** (octave - 12)
        nodes.append(2**octave + stride * np.arange(2**12) + stride // 2)
        weights.append(np.full(2**12, float(stride)))
    nodes, weights = np.concatenate(nodes), np.concatenate(weights) * 2.0**-32
    radius = np.asarray(radius_of(np.concatenate([nodes, MAX_WORD - nodes]).astype(np.uint32)), np.float64)
    return np.array([np.sum(np.concatenate([weights, weights]) * radius**p) for p in orders])


def test_moments_to_order_eight_are_those_of_the_normal_law():
    orders = np.array([2, 4, 6, 8])  # the odd ones vanish, see test_normals_are_exactly_symmetric
    sines = np.asarray(sine_of(np.arange(2**11, 2**32, 2**12, dtype=np.uint32)), np.float64)
    moments = radius_moments(orders) * [np.mean(sines**p) for p in orders]
    exact = scipy.special.factorial2(orders - 1)
    np.testing.assert_allclose(moments, exact, rtol=1e-6)
    theirs = np.mean(np.square(np.square(np.square(jax_normal_law()))))
    assert abs(theirs / exact[-1] - 1) > 1e-6  # teeth


def test_float64_normals_are_right_to_rounding_and_go_on_where_float32_ends(x64):
    rng = np.random.default_rng(5)
    high, low, angle, angle_low = (rng.permutation(edge_words()) for _ in range(4))
    x = np.asarray(jax.jit(laws.normal)((high, low), (angle, angle_low)))
    fraction = (high.astype(np.longdouble) * 2**32 + low + np.longdouble(0.5)) / 2**64
    turn = (angle.view(np.int32).astype(np.longdouble) + (angle_low + np.longdouble(0.5)) / 2**32) / 2**31
    exact = np.sqrt(-2 * np.log(fraction)) * np.sin(turn * HALF_PI)
    body = np.abs(fraction - 0.5) < 0.499  # longdouble has no digits to spare nearer to 1
    np.testing.assert_allclose(x[body], np.float64(exact)[body], rtol=1e-13, atol=1e-15)
    zero, top = (jnp.asarray(word, U32) for word in (0, 2**31 - 1))
    assert laws.normal((zero,), (top,)) < 6.77 < 9.49 < laws.normal((zero, zero), (top, top)) < 9.5


def test_float64_normals_refine_the_float32_ones(x64):
    source = draws()
    words = np.asarray(source.bits(20_000))[::2]
    single, double = (jax.jit(lambda d, t=t: d.normals(10_000, dtype=t))(source) for t in (jnp.float32, jnp.float64))
    cell = 2.0**-33 / (np.minimum(words + 0.5, MAX_WORD - words + 0.5) * 2.0**-32 * exact_radius(words))
    difference = np.abs(np.asarray(single, np.float64) - double)
    assert np.all(difference < 3e-7 * np.maximum(1, np.abs(double)) + cell)
    assert np.median(difference) > 0  # they are not the same


# Stable numbers


def stable_words():
    rng = np.random.default_rng(6)
    return edge_words()[::7], rng.permutation(edge_words()[::7])


def exact_stable(exponential, angle, alpha):
    """The formula in extended precision, the cosine from its complement."""
    turns = quarter_turns(angle).astype(np.longdouble)
    v, cosine = turns * HALF_PI, np.sin((1 - np.abs(turns)) * HALF_PI)
    ratio = np.cos((1 - alpha) * v) / (np.longdouble(exact_radius(exponential)) ** 2 / 2 * cosine)
    return np.sin(alpha * v) / cosine * ratio ** ((1 - np.longdouble(alpha)) / alpha)


def printed_stable(exponential, angle, alpha):
    """The formula in float32, from a rounded angle."""
    v, alpha = np.float32(quarter_turns(angle) * np.pi / 2), np.float32(alpha)
    ratio = np.cos((1 - alpha) * v) / (np.float32(exact_radius(exponential) ** 2 / 2) * np.cos(v))
    return np.sin(alpha * v) / np.cos(v) * np.abs(ratio) ** ((1 - alpha) / alpha)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 1.99, 2.0])
def test_stable_numbers_are_right_to_rounding_out_to_the_last_angle(alpha, precision):
    exponential, angle = stable_words()
    exact = exact_stable(exponential, angle, alpha)
    ours = jax.jit(lambda e, a: stable((e,), (a,), alpha))(exponential, angle)
    assert relative_error(ours, exact) < 5e-6
    # Teeth. (At 2 the rounding errors of the printed formula happen to cancel.)
    assert alpha == 2.0 or relative_error(printed_stable(exponential, angle, alpha), exact) > 0.5


def test_stable_at_one_is_cauchy_and_at_two_normal_with_variance_two():
    exponential, angle = stable_words()
    cauchy = np.tan(np.longdouble(np.pi / 2) * quarter_turns(angle))
    central = np.abs(cauchy) < 1e6
    np.testing.assert_allclose(stable((exponential,), (angle,), 1.0)[central], cauchy[central], rtol=2e-6)
    normal = np.sqrt(2) * exact_radius(exponential) * exact_sine(angle)
    np.testing.assert_allclose(stable((exponential,), (angle,), 2.0), normal, rtol=2e-6)


# Permutations


@pytest.mark.parametrize("num", [*range(1, 41), 100, 1000, 1797, 65536])
def test_permuted_is_a_bijection(num):
    images = permuted(np.arange(num, dtype=np.int32), num, U32(num), U32(12345))
    assert images.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(images), np.arange(num))


def test_permuted_takes_the_largest_num():
    index = jnp.asarray([0, 1, 2**31 - 2], jnp.int32)
    images = np.asarray(permuted(index, 2**31 - 1, U32(1), U32(2)))
    assert len(set(images)) == 3 and images.min() >= 0 and images.max() < 2**31 - 1


def test_a_subset_is_the_head_of_a_permutation():
    source = draws()
    np.testing.assert_array_equal(source.subset(4, 10, slot=3), source.subset(10, 10, slot=3)[:4])
    key0, key1 = source.bits(2, slot=3)
    np.testing.assert_array_equal(source.subset(4, 10, slot=3), permuted(jnp.arange(4), 10, key0, key1))


def moves_of_one_round(num):
    """Each relabelling that a round with fair coins can make, and its probability."""
    for offset in range(num):
        pairs = [(x, (offset - x) % num) for x in range(num) if x < (offset - x) % num]
        for coins in itertools.product((False, True), repeat=len(pairs)):
            relabelling = np.arange(num)
            for x, y in itertools.compress(pairs, coins):
                relabelling[[x, y]] = y, x
            yield relabelling, 1 / (num * 2 ** len(pairs))


def distance_from_uniform(num, rounds):
    """Total variation, over whole permutations, between swap-or-not with fair coins and a uniform permutation."""
    images = np.array(list(itertools.permutations(range(num))))  # in lexicographic order, the identity first
    digits = num ** np.arange(num)[::-1]
    moves = [(np.searchsorted(images @ digits, to[images] @ digits), chance) for to, chance in moves_of_one_round(num)]
    law = np.eye(len(images))[0]
    for _ in range(rounds):
        after = np.zeros_like(law)
        for target, chance in moves:
            after[target] += chance * law
        law = after
    return np.abs(law - 1 / len(images)).sum() / 2


@pytest.mark.parametrize("num", [2, 3, 4, 5, 6])
def test_the_rounds_suffice_for_whole_permutations(num):
    assert distance_from_uniform(num, permutation.ROUNDS) < 1e-5
    assert distance_from_uniform(num, 8) > 1e-3  # teeth
