"""Noisy inputs (appendix) and weight decay (Sec. 4.3): Proposition 3, Theorem 4, Corollary 1 and figure 3 right."""

from typing import Any

import jax
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, Measured, Relation
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData, stationary
from sde_sgd.papers.ziyin2021.recursion import FixedPoint, Recursion, measured_recursion
from sde_sgd.papers.ziyin2021.size import Size

DECAYS = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def input_noise(size: Size, key: Any) -> Findings:
    """Measure fluctuation and losses with noise on the inputs instead of the labels."""
    import xarray

    claims = []
    cases = ((FreshData((1.0, 0.5), teacher=(1.0, -1.0), input_variances=(0.2, 0.7)), 0.4, 0.0, 4),
             (FreshData((1.0, 0.5), teacher=(1.0, 2.0), input_variances=(0.5, 0.5)), 0.3, 0.5, 8))
    for place, (data, rate, momentum, batch) in enumerate(cases):
        exact = theory.input_noise_regression(np.diag(data.feature_variances), np.diag(data.input_variances or ()),
                                              data.target, rate, batch, momentum=momentum)
        found = stationary(data, rate, batch, size, jax.random.fold_in(key, place), momentum=momentum)
        where = f"rate {rate:g}, momentum {momentum:g}, S = {batch}"
        claims += [
            Claim(f"fluctuation, noisy inputs; {where}", "Sec. 4.2", exact.covariance[0, 0],
                  *found["fluctuation"].at(0, 0)),
            Claim(f"training loss, noisy inputs; {where}", "Sec. 4.2", exact.training_loss, *found["training_loss"]),
            Claim(f"loss on clean inputs; {where}", "Sec. 4.2", exact.test_loss, *found["test_loss"]),
        ]
    return Findings(claims, xarray.Dataset())


def weight_decay(size: Size, key: Any) -> Findings:
    """Measure noise, fluctuation and test loss under weight decay, without label noise."""
    import xarray

    variances, rate, batch, decay = (1.0, 0.5), 0.5, 4, 0.2
    data = FreshData(variances, teacher=(1.0, -1.0), weight_decay=decay)
    exact = theory.online_regression(np.diag(variances), rate, batch, weight_decay=decay, teacher=data.target)
    found = stationary(data, rate, batch, size, key, noise=True)
    hessian, loss = np.diag(variances), float(np.sum(variances * (data.minimum - data.target) ** 2)) / 2
    approximate = theory.minimum_noise_covariance(hessian, loss, batch, gradient=-decay * data.minimum)
    where = f"rate {rate:g}, decay {decay:g}, S = {batch}"
    claims = [
        *(Claim(f"noise, entry ({i + 1}, {j + 1}); {where}", "Proposition 3, eq. 10", exact.noise_covariance[i, j],
                *found["noise"].at(i, j), resolution=0.01 * np.sqrt(exact.noise_covariance[i, i] *
                                                                    exact.noise_covariance[j, j]))
          for i, j in ((0, 0), (0, 1), (1, 1))),
        Claim(f"test loss; {where}", "Theorem 4, eq. 11", exact.test_loss, *found["test_loss"]),
        *(Claim(f"fluctuation, entry ({i + 1}, {i + 1}); {where}", "Theorem 4, eq. 12", exact.covariance[i, i],
                *found["fluctuation"].at(i, i)) for i in range(2)),
        Claim(f"fluctuation, entry (1, 2); {where}", "Theorem 4, eq. 12", _paper_covariance(data, rate, batch)[0, 1],
              *found["fluctuation"].at(0, 1), note="the printed formula needs a teacher along one eigenvector; "
              f"off the diagonal the exact value is {exact.covariance[0, 1]:.5f}."),
        Claim(f"noise at a regularised minimum, entry (1, 2); {where}", "Corollary 2, eq. 15", approximate[0, 1],
              *found["noise"].at(0, 1), note="the approximation for general models has the rank-one term with a minus "
              "sign, the exact Proposition 3 with a plus; it holds in high dimension, not in two."),
        *_momentum(size, jax.random.fold_in(key, 1)),
    ]
    return Findings(claims, xarray.Dataset())


def _paper_covariance(data: FreshData, rate: float, batch: int) -> np.ndarray:
    """Return eq. 12 as it is printed, at momentum 0."""
    a = np.asarray(data.feature_variances)
    k = a + data.weight_decay
    g = 2 - rate * (k + a**2 / (batch * k))
    u, gamma = data.target, data.weight_decay
    left = 1 - rate / batch * np.sum(a**2 / (k * g))
    kappa = np.sum(a**2 / (k * g)) / left
    c = np.sum(a * gamma**2 * u**2 / k**2)
    r = np.sum(a**3 * gamma**2 * u**2 / (k**3 * g)) / left
    isotropic = np.diag(c * (1 + rate * kappa / batch) * a / (k * g))
    rank_one = np.diag(a**2 * gamma**2 / k**2) @ np.outer(u, u) + np.diag(rate * r / batch * a)
    return rate / batch * (isotropic + rank_one @ np.diag(1 / (k * g)))


