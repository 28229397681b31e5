"""Closed forms in float64 on the host: what a simulation should find, without running it."""

from sde_sgd.theory.affine_gradients import AffineGradients, affine_gradients, least_squares, sampling_factor
from sde_sgd.theory.matched_ou import MatchedOU, matched_ou
from sde_sgd.theory.moment_maps import Moments
from sde_sgd.theory.moments import sgd_moments, svag_moments
from sde_sgd.theory.moments_momentum import momentum_sme_moments
from sde_sgd.theory.moments_sde import gradient_flow_moments, modified_flow_moments, sme_moments
from sde_sgd.theory.stability import max_mean_square_learning_rate, max_stable_learning_rate, mean_square_growth
from sde_sgd.theory.stationary import heavy_ball_velocity_covariance, sgd_stationary_covariance
from sde_sgd.theory.stationary_sde import (
    ou_stationary_covariance,
    sme2_corrected_stationary_covariance,
    sme2_stationary_covariance,
)

__all__ = [
    "AffineGradients",
    "MatchedOU",
    "Moments",
    "affine_gradients",
    "gradient_flow_moments",
    "heavy_ball_velocity_covariance",
    "least_squares",
    "matched_ou",
    "max_mean_square_learning_rate",
    "max_stable_learning_rate",
    "mean_square_growth",
    "modified_flow_moments",
    "momentum_sme_moments",
    "ou_stationary_covariance",
    "sampling_factor",
    "sgd_moments",
    "sgd_stationary_covariance",
    "sme2_corrected_stationary_covariance",
    "sme2_stationary_covariance",
    "sme_moments",
    "svag_moments",
]
