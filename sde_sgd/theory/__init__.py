"""Closed forms in float64 on the host: what a simulation should find, without running it."""

from sde_sgd.theory.affine_gradients import (
    AbstractAffineGradients,
    AffineGradients,
    affine_gradients,
    sampling_factor,
)
from sde_sgd.theory.alignment import (
    directional_alignment,
    loss_alignment,
    max_stable_hessian_norm,
    online_noise_covariance,
)
from sde_sgd.theory.escape_directions import EscapeDirection, escape_direction, online_escape_direction
from sde_sgd.theory.high_dimensional import high_dimensional_covariance, max_high_dimensional_learning_rate
from sde_sgd.theory.krylov import ReducedMinimum, krylov_minimum
from sde_sgd.theory.label_noise import (
    label_noise_covariance,
    label_noise_sme_covariance,
    max_online_learning_rate,
    natural_gradient_covariance,
)
from sde_sgd.theory.least_squares import LeastSquares, least_squares
from sde_sgd.theory.limit_covariance import sgd_limit_covariance, sme_limit_covariance
from sde_sgd.theory.matched_ou import MatchedOU, matched_ou
from sde_sgd.theory.minima import minimum_covariance, minimum_noise_covariance
from sde_sgd.theory.moment_maps import Moments
from sde_sgd.theory.moment_thresholds import max_moment_learning_rate
from sde_sgd.theory.moments import sgd_moments, svag_moments
from sde_sgd.theory.moments_momentum import momentum_sme_moments
from sde_sgd.theory.moments_sde import gradient_flow_moments, modified_flow_moments, sme_moments
from sde_sgd.theory.online_regression import RegressionFluctuation, input_noise_regression, online_regression
from sde_sgd.theory.stability import max_mean_square_learning_rate, max_stable_learning_rate, mean_square_growth
from sde_sgd.theory.stationary import heavy_ball_velocity_covariance, sgd_stationary_covariance
from sde_sgd.theory.stationary_sde import (
    ou_stationary_covariance,
    sme2_corrected_stationary_covariance,
    sme2_stationary_covariance,
)
from sde_sgd.theory.weight_decay import WeightDecay, optimal_weight_decay

__all__ = [
    "AbstractAffineGradients",
    "AffineGradients",
    "EscapeDirection",
    "LeastSquares",
    "MatchedOU",
    "Moments",
    "ReducedMinimum",
    "RegressionFluctuation",
    "WeightDecay",
    "affine_gradients",
    "directional_alignment",
    "escape_direction",
    "gradient_flow_moments",
    "heavy_ball_velocity_covariance",
    "high_dimensional_covariance",
    "input_noise_regression",
    "krylov_minimum",
    "label_noise_covariance",
    "label_noise_sme_covariance",
    "least_squares",
    "loss_alignment",
    "matched_ou",
    "max_high_dimensional_learning_rate",
    "max_mean_square_learning_rate",
    "max_moment_learning_rate",
    "max_online_learning_rate",
    "max_stable_hessian_norm",
    "max_stable_learning_rate",
    "mean_square_growth",
    "minimum_covariance",
    "minimum_noise_covariance",
    "modified_flow_moments",
    "momentum_sme_moments",
    "natural_gradient_covariance",
    "online_escape_direction",
    "online_noise_covariance",
    "online_regression",
    "optimal_weight_decay",
    "ou_stationary_covariance",
    "sampling_factor",
    "sgd_limit_covariance",
    "sgd_moments",
    "sgd_stationary_covariance",
    "sme2_corrected_stationary_covariance",
    "sme2_stationary_covariance",
    "sme_limit_covariance",
    "sme_moments",
    "svag_moments",
]
