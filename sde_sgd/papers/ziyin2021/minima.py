"""Statements for any model or any finite data set: Secs. 2, 3 and 5."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sde_sgd import theory
from sde_sgd.analysis import Claim, Measured
from sde_sgd.curvature import noise_covariance
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.finite_data import excess_loss, regression, seed_of, stderr_of
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem, quadratic
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate

_WIDTH = 4  # inputs and hidden units of the small network
_RADIUS = 0.01  # standard deviation of a cloud of networks, in every parameter


def finite_data(size: Size, key: Any) -> Findings:
    """Enumerate all batches of a small data set (Propositions 1 and 2), and measure Theorem 1."""
    import xarray

    features, targets = regression(12, 3, 1.0, np.random.default_rng(seed_of(key)))
    data = theory.least_squares(features, targets)
    params = np.array([0.3, -0.2, 0.5])
    gradients = data.gradients @ np.concatenate([[1.0], params])
    batches = gradients[np.array(list(itertools.product(range(12), repeat=3)))].mean(axis=1)
    enumerated = np.cov(batches.T, bias=True)
    formula = theory.sampling_factor(12, 3) * data.noise_covariance(params)
    interpolating = theory.least_squares(*regression(20, 40, 1.0, np.random.default_rng(seed_of(key) + 1)))
    solution = np.linalg.lstsq(interpolating.hessian, interpolating.offset, rcond=None)[0]
    claims = [
        Claim("noise of all 1728 batches, relative distance from the formula; N = 12, S = 3, D = 3", "Prop. 1, eq. 2",
              0.0, _distance(enumerated, formula), tolerance=1e-12),
        Claim("largest entry of the noise where all examples are fitted; N = 20, D = 40", "Prop. 2", 0.0,
              np.max(np.abs(interpolating.noise_covariance(solution))), tolerance=1e-20),
        *_theorem_1(size, key),
    ]
    return Findings(claims, xarray.Dataset())


def _theorem_1(size: Size, key: Any) -> list[Claim]:
    """Measure the fluctuation about a quadratic minimum whose Hessian does not commute with the noise."""
    hessian = np.array([[1.0, 0.4], [0.4, 0.5]])
    offsets = np.random.default_rng(seed_of(key) + 2).normal(size=(64, 2)) @ np.array([[1.0, 0.0], [-0.6, 0.3]])
    offsets -= offsets.mean(axis=0)
    claims = []
    for place, (rate, momentum) in enumerate(((1.0, 0.0), (0.8, 0.5), (0.3, 0.9))):
        noise = offsets.T @ offsets / len(offsets) / 2
        exact = theory.sgd_stationary_covariance(hessian, noise, rate, momentum)
        found = simulate(quadratic(hessian, offsets), SGD(rate, WithReplacement(2), momentum=momentum),
                         num_seeds=size.num_lanes // 4, num_steps=size.burn_in + size.num_steps,
                         record={"second": Moments(_outer, every=size.thinning, burn_in=size.burn_in)},
                         key=jax.random.fold_in(key, place), progress=False)
        second = Measured(found.second_mean.values, found.second_mean_stderr.values)
        claims += [Claim(f"fluctuation, entry ({i + 1}, {j + 1}), H and C not commuting; rate {rate:g}, momentum "
                         f"{momentum:g}", "Theorem 1, eq. 3", exact[i, j], *second.at(i, j),
                         resolution=0.01 * np.sqrt(exact[i, i] * exact[j, j])) for i, j in ((0, 0), (0, 1))]
    return claims


def _outer(problem: Problem, params: Array) -> Array:
    return jnp.outer(params, params)


class _Minimum(NamedTuple):
    """Loss, trace of the Hessian and trace of the one-example noise at a minimum of the network."""

    loss: float
    hessian_trace: float
    noise_trace: float


def network_minimum(size: Size, key: Any) -> Findings:
    """Train small tanh networks to a minimum and hold their noise against 2 L H / S (Corollary 2, eq. 16)."""
    import xarray

    label_noises = (0.05, 0.2, 0.5)
    claims, all_minima = [], []
    for label_noise in label_noises:
        minima = [_minimum(label_noise, np.random.default_rng((seed_of(key), place)))
                  for place in range(size.num_data_sets)]
        all_minima.append(minima)
        ratios = np.array([found.noise_trace / (2 * found.loss * found.hessian_trace) for found in minima])
        claims.append(Claim(f"trace of the noise over 2 L Tr H / S, to 5 %; tanh network, label noise {label_noise:g}",
                            "Corollary 2, eq. 16", 1.0, ratios.mean(), stderr_of(ratios), tolerance=0.05))
    bare = np.array([found.noise_trace / found.hessian_trace for found in all_minima[1]])
    claims.append(Claim("trace of the noise over Tr H / S; tanh network, label noise 0.2", "the Hessian approximation",
                        1.0, bare.mean(), stderr_of(bare), note="the approximation that Sec. 5 corrects by 2 L."))
    slopes = np.array([_slope([(found.loss, found.noise_trace) for found in column])
                       for column in zip(*all_minima, strict=True)])
    claims.append(Claim("slope of log Tr C against log L over label noises, to 0.02; tanh network",
                        "Corollary 2, eq. 16", 1.0, slopes.mean(), stderr_of(slopes), tolerance=0.02))
    claims += [_interpolating_network(size, key), _corollary_3(size, key)]
    return Findings(claims, xarray.Dataset())


def _slope(points: list[tuple[float, float]]) -> float:
    logs, values = np.log(points).T
    return float(np.polyfit(logs, values, 1)[0])


def _network(params: Array, inputs: Array) -> Array:
    """Return a two-layer tanh network's output; params is a vector."""
    hidden, bias, output = jnp.split(params, [_WIDTH**2, _WIDTH**2 + _WIDTH])
    return jnp.tanh(inputs @ hidden.reshape(_WIDTH, _WIDTH) + bias) @ output


