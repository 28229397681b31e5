"""Closed forms in float64 on the host: what a simulation should find, without running it."""

from sde_sgd.theory.affine_gradients import AffineGradients, affine_gradients, least_squares, sampling_factor
from sde_sgd.theory.chain import Loop, SGDChain
from sde_sgd.theory.critical_points import CriticalPoint, find_minimum, find_saddle
from sde_sgd.theory.equilibrium import occupation, relaxation_rate, stationary_density
from sde_sgd.theory.finite_rate import finite_rate_factor, monitoring_shift
from sde_sgd.theory.first_passage import (
    exit_probability,
    first_passage_moments,
    mean_exit_time,
    mean_first_passage_time,
)
from sde_sgd.theory.heavy_escape import levy_exit_time, power_law_escape_time
from sde_sgd.theory.kramers import eyring_kramers_time, kramers_correction, kramers_time
from sde_sgd.theory.large_deviations import escape_action, large_deviation_time, skewness_effect
from sde_sgd.theory.loss_level import LevelExit, level_action, level_escape_time, loss_growth
from sde_sgd.theory.moment_maps import Moments
from sde_sgd.theory.moments import sgd_moments, svag_moments
from sde_sgd.theory.moments_momentum import momentum_sme_moments
from sde_sgd.theory.moments_sde import gradient_flow_moments, modified_flow_moments, sme_moments
from sde_sgd.theory.noise_laws import (
    NoiseLaw,
    empirical_noise,
    exponential_noise,
    gaussian_noise,
    laplace_noise,
    uniform_noise,
)
from sde_sgd.theory.prediction import Prediction
from sde_sgd.theory.quasi_potential import MinimumAction, quasi_potential
from sde_sgd.theory.stability import max_mean_square_learning_rate, max_stable_learning_rate, mean_square_growth
from sde_sgd.theory.stationary import (
    MatchedOU,
    heavy_ball_velocity_covariance,
    matched_ou,
    ou_stationary_covariance,
    sgd_stationary_covariance,
    sme2_corrected_stationary_covariance,
    sme2_stationary_covariance,
)
from sde_sgd.theory.underdamped import (
    KineticEquivalent,
    energy_diffusion_time,
    heavy_ball_equivalent,
    langer_time,
    melnikov_meshkov_time,
)

__all__ = [
    "AffineGradients",
    "CriticalPoint",
    "KineticEquivalent",
    "LevelExit",
    "Loop",
    "MatchedOU",
    "MinimumAction",
    "Moments",
    "NoiseLaw",
    "Prediction",
    "SGDChain",
    "affine_gradients",
    "empirical_noise",
    "energy_diffusion_time",
    "escape_action",
    "exit_probability",
    "exponential_noise",
    "eyring_kramers_time",
    "find_minimum",
    "find_saddle",
    "finite_rate_factor",
    "first_passage_moments",
    "gaussian_noise",
    "gradient_flow_moments",
    "heavy_ball_equivalent",
    "heavy_ball_velocity_covariance",
    "kramers_correction",
    "kramers_time",
    "langer_time",
    "laplace_noise",
    "large_deviation_time",
    "least_squares",
    "level_action",
    "level_escape_time",
    "levy_exit_time",
    "loss_growth",
    "matched_ou",
    "max_mean_square_learning_rate",
    "max_stable_learning_rate",
    "mean_exit_time",
    "mean_first_passage_time",
    "mean_square_growth",
    "melnikov_meshkov_time",
    "modified_flow_moments",
    "momentum_sme_moments",
    "monitoring_shift",
    "occupation",
    "ou_stationary_covariance",
    "power_law_escape_time",
    "quasi_potential",
    "relaxation_rate",
    "sampling_factor",
    "sgd_moments",
    "sgd_stationary_covariance",
    "skewness_effect",
    "sme2_corrected_stationary_covariance",
    "sme2_stationary_covariance",
    "sme_moments",
    "stationary_density",
    "svag_moments",
    "uniform_noise",
]
