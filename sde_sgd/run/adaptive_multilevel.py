"""Adaptive multilevel splitting: levels that the particles themselves choose, without bias."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd.run.basin import Basin
from sde_sgd.run.excursions import Excursions, Stream
from sde_sgd.run.fixed_effort import pilot_levels
from sde_sgd.run.method import AbstractSplitting, Estimates
from sde_sgd.run.pace import Pace
from sde_sgd.run.places import Places, every_place, numbered, program_of, trials, usable_places
from sde_sgd.run.replica import Ladder, Replica, Shared, first_turn, move, probability, turn
from sde_sgd.run.shares import Shares, shard

_TILE = 32  # replicas that share a program; each holds all its particles
_LOOKS_PER_TURN = 8
_FIRST_TURNS = 64


class AdaptiveMultilevel(AbstractSplitting):
    r"""Adaptive multilevel splitting.

    Again and again the particles that came least far are killed, and each is replaced by a copy of another one from
    where that one first came further. With :math:`K_q` killed of n at the q-th selection,

    .. math:: \hat p = \prod_q \Bigl(1 - \frac{K_q}{n}\Bigr) \cdot \frac{\#\{\text{particles in the region}\}}{n}

    is unbiased for every n, every score and every k, provided that *all* particles that tie at the threshold are
    killed and that a copy sets out *strictly* above it. Both hold here.

    Parameters
    ----------
    num_particles
        Particles of a replica.
    kill
        k, how many are killed at least in one selection, below ``num_particles``.
    num_levels
        Into how many levels the scores between the rim and the region are cut. More than enough changes nothing.

    Notes
    -----
    Memory: replicas x particles x levels states. For networks `FixedEffort` needs far less.

    References
    ----------
    Brehier, Gazeau, Goudenege, Lelievre, Rousset (2016), Unbiasedness of some generalized adaptive multilevel splitting
    algorithms, Ann. Appl. Probab. 26.
    """

    num_particles: int = eqx.field(static=True, default=100)
    kill: int = eqx.field(static=True, kw_only=True, default=1)
    num_levels: int = eqx.field(static=True, kw_only=True, default=128)

    def __check_init__(self):
        checks.integer("num_particles", self.num_particles, minimum=2)
        checks.integer("kill", self.kill, 1, self.num_particles - 1)
        checks.integer("num_levels", self.num_levels, minimum=2)

    def estimate(
        self, excursions: Excursions, pool: PyTree, basin: Basin, num_replicas: int, stream: Stream
    ) -> Estimates:
        """Return the estimates from the states at the rim."""
        marks = pilot_levels(excursions, pool, basin, stream)
        places = np.linspace(0, len(marks), self.num_levels)
        scores = np.interp(places, np.arange(len(marks) + 1), [basin.rim, *marks])
        shared = Shared(
            problem=excursions.problem,
            motion=excursions.motion,
            ladder=Ladder(excursions.band(basin.core, np.inf), jnp.asarray(scores, excursions.score_dtype)),
            root=excursions.next_root(),
            kill=jnp.int32(self.kill),
            longest=jnp.uint32(min(excursions.max_steps * excursions.motion.looks_per_step, 2**32 - 1)),
        )
        by_replica = jax.tree.map(lambda leaf: leaf.reshape(num_replicas, -1, *leaf.shape[1:]), pool)
        places = _usable(shared, by_replica, self.num_particles, excursions)
        group = excursions.mesh.size * places.num_usable
        found = []
        for first in range(0, num_replicas, group):
            own = np.arange(first, min(first + group, num_replicas))
            found.append(_run_group(shared, by_replica, own, places, self.num_particles, excursions))
        return Estimates(np.concatenate(found), scores, None)


def _usable(shared: Shared, pool: PyTree, num_particles: int, excursions: Excursions) -> Places:
    """Return the places of a tile that compute the same bits."""
    mesh = excursions.mesh
    everywhere = Shares(mesh, every_place(_TILE), 1, num_lanes=1)
    shared = jax.device_put(shared, NamedSharding(mesh, PartitionSpec()))

    def tried() -> Iterator[Any]:
        example = jax.eval_shape(shared.problem.init, jax.random.key(0))
        for number, (turns, value) in enumerate(trials(example)):
            motion = eqx.tree_at(lambda motion: motion.process, shared.motion, numbered(shared.motion.process, value))
            fixed = dataclasses.replace(shared, motion=motion, root=jnp.zeros_like(shared.root))
            fixed, runs, pools = _placed(fixed, pool, np.full(1, number), np.zeros(1, int), everywhere)
            replicas = begin(fixed, pools, mesh=mesh, num_particles=num_particles)
            replicas = advance(fixed, replicas, pools, runs, np.int32(turns), mesh=mesh)
            yield replicas, finish(fixed, replicas, mesh=mesh)

    return usable_places(program_of((shared, pool), num_particles, mesh), _TILE, tried())


def _placed(
    shared: Shared, pool: PyTree, runs: np.ndarray, own: np.ndarray, shares: Shares
) -> tuple[Shared, Array, PyTree]:
    """Return what all replicas share, their numbers and the pools that are their own, on the devices."""
    pools = jax.tree.map(lambda leaf: shares.put(np.asarray(leaf)[own]), pool)
    shared = jax.device_put(shared, NamedSharding(shares.mesh, PartitionSpec()))
    return shared, shares.put(runs.astype(np.uint32)), pools


def _run_group(
    shared: Shared, pool: PyTree, own: np.ndarray, places: Places, num_particles: int, excursions: Excursions
) -> np.ndarray:
    """Take one tile of replicas a device from start to end; return their estimates."""
    mesh = excursions.mesh
    shares = Shares(mesh, places, 1, len(own))
    shared, runs, pools = _placed(shared, pool, own, own, shares)
    take = shares.take
    replicas = begin(shared, pools, mesh=mesh, num_particles=num_particles)
    pace = Pace(_FIRST_TURNS)
    before = turns = 0
    while not np.all(np.asarray(replicas.finished)):
        turns += pace.steps
        with pace.timed(pace.steps):
            replicas = advance(shared, replicas, pools, runs, np.int32(pace.steps), mesh=mesh)
            looks, overdue = take(replicas.looks).astype(np.int64), take(replicas.overdue)
        cut = int(np.sum(overdue))
        if cut:
            raise RuntimeError(f"the excursions of {cut} replicas reached max_steps={excursions.max_steps}, and what "
                               "is cut short is no estimate. Pass a larger max_steps.")
        excursions.report(float(looks.sum() - before))
        before = int(looks.sum())
    excursions.useful += before
    excursions.total += mesh.size * _TILE * turns * _LOOKS_PER_TURN
    return take(finish(shared, replicas, mesh=mesh)).astype(np.float64)


@functools.partial(jax.jit, static_argnames=("mesh", "num_particles"))
def begin(shared: Shared, pools: Any, *, mesh: Mesh, num_particles: int) -> Replica:
    """Return the replicas of every device before their first look."""

    def device(shared: Shared, pools: Any) -> Replica:
        return jax.vmap(lambda pool: first_turn(shared, pool, num_particles))(pools)

    return shard(device, mesh, (False, True))(shared, pools)


@functools.partial(jax.jit, static_argnames=("mesh",), donate_argnames=("replicas",))
def advance(
    shared: Shared, replicas: Replica, pools: Any, runs: Array, num_turns: Array, *, mesh: Mesh
) -> Replica:
    """Give every replica ``num_turns`` times a few looks and, where its particle has ended, the next one."""

    def device(shared: Shared, replicas: Replica, pools: Any, runs: Array, num_turns: Array) -> Replica:
        def looks(_: Any, replicas: Replica) -> Replica:
            return jax.vmap(lambda replica, run: move(shared, replica, run))(replicas, runs)

        def one(_: Any, replicas: Replica) -> Replica:
            replicas = jax.lax.fori_loop(0, _LOOKS_PER_TURN, looks, replicas)
            return jax.vmap(lambda *lane: turn(shared, *lane))(replicas, pools, runs)

        return jax.lax.fori_loop(0, num_turns, one, replicas)

    return shard(device, mesh, (False, True, True, True, False))(shared, replicas, pools, runs, num_turns)


@functools.partial(jax.jit, static_argnames=("mesh",))
def finish(shared: Shared, replicas: Replica, *, mesh: Mesh) -> Array:
    """Return the estimates of the replicas."""

    def device(shared: Shared, replicas: Replica) -> Array:
        return jax.vmap(lambda replica: probability(shared, replica))(replicas)

    return shard(device, mesh, (False, True))(shared, replicas)