def _momentum(size: Size, key: Any) -> list[Claim]:
    claims = []
    for place, (rate, momentum, batch) in enumerate(((0.3, 0.5, 4), (0.2, 0.9, 8))):
        data = FreshData((1.0, 0.5), teacher=(1.0, -1.0), weight_decay=0.3)
        exact = theory.online_regression(np.diag([1.0, 0.5]), rate, batch, weight_decay=0.3, teacher=data.target,
                                         momentum=momentum)
        found = stationary(data, rate, batch, size, jax.random.fold_in(key, place), momentum=momentum)
        claims.append(Claim(f"test loss; rate {rate:g}, decay 0.3, momentum {momentum:g}, S = {batch}",
                            "Theorem 4 with momentum", exact.test_loss, *found["test_loss"]))
    return claims


def _test_loss(point: FixedPoint) -> float:
    """Return the test loss for a = u = 1 from the moments of w."""
    return float(point.second[0, 0] - 2 * point.mean[0] + 1) / 2


def figure_3_right(size: Size, key: Any) -> Findings:
    """Measure the test loss against weight decay (Fig. 3, right) and the sign of the best decay (Corollary 1)."""
    import xarray

    data = FreshData((1.0,), teacher=(1.0,))
    rate, batch = 0.5, 1
    recursion = measured_recursion(data, batch, size, key)
    found = [recursion.expectation(_test_loss, rate, decay) for decay in DECAYS]
    exact = [theory.online_regression([[1.0]], rate, batch, weight_decay=decay, teacher=[1.0]).test_loss
             for decay in DECAYS]
    claims = [Claim(f"test loss; a = 1, rate 0.5, S = 1, decay {decay:g}", "Fig. 3 right", value, *measured,
                    tolerance=1e-12, resolution=0.03 * value + 1e-12)
              for decay, value, measured in zip(DECAYS, exact, found, strict=True)]
    claims += _negative_decay(size, data, jax.random.fold_in(key, 1))
    return Findings(claims, xarray.Dataset(
        {"theory": ("weight_decay", exact), "measured": ("weight_decay", [row.value for row in found]),
         "measured_stderr": ("weight_decay", [row.stderr for row in found])}, {"weight_decay": list(DECAYS)}))


def _negative_decay(size: Size, data: FreshData, key: Any) -> list[Claim]:
    rate, batch = 1.7, 10
    recursion = measured_recursion(data, batch, size, key)
    best = theory.optimal_weight_decay([[1.0]], [1.0], rate, batch)
    where = f"a = 1, rate {rate:g}, S = {batch}"
    plain = recursion.expectation(_test_loss, rate)
    found = recursion.expectation(_test_loss, rate, best.weight_decay)
    sides = [recursion.expectation(_test_loss, rate, best.weight_decay + shift) for shift in (-0.05, 0.015)]
    return [
        Claim(f"without weight decay the test loss diverges; {where}", "Corollary 1", np.inf, *plain),
        Claim(f"test loss at decay {best.weight_decay:.4f}; {where}", "Corollary 1", best.test_loss, *found,
              resolution=0.05 * best.test_loss),
        *(Claim(f"test loss at decay {best.weight_decay + shift:.4f} is larger; {where}", "Corollary 1", found.value,
                side.value, _paired(found, side), relation=Relation.ABOVE)
          for shift, side in zip((-0.05, 0.015), sides, strict=True)),
        *(_best_decay(other, recursion) for other in (1.9, 2.1)),
        *(_best_decay(other, measured_recursion(data, number, size, jax.random.fold_in(key, number)))
          for other, number in ((1.35, 4), (0.69, 1))),
    ]


def _best_decay(rate: float, recursion: Recursion) -> Claim:
    """Measure the test loss at the best weight decay, where only a window of them is stable."""
    batch = recursion.batch_size
    best = theory.optimal_weight_decay([[1.0]], [1.0], rate, batch)
    return Claim(f"test loss at decay {best.weight_decay:.4f}; a = 1, rate {rate:g}, S = {batch}", "Corollary 1",
                 best.test_loss, *recursion.expectation(_test_loss, rate, best.weight_decay),
                 resolution=0.05 * best.test_loss)


def _paired(one: Measured, other: Measured) -> float:
    """Return an upper bound of the standard error of a difference."""
    return one.stderr + other.stderr
