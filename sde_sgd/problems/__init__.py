"""Floor 1: what is minimised."""

from sde_sgd.problems.datasets import diabetes, digits, load_npz, openml
from sde_sgd.problems.landscape import potential
from sde_sgd.problems.networks import from_flax, predict
from sde_sgd.problems.problem import Batch, Problem
from sde_sgd.problems.regression import (
    least_squares,
    linear_regression,
    logistic_regression,
    quadratic,
    softmax_regression,
)

__all__ = [
    "Batch",
    "Problem",
    "diabetes",
    "digits",
    "from_flax",
    "least_squares",
    "linear_regression",
    "load_npz",
    "logistic_regression",
    "openml",
    "potential",
    "predict",
    "quadratic",
    "softmax_regression",
]
