"""Second-order methods (Sec. 6.4) and the linear scaling rule (Sec. 6.5)."""

from typing import Any

import jax
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData, stationary
from sde_sgd.papers.ziyin2021.recursion import measured_recursion
from sde_sgd.papers.ziyin2021.size import Size


def second_order_methods(size: Size, key: Any) -> Findings:
    """Measure the fluctuation of damped Newton's method; iterate the second moment of natural gradient descent."""
    import xarray

    variances = (1.0, 0.2, 0.05)
    claims = []
    for place, (damping, momentum) in enumerate(((0.5, 0.0), (0.3, 0.5))):
        newton = tuple(1 / variance for variance in variances)
        exact = theory.label_noise_covariance(np.diag(variances), 1.0, damping * np.diag(newton), 8, momentum)
        data = FreshData(variances, label_noise=1.0, preconditioner=newton)
        found = stationary(data, damping, 8, size, jax.random.fold_in(key, place), momentum=momentum)["fluctuation"]
        claims += [Claim(f"damped Newton, fluctuation along a = {variances[i]:g}; rate {damping:g}, momentum "
                         f"{momentum:g}, S = 8", "Sec. 6.4", exact[i, i], *found.at(i, i)) for i in (0, 2)]
    rate = 0.1
    for dim, batch in ((8, 2), (8, 4)):
        exact = theory.natural_gradient_covariance(np.eye(dim), rate, batch)[0, 0]
        claims.append(Claim(f"natural gradient, fluctuation; D = {dim}, S = {batch}", "Sec. 6.4", exact,
                            _natural_gradient(dim, rate, batch, 2 * exact), tolerance=1e-9 * exact))
    earlier = rate / 2 * (1 + 1 / batch)
    claims.append(Claim(f"natural gradient, fluctuation without the term 1/(1 + D); D = {dim}, S = {batch}",
                        "Liu et al. 2021", earlier, claims[-1].measured, tolerance=1e-9 * earlier,
                        note="the earlier theory, which the paper corrects: the recursion goes to the paper's value."))
    exact = theory.natural_gradient_covariance(np.eye(2), rate, 8)[0, 0]
    claims.append(Claim("natural gradient, fluctuation; D = 2, S = 8", "Sec. 6.4", exact,
                        _natural_gradient(2, rate, 8, 1.01 * exact), tolerance=1e-9 * exact,
                        note="the value is a fixed point of the recursion, but unstable for S > D + 1: from 1 % above "
                        "it the recursion goes elsewhere."))
    return Findings(claims, xarray.Dataset())


def _natural_gradient(dim: int, rate: float, batch: int, start: float) -> float:
    """Iterate the second moment under the step (rate / S) C^-1, C the exact noise at that second moment; A = I."""
    covariance = start * np.eye(dim)
    for _ in range(2000):
        noise = (covariance + np.trace(covariance) * np.eye(dim)) / batch
        step = rate / batch * np.linalg.inv(noise)
        propagator = np.eye(dim) - step
        covariance = propagator @ covariance @ propagator.T + step @ noise @ step.T
    return float(covariance[0, 0])


def scaling_rules(size: Size, key: Any) -> Findings:
    """Measure how the fluctuation changes under the linear scaling rule and under the rule that replaces it."""
    import xarray

    base_rate, base_batch = 0.2, 4
    base = base_rate / (base_batch * (2 - (1 + 2 / base_batch) * base_rate))
    data = FreshData((1.0,), label_noise=1.0)
    claims = []
    for place, batch in enumerate((1, 2, 8, 16, 32, 64, 128)):
        linear = base_rate * batch / base_batch
        constant = 2 * batch * base / (1 + base * (batch + 2))
        for kind, (name, rate) in enumerate((("linear", linear), ("corrected", constant))):
            own = jax.random.fold_in(jax.random.fold_in(key, place), kind)
            claims.append(_ratio(name, data, rate, batch, base, size, own))
    return Findings(claims, xarray.Dataset())


def _ratio(name: str, data: FreshData, rate: float, batch: int, base: float, size: Size, key: Any) -> Claim:
    recursion = measured_recursion(data, batch, size.for_batch(batch), key)
    found = recursion.expectation(lambda point: float(point.second[0, 0]) / base, rate)
    exact = theory.online_regression([[1.0]], rate, batch, label_noise=1.0).covariance[0, 0] / base
    return Claim(f"{name} rule, fluctuation over that of S = 4; S = {batch}", "Sec. 6.5", exact, *found)
