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
from sde_sgd.problems.metrics import accuracy, loss_below, on
from sde_sgd.problems.models import convolution, lenet, mlp, small_cnn
from sde_sgd.problems.network_data import standardised, with_data, with_label_noise
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
    "accuracy",
    "asymmetric_well",
    "convolution",
    "curved_valley",
    "diabetes",
    "digits",
    "double_well",
    "finite_sum",
    "from_flax",
    "least_squares",
    "lenet",
    "linear_regression",
    "load_npz",
    "logistic_regression",
    "loss_below",
    "matrix_factorization",
    "mlp",
    "narrowing_well",
    "on",
    "openml",
    "potential",
    "predict",
    "quadratic",
    "small_cnn",
    "softmax_regression",
    "standardised",
    "styblinski_tang",
    "tilted_well",
    "two_layer_network",
    "with_data",
    "with_label_noise",
]
