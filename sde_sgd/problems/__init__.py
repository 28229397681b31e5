"""Floor 1: what is minimised."""

from sde_sgd.problems.datasets import diabetes, digits, load_npz, openml
from sde_sgd.problems.factorization import matrix_factorization, two_layer_network
from sde_sgd.problems.finite_sum import (
    AbstractNoiseLaw,
    ExponentialLaw,
    LaplaceLaw,
    NormalLaw,
    UniformLaw,
    finite_sum,
)
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
from sde_sgd.problems.valleys import curved_valley, narrowing_well
from sde_sgd.problems.wells import asymmetric_well, double_well, styblinski_tang, tilted_well

__all__ = [
    "AbstractNoiseLaw",
    "Batch",
    "ExponentialLaw",
    "LaplaceLaw",
    "NormalLaw",
    "Problem",
    "UniformLaw",
    "asymmetric_well",
    "curved_valley",
    "diabetes",
    "digits",
    "double_well",
    "finite_sum",
    "from_flax",
    "least_squares",
    "linear_regression",
    "load_npz",
    "logistic_regression",
    "matrix_factorization",
    "narrowing_well",
    "openml",
    "potential",
    "predict",
    "quadratic",
    "softmax_regression",
    "styblinski_tang",
    "tilted_well",
    "two_layer_network",
]