def _squared_error(params: Array, example: tuple[Array, Array]) -> Array:
    return 0.5 * jnp.square(_network(params, example[0]) - example[1])


@jax.jit
def _residuals(params: Array, inputs: Array, targets: Array) -> Array:
    return _network(params, inputs) - targets


_jacobian = jax.jit(jax.jacfwd(_residuals))


@jax.jit
def _traces(problem: Problem, params: Array) -> tuple[Array, Array, Array]:
    hessian = jax.hessian(problem.loss)(params)
    return problem.loss(params), jnp.trace(hessian), jnp.trace(noise_covariance(problem, params))


def _minimum(label_noise: float, rng: np.random.Generator) -> _Minimum:
    """Fit a noisy teacher of the same width from its own parameters, by Levenberg and Marquardt."""
    from scipy.optimize import least_squares as fit

    teacher = rng.normal(size=_WIDTH**2 + 2 * _WIDTH).astype(np.float32)
    inputs = rng.normal(size=(4000, _WIDTH)).astype(np.float32)
    targets = np.asarray(_network(jnp.asarray(teacher), jnp.asarray(inputs)))
    targets = (targets + label_noise * rng.normal(size=4000)).astype(np.float32)

    def on_host(function: Any) -> Any:
        return lambda params: np.asarray(function(params.astype(np.float32), inputs, targets), np.float64)

    found = fit(on_host(_residuals), teacher, on_host(_jacobian), method="lm", max_nfev=60)
    problem = Problem(example_loss=_squared_error, data=(inputs, targets), init=_start)
    return _Minimum(*map(float, _traces(problem, jnp.asarray(found.x, jnp.float32))))


def _interpolating_network(size: Size, key: Any) -> Claim:
    """Measure the noise of a cloud of networks about one that fits all examples, as all targets are its own."""
    ratios = []
    for place in range(8 * size.num_data_sets):
        rng = np.random.default_rng((seed_of(key), place, 17))
        fitted = jnp.asarray(rng.normal(size=_WIDTH**2 + 2 * _WIDTH), jnp.float32)
        inputs = jnp.asarray(rng.normal(size=(1000, _WIDTH)), jnp.float32)
        problem = Problem(example_loss=_squared_error, data=(inputs, _network(fitted, inputs)), init=_start)
        cloud = fitted + jnp.asarray(_RADIUS * rng.normal(size=(64, fitted.size)), jnp.float32)
        noise, hessian = (np.asarray(found, np.float64) for found in _cloud_noise(problem, fitted, cloud))
        ratios.append(float(noise / (_RADIUS**2 * (np.trace(hessian) ** 2 - np.sum(hessian**2)))))
    found = np.array(ratios)
    return Claim("trace of the noise over that of (Tr[H Sigma] - H Sigma) H / S, to 5 %; tanh network of width 4 about "
                 "a perfect fit", "Corollary 2, eq. 17", 1.0, found.mean(), stderr_of(found), tolerance=0.05,
                 note="the formula takes the loss of an example for independent of the size of its gradient; about a "
                 "perfect fit the loss grows with that size, which varies from example to example in a narrow network. "
                 "In regression of high dimension it hardly varies, and the formula holds.")


@jax.jit
def _cloud_noise(problem: Problem, fitted: Array, cloud: Array) -> tuple[Array, Array]:
    """Return the trace of the one-example noise averaged over a cloud, and the Hessian at its centre."""
    traces = jax.lax.map(lambda params: jnp.trace(noise_covariance(problem, params)), cloud)
    return jnp.mean(traces), jax.hessian(problem.loss)(fitted)


def _start(key: Array) -> Array:
    return jnp.zeros(_WIDTH**2 + 2 * _WIDTH, jnp.float32)


def _corollary_3(size: Size, key: Any) -> Claim:
    """Measure the excess loss about a minimum of a finite data set."""
    rate, batch = 0.3, 50
    features, targets = regression(2000, 5, 0.5, np.random.default_rng(seed_of(key) + 3))
    found, minimal = excess_loss(features, targets, rate, batch, size, key)
    hessian = features.T @ features / len(features)
    exact = np.trace(hessian @ theory.minimum_covariance(hessian, minimal, rate, batch))
    return Claim(f"Tr H Sigma, to 3 %; regression with N = 2000, D = 5, rate {rate:g}, S = {batch}",
                 "Corollary 3", exact, *found, tolerance=0.03 * exact)


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


