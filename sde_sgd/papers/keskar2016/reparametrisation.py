"""The objection of Dinh et al.: the same function with other weights, as sharp as one likes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from sde_sgd import curvature
from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.keskar2016.networks import digit_images
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import Problem, from_flax, mlp

FACTORS = (1, 20, 100)
_STEPS, _RATE = 400, 0.3
_ROUNDING = 1e-10
_SOURCE = "Dinh et al. (2017)"

Measure = Callable[[Problem, PyTree], Any]
_VARIANT: dict[str, Measure] = {
    "Keskar's sharpness": lambda problem, params: curvature.keskar_sharpness(problem, params).value,
    "largest eigenvalue": lambda problem, params: curvature.top_eigenvalue(problem, params, key=jax.random.key(0)),
    "SAM's sharpness": lambda problem, params: curvature.worst_case_sharpness(problem, params, curvature.Ball(0.05)),
}
_INVARIANT: dict[str, Measure] = {
    "training loss": lambda problem, params: problem.loss(params),
    "ASAM's sharpness": lambda problem, params: curvature.worst_case_sharpness(problem, params,
                                                                               curvature.AdaptiveBall(0.5)),
    "Keskar's without the + 1": lambda problem, params: curvature.worst_case_sharpness(
        problem, params, curvature.AdaptiveBox(0.01), num_steps=20),
    "largest eigenvalue in units of the weights": lambda problem, params: curvature.top_eigenvalue(
        problem, params, key=jax.random.key(0), operator=curvature.Adaptive()),
}


def reparametrisation(size: Size, key: Any) -> Findings:
    """Scale one layer of a ReLU network up and the next one down, in float64."""
    import xarray

    with jax.enable_x64(True):
        problem, params = _network(key)
        table = {name: [float(measure(problem, _rescaled(params, factor))) for factor in FACTORS]
                 for name, measure in {**_VARIANT, **_INVARIANT}.items()}
    data = xarray.Dataset({"value": (("measure", "factor"), np.array(list(table.values())))},
                          {"measure": list(table), "factor": list(FACTORS)})
    largest = FACTORS[-1]
    claims = [Claim(f"a hidden layer times {largest}, the next over {largest}: {name}, ratio", _SOURCE, 1.0,
                    table[name][-1] / table[name][0], relation=Relation.ABOVE) for name in _VARIANT]
    claims += [Claim(f"the same: {name}, ratio", _SOURCE, 1.0, table[name][-1] / table[name][0], tolerance=_ROUNDING)
               for name in _INVARIANT]
    growth = (FACTORS[2] / FACTORS[1]) ** 2
    eigenvalues = table["largest eigenvalue"]
    claims.append(Claim(f"largest eigenvalue at {FACTORS[2]} over that at {FACTORS[1]}, to 1 %", _SOURCE, growth,
                        eigenvalues[2] / eigenvalues[1], tolerance=0.01 * growth))
    return Findings(claims, data)


def _network(key: Any) -> tuple[Problem, PyTree]:
    """Return one hidden layer without normalisation on digits, after some gradient descent."""
    (pixels, labels), _ = digit_images(0.0)
    problem = from_flax(mlp((64,)), pixels.astype(np.float64), labels,
                        optax.softmax_cross_entropy_with_integer_labels)
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), problem.init(key))

    @jax.jit
    def descend(problem: Problem, params: PyTree) -> PyTree:
        return jax.lax.fori_loop(0, _STEPS, lambda _, now: jax.tree.map(
            lambda leaf, slope: leaf - _RATE * slope, now, problem.gradient(now)), params)

    return problem, descend(problem, start)


def _rescaled(params: PyTree, factor: float) -> PyTree:
    """Return the same function: the first layer times the factor, the weights of the second over it."""
    first, second = params["Dense_0"], params["Dense_1"]
    return {"Dense_0": jax.tree.map(lambda leaf: factor * leaf, first),
            "Dense_1": {"kernel": second["kernel"] / factor, "bias": second["bias"]}}
