"""Second-order facts of a problem: the covariance of its gradient noise. Imports floors 0 and 1 only."""

from sde_sgd.curvature.covariance import noise_covariance, noise_trace

__all__ = ["noise_covariance", "noise_trace"]
