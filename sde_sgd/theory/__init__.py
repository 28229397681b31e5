"""Closed forms in float64 on the host: what a simulation should find, without running it."""

from sde_sgd.theory.adaptive import rmsprop_stationary_variance, sign_sgd_drift, sign_sgd_stationary_variance
from sde_sgd.theory.affine_gradients import AffineGradients, affine_gradients, least_squares, sampling_factor
from sde_sgd.theory.balance import (
    ProductMoments,
    balance_contraction,
    balance_rate,
    critical_temperature,
    gaussian_product_moments,
    product_moments,
)
from sde_sgd.theory.balanced_law import BalancedLaw, GammaLaw, balanced_gamma_law, balanced_product_law
from sde_sgd.theory.moment_maps import Moments
from sde_sgd.theory.moments import sgd_moments, svag_moments
from sde_sgd.theory.moments_momentum import momentum_sme_moments
from sde_sgd.theory.moments_sde import gradient_flow_moments, modified_flow_moments, sme_moments
from sde_sgd.theory.multiplicative import batch_curvatures, convergent_learning_rates, lyapunov_exponent
from sde_sgd.theory.noise_equilibrium import TwoLayerWeights, charge_change, noise_equilibrium, noise_imbalance
from sde_sgd.theory.resetting import optimal_resetting_rate, resetting_first_passage_time
from sde_sgd.theory.scaling import (
    AdaptiveHyperparameters,
    constant_fluctuation_learning_rate,
    label_noise_fluctuation,
    linear_scaling,
    square_root_scaling,
)
from sde_sgd.theory.shuffling import (
    epoch_crossover_curvature,
    epoch_noise_autocovariance,
    epoch_noise_spectrum,
    epoch_phase_variance,
    epoch_stationary_variance,
    shuffled_modified_loss,
)
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
from sde_sgd.theory.student import StudentLaw, decoupled_student_law, matched_student_law, sde_student_law
from sde_sgd.theory.tails import (
    empirical_tail_exponent,
    max_almost_sure_learning_rate,
    sde_tail_exponent,
    tail_exponent,
)

__all__ = [
    "AdaptiveHyperparameters",
    "AffineGradients",
    "BalancedLaw",
    "GammaLaw",
    "MatchedOU",
    "Moments",
    "ProductMoments",
    "StudentLaw",
    "TwoLayerWeights",
    "affine_gradients",
    "balance_contraction",
    "balance_rate",
    "balanced_gamma_law",
    "balanced_product_law",
    "batch_curvatures",
    "charge_change",
    "constant_fluctuation_learning_rate",
    "convergent_learning_rates",
    "critical_temperature",
    "decoupled_student_law",
    "empirical_tail_exponent",
    "epoch_crossover_curvature",
    "epoch_noise_autocovariance",
    "epoch_noise_spectrum",
    "epoch_phase_variance",
    "epoch_stationary_variance",
    "gaussian_product_moments",
    "gradient_flow_moments",
    "heavy_ball_velocity_covariance",
    "label_noise_fluctuation",
    "least_squares",
    "linear_scaling",
    "lyapunov_exponent",
    "matched_ou",
    "matched_student_law",
    "max_almost_sure_learning_rate",
    "max_mean_square_learning_rate",
    "max_stable_learning_rate",
    "mean_square_growth",
    "modified_flow_moments",
    "momentum_sme_moments",
    "noise_equilibrium",
    "noise_imbalance",
    "optimal_resetting_rate",
    "ou_stationary_covariance",
    "product_moments",
    "resetting_first_passage_time",
    "rmsprop_stationary_variance",
    "sampling_factor",
    "sde_student_law",
    "sde_tail_exponent",
    "sgd_moments",
    "sgd_stationary_covariance",
    "shuffled_modified_loss",
    "sign_sgd_drift",
    "sign_sgd_stationary_variance",
    "sme2_corrected_stationary_covariance",
    "sme2_stationary_covariance",
    "sme_moments",
    "square_root_scaling",
    "svag_moments",
    "tail_exponent",
]
