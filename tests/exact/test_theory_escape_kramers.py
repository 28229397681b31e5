"""Kramers' law and Eyring-Kramers: against exact quadrature, finite differences, and with saddles that are none."""

import jax.numpy as jnp
import numpy as np
import pytest

from sde_sgd import theory


def double_well(x):
    return (x**2 - 1) ** 2


def narrow_gate(w):
    """A double well whose saddle at 0 is five times narrower than the minima at -1 and 1."""
    return (w[0] ** 2 - 1) ** 2 + (2 + 8 * jnp.exp(-4 * w[0] ** 2)) * w[1] ** 2 / 2


KRAMERS = {3: 22.30942, 4: 60.6433, 6: 448.0967, 8: 3311.012, 10: 24465.25, 15: 3.630965e6, 20: 5.388830e8}
EXACT_OVER_KRAMERS = {3: 1.1941, 4: 1.1422, 6: 1.0834, 8: 1.0571, 10: 1.0434, 15: 1.0273, 20: 1.0200}
NEXT_ORDER = {3: 1.1250, 4: 1.0938, 6: 1.0625, 8: 1.0469, 10: 1.0375, 15: 1.0250, 20: 1.0188}


@pytest.mark.parametrize("barrier", KRAMERS)
def test_the_double_well(barrier):
    kramers = theory.kramers_time(double_well, 1 / barrier, -1.0, 0.0)
    assert kramers.value == pytest.approx(KRAMERS[barrier], rel=1e-6)
    assert kramers.valid == (barrier >= 5)
    exact = theory.mean_first_passage_time(double_well, 1 / barrier, -1.0, 1.0)
    assert exact / float(kramers) == pytest.approx(EXACT_OVER_KRAMERS[barrier], abs=6e-5)
    corrected = theory.kramers_time(double_well, 1 / barrier, -0.9, 0.2, next_order=True)  # from guesses
    assert corrected.value / kramers.value == pytest.approx(NEXT_ORDER[barrier], abs=6e-5)


def test_the_saddle_itself_is_reached_in_half_the_time():
    ratio = theory.mean_first_passage_time(double_well, 1 / 40, -1.0, 0.0) / theory.kramers_time(
        double_well, 1 / 40, -1.0, 0.0).value
    assert ratio == pytest.approx(0.5, abs=0.01)


def test_the_next_order_of_a_crooked_well():
    # Every term of c counts here, cubic and quartic, at the minimum and at the saddle.
    def potential(x):
        return x**2 / 2 - x**3 / 3 + 0.1 * jnp.sin(2 * x)

    minimum, saddle = (float(find(potential, guess).position[0]) for find, guess in (
        (theory.find_minimum, -0.2), (theory.find_saddle, 1.1)))
    coefficient = theory.kramers_correction(potential, minimum, saddle)
    for temperature in (2e-3, 1e-3):
        exact = theory.mean_first_passage_time(potential, temperature, minimum, saddle + 0.5)
        leading = theory.kramers_time(potential, temperature, minimum, saddle).value
        assert (exact / leading - 1) / temperature == pytest.approx(coefficient, rel=30 * temperature)
    assert abs(coefficient) > 0.5


@pytest.mark.parametrize(("epsilon", "share"), [(0.02, 0.946), (0.015, 0.962), (0.01, 0.976), (0.0075, 0.982)])
def test_noise_that_follows_the_curvature(epsilon, share):
    def diffusion(x):
        return epsilon * (6 - 2 * jnp.tanh((x + 0.5) / 0.05))

    exact = theory.mean_first_passage_time(double_well, diffusion, -1.0, 1.0)
    assert theory.kramers_time(double_well, diffusion, -1.0, 0.0).value / exact == pytest.approx(share, abs=6e-4)
    mirrored = theory.kramers_time(double_well, lambda x: diffusion(-x), 1.0, 0.0).value
    assert mirrored / exact == pytest.approx(share, abs=6e-4)


