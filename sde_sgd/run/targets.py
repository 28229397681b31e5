"""What a lane may arrive at: one or several regions of params, told apart by their number."""

import abc
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sde_sgd._core.functions import as_pytree, takes_problem
from sde_sgd.problems.problem import Problem

# A function of the params, or of the problem and the params.
Region = Callable[..., Array]


def level_of(region: Region, problem: Problem, params: PyTree) -> Array:
    """Return the value of a region or of a score at the params."""
    return jnp.asarray(region(problem, params) if takes_problem(region) else region(params))


class AbstractTarget(eqx.Module):
    """Where lanes stop."""

    @abc.abstractmethod
    def code(self, problem: Problem, params: PyTree) -> Array:
        """Return 0 outside, else the number of the region entered, from 1; int32."""


class Regions(AbstractTarget):
    """Regions given by functions: a truth value, or a level that is positive inside."""

    regions: tuple[Region, ...] = eqx.field(converter=lambda regions: tuple(map(as_pytree, regions)))

    def code(self, problem: Problem, params: PyTree) -> Array:
        """Return the number of the first region that holds the params."""
        code = jnp.int32(0)
        for number, region in reversed(list(enumerate(self.regions, start=1))):
            value = level_of(region, problem, params)
            code = jnp.where(value if value.dtype == bool else value > 0, jnp.int32(number), code)
        return code

    def levels(self, problem: Problem, params: PyTree) -> list[Array]:
        """Return the level of every region."""
        return [level_of(region, problem, params) for region in self.regions]

    def slopes(self, problem: Problem, params: PyTree) -> list[tuple[Array, PyTree]]:
        """Return the level of every region and its gradient."""
        return [jax.value_and_grad(level_of, argnums=2)(region, problem, params) for region in self.regions]


class Band(AbstractTarget):
    """A region, and the two sides of a band of scores: high from ``upper`` on, low down to ``lower``.

    The edges are numbers, so that one program serves all levels of a splitting.
    """

    region: Region = eqx.field(converter=as_pytree)
    score: Region = eqx.field(converter=as_pytree)
    lower: Array
    upper: Array

    def unbounded(self) -> "Band":
        """Return the band of all scores."""
        ends = (jnp.full_like(edge, bound) for edge, bound in ((self.lower, -jnp.inf), (self.upper, jnp.inf)))
        return Band(self.region, self.score, *ends)

    def code(self, problem: Problem, params: PyTree) -> Array:
        """Return `REGION`, else `HIGH`, else `LOW`."""
        score = level_of(self.score, problem, params)
        edge = jnp.where(score >= self.upper, HIGH, jnp.where(score <= self.lower, LOW, 0)).astype(jnp.int32)
        return jnp.where(Regions((self.region,)).code(problem, params) > 0, jnp.int32(REGION), edge)


REGION, HIGH, LOW = 1, 2, 3


def named_regions(region: Any) -> dict[str, Region]:
    """Return the regions by name; raise unless they are functions."""
    named = dict(region) if isinstance(region, Mapping) else {"target": region}
    if not named:
        raise ValueError("region is an empty dict. Pass a function of (params) or of (problem, params), or a dict of "
                         "them by name.")
    for name, function in named.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a region cannot be called {name!r}. Pass a name.")
        if not callable(function):
            raise TypeError("region must be a function of the params, or of (problem, params), or a dict of them by "
                            f"name, got {function!r} for {name!r}.")
    return named


def check_regions(named: Mapping[str, Region], problem: Problem, *, need_levels: bool) -> None:
    """Raise unless every region gives one truth value or one number that depends on the params."""
    params = jax.eval_shape(problem.init, jax.random.key(0))
    for name, region in named.items():
        where = f"region {name!r}"
        try:
            trace = jax.make_jaxpr(lambda params, problem, r=region: level_of(r, problem, params), return_shape=True)
            closed, value = trace(params, problem)
        except Exception as error:
            raise ValueError(f"{where} could not be evaluated at the params of problem.init(key): {error}") from error
        if value.shape != ():
            raise ValueError(f"{where} must return one truth value or number, got shape {value.shape}. Reduce it, for "
                             "example with jnp.all.")
        is_level = jnp.issubdtype(value.dtype, jnp.floating)
        if value.dtype != bool and not is_level:
            raise TypeError(f"{where} must return a bool, or a floating-point level that is positive inside, got "
                            f"{value.dtype}.")
        if need_levels and not is_level:
            raise TypeError(f"{where} must return a level, a smooth number that is positive inside, to be observed "
                            "continuously: the probability of a crossing between two points follows from it. Pass for "
                            "example lambda w: w - 0.5 in place of lambda w: w > 0.5.")
        if not _depends_on(closed.jaxpr, len(jax.tree.leaves(params))):
            raise ValueError(f"{where} does not depend on the params: it is empty or everywhere. Pass a function of "
                             "the params.")


def _depends_on(jaxpr: Any, num_inputs: int) -> bool:
    """Return whether the output of a jaxpr is reached from its first inputs."""
    reached = {id(variable) for variable in jaxpr.invars[:num_inputs]}
    for equation in jaxpr.eqns:
        if any(id(variable) in reached for variable in equation.invars):
            reached |= {id(variable) for variable in equation.outvars}
    return any(id(variable) in reached for variable in jaxpr.outvars)
