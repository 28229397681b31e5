"""Escape with momentum: kinetic Langevin dynamics against Langer's law."""

import jax

import sde_sgd as ss


def potential(x):
    return (x**2 - 1) ** 2


def in_next_basin(w):
    return w > 0.8


def test_the_rate_at_intermediate_friction_is_langers_and_not_the_overdamped_one():
    """At friction 1 and barrier 6 T the measured rate is 0.93 of the spatial formula, the next order in T."""
    temperature, friction = 1 / 6, 1.0
    process = ss.KineticLangevin(0.04, friction=friction, temperature=temperature)
    exits = ss.first_passage(ss.problems.double_well(), process, region=in_next_basin, num_lanes=2000,
                             max_steps=2_000_000, key=jax.random.key(0))
    measured = ss.analysis.escape_time(exits, relaxation=2.0)
    spatial = ss.theory.langer_time(potential, temperature, friction, -1.0, 0.0)
    assert spatial.valid
    ratio = spatial.value / measured.escape_time.item()
    assert abs(ratio - 0.93) < 0.06
    overdamped = ss.theory.kramers_time(potential, temperature, -1.0, 0.0).value * friction
    assert abs(overdamped / measured.escape_time.item() - 0.93) > 0.2