# Finite differences with Richardson extrapolation, from (-1, 0) to x = 0.7.
GATE = {6: (947.0, 967.2, 0.979), 8: (7022.6, 7146.5, 0.983), 10: (52022, 52806, 0.985), 12: (3.8515e5, 3.9019e5, 0.987)}


@pytest.mark.parametrize("barrier", GATE)
def test_eyring_kramers_counts_the_width_of_the_gate(barrier):
    exact, formula, ratio = GATE[barrier]
    time = theory.eyring_kramers_time(narrow_gate, 1 / barrier, [-1, 0], [0.2, 0.3])
    assert time.value == pytest.approx(formula, rel=1e-4)
    assert exact / time.value == pytest.approx(ratio, abs=6e-4)
    without_the_width = theory.kramers_time(double_well, 1 / barrier, -1.0, 0.0).value
    assert exact / without_the_width > 2


def test_rates_over_saddles_add():
    def three_wells(w):
        return (w[0] ** 2 - 1) ** 2 + (w[1] ** 2 - 1) ** 2

    one = theory.eyring_kramers_time(three_wells, 0.1, [-1, -1], [0, -1]).value
    two = theory.eyring_kramers_time(three_wells, 0.1, [-1, -1], [[0, -1], [-1, 0]]).value
    assert two == pytest.approx(one / 2, rel=1e-10)
    with pytest.raises(ValueError, match="saddles must differ"):
        theory.eyring_kramers_time(three_wells, 0.1, [-1, -1], [[0, -1], [0.01, -1]])


def test_a_preconditioner_is_a_change_of_variables():
    root = np.array([[1.0, 0.0], [0.6, 0.5]])
    preconditioned = theory.eyring_kramers_time(narrow_gate, 0.1, [-1, 0], [0, 0], preconditioner=root @ root.T)
    plain = theory.eyring_kramers_time(lambda w: narrow_gate(jnp.asarray(root) @ w), 0.1,
                                       np.linalg.solve(root, [-1, 0]), [0, 0])
    assert preconditioned.value == pytest.approx(plain.value, rel=1e-9)


@pytest.mark.parametrize("guess", [0.3, 0.5, 0.5773, 0.9, -0.8])
def test_the_saddle_is_found_from_afar(guess):
    assert theory.find_saddle(double_well, guess).position[0] == pytest.approx(0, abs=1e-9)


def test_a_curved_valley_leads_to_its_saddle():
    def valley(w):
        return (w[0] ** 2 - 1) ** 2 + 3 * (w[1] - 0.8 * (1 - w[0] ** 2)) ** 2

    saddle = theory.find_saddle(valley, [-0.6, 0.2])
    np.testing.assert_allclose(saddle.position, [0, 0.8], atol=1e-9)
    assert saddle.index == 1 and saddle.value == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.kramers_time(double_well, 0.1, -1.0, 1.0), "saddle must have 1 negative eigenvalue"),
        (lambda: theory.kramers_time(double_well, 0.1, 0.0, 0.0), "minimum must have 0 negative eigenvalue"),
        (lambda: theory.kramers_time(lambda x: x**3 - 3 * x + jnp.where(x > 0, 10.0, 0.0), 0.1, 1.0, -1.0),
         "saddle must be higher"),
        (lambda: theory.kramers_time(lambda x: x**4, 0.1, 0.0, 1.0), "minimum"),
        (lambda: theory.eyring_kramers_time(lambda w: jnp.sum((w**2 - 1) ** 2), 0.1, [-1, -1], [0, 0]), "but it has 2 at"),
        (lambda: theory.kramers_time(double_well, 0.0, -1.0, 0.0), "temperature must be finite and positive"),
        (lambda: theory.eyring_kramers_time(narrow_gate, 0.1, [-1, 0], [0, 0, 0]), "saddles must have shape"),
        (lambda: theory.kramers_time(double_well, lambda x: 0.1 + 0 * x, -1.0, 0.0, next_order=True), "next_order"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
