"""Second-order facts of a problem: curvature, sharpness, gradient noise, landscape. Imports floors 0 and 1 only."""

from sde_sgd.curvature.alignment import noise_alignment, subspace_overlap
from sde_sgd.curvature.average_case import average_sharpness
from sde_sgd.curvature.covariance import noise_covariance, noise_trace
from sde_sgd.curvature.dense import dense_matrix
from sde_sgd.curvature.directions import filter_normalised_direction, principal_plane
from sde_sgd.curvature.eigenvalues import top_eigenpairs, top_eigenvalue
from sde_sgd.curvature.fisher import empirical_fisher_trace, fisher_trace
from sde_sgd.curvature.keskar import keskar_sharpness, keskar_sharpness_as_published
from sde_sgd.curvature.landscape import curved_path, interpolate, linear_path, loss_plane, loss_slice
from sde_sgd.curvature.noise_scale import critical_batch_size, gradient_noise_scale, sampled_noise_scale
from sde_sgd.curvature.operators import Adaptive, GaussNewton, Hessian, NoiseCovariance
from sde_sgd.curvature.regions import AdaptiveBall, AdaptiveBox, Ball, KeskarBox
from sde_sgd.curvature.spectrum import spectral_density
from sde_sgd.curvature.trace import trace
from sde_sgd.curvature.worst_case import worst_case_sharpness

__all__ = [
    "Adaptive",
    "AdaptiveBall",
    "AdaptiveBox",
    "Ball",
    "GaussNewton",
    "Hessian",
    "KeskarBox",
    "NoiseCovariance",
    "average_sharpness",
    "critical_batch_size",
    "curved_path",
    "dense_matrix",
    "empirical_fisher_trace",
    "filter_normalised_direction",
    "fisher_trace",
    "gradient_noise_scale",
    "interpolate",
    "keskar_sharpness",
    "keskar_sharpness_as_published",
    "linear_path",
    "loss_plane",
    "loss_slice",
    "noise_alignment",
    "noise_covariance",
    "noise_trace",
    "principal_plane",
    "sampled_noise_scale",
    "spectral_density",
    "subspace_overlap",
    "top_eigenpairs",
    "top_eigenvalue",
    "trace",
    "worst_case_sharpness",
]
