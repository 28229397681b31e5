"""How a lane moves from one look to the next, and what is seen: the iterates alone, or the path between them too."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sde_sgd._core import checks
from sde_sgd._core.random import Draws
from sde_sgd.problems.problem import Problem
from sde_sgd.processes import AbstractDiffusion, AbstractProcess
from sde_sgd.run.targets import AbstractTarget, Regions


class AbstractMotion(eqx.Module):
    """A process with the moments at which its lanes are looked at."""

    process: eqx.AbstractVar[AbstractProcess]

    @property
    @abc.abstractmethod
    def looks_per_step(self) -> int:
        """How many looks one step has."""

    @property
    @abc.abstractmethod
    def steps_per_look(self) -> Any:
        """How many steps there are to a look, where a step has one."""

    @abc.abstractmethod
    def move(
        self, problem: Problem, target: Any, state: Any, draws: Draws, observation: Draws, look: Any
    ) -> tuple[Any, Array]:
        """Return the state at the next look and the region entered on the way.

        ``look`` counts the looks of the step that the draws belong to; ``observation`` are draws that the process does
        not use.
        """


class Iterates(AbstractMotion):
    """A lane seen after every step: the definition of the escape of a discrete process."""

    process: AbstractProcess

    @property
    def looks_per_step(self) -> int:
        """One."""
        return 1

    @property
    def steps_per_look(self) -> int:
        """One."""
        return 1

    def move(
        self, problem: Problem, target: AbstractTarget, state: Any, draws: Draws, observation: Draws, look: Any
    ) -> tuple[Any, Array]:
        """Return the state after one step and the region that it lies in."""
        new = computed_once(self.process.step(problem, state, draws))
        return new, target.code(problem, new.params)


class Spaced(AbstractMotion):
    """A lane seen after every so many steps, for regions that cost more to look at than a step."""

    process: AbstractProcess
    every: Any

    @property
    def looks_per_step(self) -> int:
        """One look belongs to one step, the last of those that it follows."""
        return 1

    @property
    def steps_per_look(self) -> Any:
        """The steps between two looks."""
        return self.every

    def move(
        self, problem: Problem, target: AbstractTarget, state: Any, draws: Draws, observation: Draws, look: Any
    ) -> tuple[Any, Array]:
        """Return the state after the steps up to the next look and the region that it lies in."""

        def step(index: Array, now: Any) -> Any:
            return computed_once(self.process.step(problem, now, Draws(draws.key, draws.step + index)))

        new = jax.lax.fori_loop(jnp.uint32(0), jnp.asarray(self.every, jnp.uint32), step, state)
        return new, target.code(problem, new.params)


class Continuous(AbstractMotion):
    r"""The path of a diffusion, seen after every substep and, by a Brownian bridge, in between.

    A path with levels :math:`b, b' < 0` at the ends of a substep was positive on the way with probability
    :math:`\exp(-2 b b' / v)`, where v is the variance of the level's change: exact for constant drift and noise and a
    linear level, with an error O(dt) for the mean exit time in general.

    References
    ----------
    Gobet, Menozzi (2010), Stopped diffusion processes: boundary corrections and overshoot, Stochastic Process. Appl.
    """

    process: AbstractDiffusion

    @property
    def looks_per_step(self) -> int:
        """The number of substeps."""
        return self.process.substeps

    @property
    def steps_per_look(self) -> int:
        """One."""
        return 1

    def move(
        self, problem: Problem, target: Regions, state: Any, draws: Draws, observation: Draws, look: Any
    ) -> tuple[Any, Array]:
        """Return the state after one substep and the region entered at its end or before."""
        new = computed_once(self.process.substep(problem, state, draws, look))
        entered = target.code(problem, new.params)
        first_slot = jnp.asarray(look, jnp.uint32) * jnp.uint32(len(target.regions))
        uniforms = observation.uniforms(len(target.regions), first_slot)
        ends = target.levels(problem, new.params)
        for index, ((before, slope), after) in enumerate(zip(target.slopes(problem, state.params), ends, strict=True)):
            variance = self.process.variance(problem, state, slope)
            # No noise along the level, no hidden crossing; from the boundary itself the path crosses at once.
            safe = jnp.where(variance > 0, variance, 1.0)
            missed = jnp.where((before <= 0) & (after <= 0), jnp.exp(-2 * before * after / safe), 0.0)
            crossed = (variance > 0) & (uniforms[index] < missed)
            entered = jnp.where((entered == 0) & crossed, jnp.int32(index + 1), entered)
        return new, entered


def motion(process: AbstractProcess, observe: str, look_every: int) -> AbstractMotion:
    """Return how ``process`` is observed; raise unless ``observe`` and ``look_every`` fit it."""
    if observe not in ("iterates", "continuous"):
        raise ValueError(f"observe must be 'iterates' or 'continuous', got {observe!r}.")
    checks.integer("look_every", look_every, maximum=2**31)
    if observe == "iterates":
        return Iterates(process) if look_every == 1 else Spaced(process, np.uint32(look_every))
    if look_every != 1:
        raise ValueError(f"look_every must be 1 with observe='continuous', got {look_every}: a path that is looked at "
                         "now and then is not observed continuously. Pass observe='iterates'.")
    if not isinstance(process, AbstractDiffusion):
        raise TypeError(f"observe='continuous' does not fit {type(process).__name__}: a discrete process has no path "
                        "between its iterates that could cross a boundary, its escape is an event of the iterates; and "
                        "of exact transitions the path is not known. Pass observe='iterates', or a process that is "
                        "integrated in substeps.")
    return Continuous(process)


def computed_once(state: Any) -> Any:
    """Return the state behind a barrier: XLA would otherwise compute a step again for everything that looks at it."""
    return eqx.tree_at(lambda state: state.params, state, jax.lax.optimization_barrier(state.params))
