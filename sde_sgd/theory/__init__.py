"""Closed forms in float64 on the host: what a simulation should find, without running it."""

from sde_sgd.theory.adaptive import rmsprop_stationary_variance, sign_sgd_drift, sign_sgd_stationary_variance
from sde_sgd.theory.affine_gradients import AbstractAffineGradients, AffineGradients, affine_gradients, sampling_factor
from sde_sgd.theory.alignment import (
    directional_alignment,
    loss_alignment,
    max_stable_hessian_norm,
    online_noise_covariance,
)
from sde_sgd.theory.balance import (
    ProductMoments,
    balance_contraction,
    balance_rate,
    critical_temperature,
    gaussian_product_moments,
    product_moments,
)
from sde_sgd.theory.balanced_law import BalancedLaw, GammaLaw, balanced_gamma_law, balanced_product_law
from sde_sgd.theory.chain import Loop, SGDChain
from sde_sgd.theory.critical_points import CriticalPoint, find_minimum, find_saddle
from sde_sgd.theory.equilibrium import occupation, relaxation_rate, stationary_density
from sde_sgd.theory.escape_directions import EscapeDirection, escape_direction, online_escape_direction
from sde_sgd.theory.evidence import log_evidence
from sde_sgd.theory.finite_rate import finite_rate_factor, monitoring_shift
from sde_sgd.theory.first_passage import (
    exit_probability,
    first_passage_moments,
    mean_exit_time,
    mean_first_passage_time,
)
from sde_sgd.theory.heavy_escape import levy_exit_time, power_law_escape_time
from sde_sgd.theory.high_dimensional import high_dimensional_covariance, max_high_dimensional_learning_rate
from sde_sgd.theory.kramers import eyring_kramers_time, kramers_correction, kramers_time
from sde_sgd.theory.krylov import ReducedMinimum, krylov_minimum
from sde_sgd.theory.label_noise import (
    label_noise_covariance,
    label_noise_sme_covariance,
    max_online_learning_rate,
    natural_gradient_covariance,
)
from sde_sgd.theory.large_deviations import escape_action, large_deviation_time, skewness_effect
from sde_sgd.theory.least_squares import LeastSquares, least_squares
from sde_sgd.theory.limit_covariance import sgd_limit_covariance, sme_limit_covariance
from sde_sgd.theory.loss_level import LevelExit, level_action, level_escape_time, loss_growth
from sde_sgd.theory.matched_ou import MatchedOU, matched_ou
from sde_sgd.theory.minima import minimum_covariance, minimum_noise_covariance
from sde_sgd.theory.moment_maps import Moments
from sde_sgd.theory.moment_thresholds import max_moment_learning_rate
from sde_sgd.theory.moments import sgd_moments, svag_moments
from sde_sgd.theory.moments_momentum import momentum_sme_moments
from sde_sgd.theory.moments_sde import gradient_flow_moments, modified_flow_moments, sme_moments
from sde_sgd.theory.multiplicative import batch_curvatures, convergent_learning_rates, lyapunov_exponent
from sde_sgd.theory.noise_equilibrium import TwoLayerWeights, charge_change, noise_equilibrium, noise_imbalance
from sde_sgd.theory.noise_laws import (
    NoiseLaw,
    empirical_noise,
    exponential_noise,
    gamma_noise,
    gaussian_noise,
    laplace_noise,
    uniform_noise,
)
from sde_sgd.theory.noise_to_signal import NoiseToSignal, noise_to_signal
from sde_sgd.theory.noisy_quadratic import (
    NoisyQuadratic,
    QuadraticOptimizer,
    noisy_quadratic,
    noisy_quadratic_loss,
    noisy_quadratic_steps,
)
from sde_sgd.theory.online_regression import RegressionFluctuation, input_noise_regression, online_regression
from sde_sgd.theory.prediction import Prediction
from sde_sgd.theory.quasi_potential import MinimumAction, quasi_potential
from sde_sgd.theory.resetting import optimal_resetting_rate, resetting_first_passage_time
from sde_sgd.theory.risk import homogenized_risk, homogenized_risk_limit, max_homogenized_learning_rate
from sde_sgd.theory.scaling import (
    AdaptiveHyperparameters,
    constant_fluctuation_learning_rate,
    label_noise_fluctuation,
    linear_scaling,
    square_root_scaling,
)
from sde_sgd.theory.shuffled_loss import shuffled_modified_loss
from sde_sgd.theory.shuffling import (
    epoch_crossover_curvature,
    epoch_noise_autocovariance,
    epoch_noise_spectrum,
    epoch_phase_variance,
    epoch_stationary_variance,
)
from sde_sgd.theory.stability import max_mean_square_learning_rate, max_stable_learning_rate, mean_square_growth
from sde_sgd.theory.stationary import heavy_ball_velocity_covariance, sgd_stationary_covariance
from sde_sgd.theory.stationary_sde import (
    ou_stationary_covariance,
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
from sde_sgd.theory.temperature import optimal_learning_rate, sgd_noise_scale, sgd_temperature
from sde_sgd.theory.underdamped import (
    KineticEquivalent,
    energy_diffusion_time,
    heavy_ball_equivalent,
    langer_time,
    melnikov_meshkov_time,
)
from sde_sgd.theory.weight_decay import WeightDecay, optimal_weight_decay

__all__ = [
    "AbstractAffineGradients",
    "AdaptiveHyperparameters",
    "AffineGradients",
    "BalancedLaw",
    "CriticalPoint",
    "EscapeDirection",
    "GammaLaw",
    "KineticEquivalent",
    "LeastSquares",
    "LevelExit",
    "Loop",
    "MatchedOU",
    "MinimumAction",
    "Moments",
    "NoiseLaw",
    "NoiseToSignal",
    "NoisyQuadratic",
    "Prediction",
    "ProductMoments",
    "QuadraticOptimizer",
    "ReducedMinimum",
    "RegressionFluctuation",
    "SGDChain",
    "StudentLaw",
    "TwoLayerWeights",
    "WeightDecay",
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
    "directional_alignment",
    "empirical_noise",
    "empirical_tail_exponent",
    "energy_diffusion_time",
    "epoch_crossover_curvature",
    "epoch_noise_autocovariance",
    "epoch_noise_spectrum",
    "epoch_phase_variance",
    "epoch_stationary_variance",
    "escape_action",
    "escape_direction",
    "exit_probability",
    "exponential_noise",
    "eyring_kramers_time",
    "find_minimum",
    "find_saddle",
    "finite_rate_factor",
    "first_passage_moments",
    "gamma_noise",
    "gaussian_noise",
    "gaussian_product_moments",
    "gradient_flow_moments",
    "heavy_ball_equivalent",
    "heavy_ball_velocity_covariance",
    "high_dimensional_covariance",
    "homogenized_risk",
    "homogenized_risk_limit",
    "input_noise_regression",
    "kramers_correction",
    "kramers_time",
    "krylov_minimum",
    "label_noise_covariance",
    "label_noise_fluctuation",
    "label_noise_sme_covariance",
    "langer_time",
    "laplace_noise",
    "large_deviation_time",
    "least_squares",
    "level_action",
    "level_escape_time",
    "levy_exit_time",
    "linear_scaling",
    "log_evidence",
    "loss_alignment",
    "loss_growth",
    "lyapunov_exponent",
    "matched_ou",
    "matched_student_law",
    "max_almost_sure_learning_rate",
    "max_high_dimensional_learning_rate",
    "max_homogenized_learning_rate",
    "max_mean_square_learning_rate",
    "max_moment_learning_rate",
    "max_online_learning_rate",
    "max_stable_hessian_norm",
    "max_stable_learning_rate",
    "mean_exit_time",
    "mean_first_passage_time",
    "mean_square_growth",
    "melnikov_meshkov_time",
    "minimum_covariance",
    "minimum_noise_covariance",
    "modified_flow_moments",
    "momentum_sme_moments",
    "monitoring_shift",
    "natural_gradient_covariance",
    "noise_equilibrium",
    "noise_imbalance",
    "noise_to_signal",
    "noisy_quadratic",
    "noisy_quadratic_loss",
    "noisy_quadratic_steps",
    "occupation",
    "online_escape_direction",
    "online_noise_covariance",
    "online_regression",
    "optimal_learning_rate",
    "optimal_resetting_rate",
    "optimal_weight_decay",
    "ou_stationary_covariance",
    "power_law_escape_time",
    "product_moments",
    "quasi_potential",
    "relaxation_rate",
    "resetting_first_passage_time",
    "rmsprop_stationary_variance",
    "sampling_factor",
    "sde_student_law",
    "sde_tail_exponent",
    "sgd_limit_covariance",
    "sgd_moments",
    "sgd_noise_scale",
    "sgd_stationary_covariance",
    "sgd_temperature",
    "shuffled_modified_loss",
    "sign_sgd_drift",
    "sign_sgd_stationary_variance",
    "skewness_effect",
    "sme2_corrected_stationary_covariance",
    "sme2_stationary_covariance",
    "sme_limit_covariance",
    "sme_moments",
    "square_root_scaling",
    "stationary_density",
    "svag_moments",
    "tail_exponent",
    "uniform_noise",
]
