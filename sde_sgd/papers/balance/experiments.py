"""The experiments: the contraction of the imbalance, and the law of the product, two labels and in general."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_sgd import theory
from sde_sgd.analysis import Claim, Relation
from sde_sgd.noise import Gaussian, WithReplacement
from sde_sgd.papers.paper import Findings
from sde_sgd.problems import Problem
from sde_sgd.problems.landscape import Constant
from sde_sgd.processes import SGD, SME, GradientFlow, Langevin
from sde_sgd.processes.base import AbstractProcess
from sde_sgd.run import Moments, simulate

if TYPE_CHECKING:
    import xarray

SIGNAL, LABEL_NOISE = 1.0, 5.0  # of y = k + sigma (+-1) at x = 1, where the law is a Gamma law
CRITICAL = SIGNAL / LABEL_NOISE**2
TEMPERATURES = (0.005, 0.01, 0.02)  # beyond, the tail v^(-7/2) of the density carries Euler-Maruyama away
SHARES = (0.25, 0.5, 0.8)  # of the critical temperature


@dataclasses.dataclass(frozen=True)
class Size:
    """Lanes, and the lengths of the runs in steps."""

    num_lanes: int
    num_steps: int
    burn_in: int
    substeps: int


def _loss(params: Array, example: tuple[Array, Array]) -> Array:
    feature, target = example
    return jnp.square(params[0] * params[1] * feature - target)


def _problem(features: Any, targets: Any, start: tuple[float, float]) -> Problem:
    data = tuple(jnp.asarray(values, jnp.result_type(float)) for values in (features, targets))
    return Problem(example_loss=_loss, data=data, init=Constant(jnp.asarray(start, data[0].dtype)))


def _two_labels(start: tuple[float, float] = (1.0, 1.0)) -> Problem:
    return _problem([1.0, 1.0], [SIGNAL + LABEL_NOISE, SIGNAL - LABEL_NOISE], start)


def _gaussian_data(num: int, signal: float, label_noise: float, rng: np.random.Generator) -> tuple[Any, Any]:
    features = rng.normal(size=num)
    return features, signal * features + label_noise * rng.normal(size=num)


def _params(problem: Problem, params: Array) -> Array:
    return params


def _product(problem: Problem, params: Array) -> Array:
    return params[0] * params[1]


def _imbalance(problem: Problem, params: Array) -> Array:
    return params[0] ** 2 - params[1] ** 2


def contraction(size: Size, key: Array) -> Findings:
    """Follow u^2 - w^2 under SGD, gradient flow and injected noise (Fig. 1)."""
    import xarray

    features, targets = _gaussian_data(64, 1.0, 1.0, np.random.default_rng(0))
    problem = _problem(features, targets, (1.5, 0.3))
    rate, start = 0.02, 1.5**2 - 0.3**2
    processes: dict[str, AbstractProcess] = {
        "SGD": SGD(rate, WithReplacement(1)), "gradient flow": GradientFlow(rate), "injected noise": Langevin(
            rate, temperature=0.002)}
    found = {name: simulate(problem, process, num_seeds=256, num_steps=3000, record_every=50,
                            record={"imbalance": _imbalance}, key=key, progress=False).imbalance
             for name, process in processes.items()}
    kept = float(np.abs(found["gradient flow"] / start - 1).max())
    last = {name: values.isel(step=-1).values.astype(np.float64) for name, values in found.items()}
    spread = last["injected noise"].std(ddof=1)
    claims = [
        Claim("one step of SGD multiplies u\N{SUPERSCRIPT TWO} - w\N{SUPERSCRIPT TWO} by 1 - rate\N{SUPERSCRIPT TWO} "
              "h\N{SUPERSCRIPT TWO}: largest deviation", "Theorem 3.1, per step", 0.0, _deviation(key),
              tolerance=1e-12),
        Claim("gradient flow conserves u\N{SUPERSCRIPT TWO} - w\N{SUPERSCRIPT TWO}: largest relative change", "Sec. 3",
              0.0, kept, tolerance=1e-4),
        Claim("SGD shrinks |u\N{SUPERSCRIPT TWO} - w\N{SUPERSCRIPT TWO}|; time 60, T = 0.02", "Fig. 1", start,
              last["SGD"].mean(), _stderr(last["SGD"]), relation=Relation.BELOW),
        Claim("injected isotropic noise spreads it: standard deviation; time 60", "Fig. 1", 0.0, spread,
              spread / np.sqrt(2 * (len(last["injected noise"]) - 1)), relation=Relation.ABOVE),
        _rate_claim(size, jax.random.fold_in(key, 1)),
    ]
    runs = xarray.concat([values.drop_vars("time") for values in found.values()],
                         xarray.Variable("process", list(found)))
    time = ("step", rate * runs.step.values)
    return Findings(claims, xarray.Dataset({"imbalance": runs}).assign_coords(time=time).drop_vars("seed"))


def _deviation(key: Array) -> float:
    """Return how far single steps in float64 are from the exact factor, in units of the start."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        problem = _problem(rng.normal(size=20), rng.normal(size=20), (1.3, -0.4))
        found = simulate(problem, SGD(0.05, WithReplacement(3)), num_seeds=20, num_steps=50, record_every=1,
                         record={"params": _params}, key=key, progress=False)
    u, w = np.moveaxis(found.params.values, -1, 0)
    gradient = (u[:, :-1] - u[:, 1:]) / (0.05 * w[:, :-1])
    imbalance = u**2 - w**2
    expected = theory.balance_contraction(0.05, gradient) * imbalance[:, :-1]
    return float(np.max(np.abs(imbalance[:, 1:] - expected)) / np.abs(imbalance[0, 0]))


def _rate_claim(size: Size, key: Array) -> Claim:
    """Measure the rate of the SDE where it does not depend on v, at x = 1."""
    rate, steps = 0.25 * CRITICAL, 40
    exact = float(theory.balance_rate(_moments(), 1.0, rate))
    found = simulate(_two_labels((1.3, 0.7)), SME(rate, Gaussian(1), order=1, substeps=size.substeps), num_seeds=1024,
                     num_steps=steps, record={"imbalance": _imbalance}, key=key, progress=False).imbalance
    shares = (found.isel(step=-1) / found.isel(step=0)).values.astype(np.float64)
    mean = shares.mean()
    return Claim("rate of the SDE, 4 T g(v), to 2 %; x = 1, T = T_c / 4", "Theorem 3.1", exact,
                 -np.log(mean) / (rate * steps), _stderr(shares) / (mean * rate * steps), tolerance=0.02 * exact)


def _moments() -> theory.ProductMoments:
    return theory.product_moments([1.0, 1.0], [SIGNAL + LABEL_NOISE, SIGNAL - LABEL_NOISE])


def _stationary_product(problem: Problem, process: AbstractProcess, size: Size, key: Array) -> "xarray.Dataset":
    """Run into the stationary law of v; moments over lanes and time, and the last value of every lane."""
    return simulate(problem, process, num_seeds=size.num_lanes, num_steps=size.burn_in + size.num_steps,
                    record={"product": Moments(_product, every=5, burn_in=size.burn_in), "last": _product}, key=key,
                    progress=False)


def gamma_law(size: Size, key: Array) -> Findings:
    """Measure the law of the product at x = 1, where it is a Gamma law, and its collapse (phase transition)."""
    import xarray
    from scipy import stats

    claims, samples = [], []
    for place, share in enumerate(SHARES):
        heat = share * CRITICAL
        law = theory.balanced_gamma_law(SIGNAL, LABEL_NOISE, heat)
        own = jax.random.fold_in(key, place)
        sde = _stationary_product(_two_labels(), SME(heat, Gaussian(1), order=1, substeps=size.substeps), size, own)
        sgd = _stationary_product(_two_labels(), SGD(heat, WithReplacement(1)), size, own)
        last = sde["last"].isel(step=-1).values.astype(np.float64)
        where = f"x = 1, T = {share:g} T_c"
        claims += [
            Claim(f"mean of the SDE's product, k - T sigma\N{SUPERSCRIPT TWO}, to 2 %; {where}", "Gamma law", law.mean,
                  sde.product_mean.item(), sde.product_mean_stderr.item(), tolerance=0.02 * law.mean),
            Claim(f"variance of the SDE's product, to 5 %; {where}", "Gamma law", law.variance,
                  sde.product_variance.item(), sde.product_variance_stderr.item(), tolerance=0.05 * law.variance),
            Claim(f"mean of SGD's product, to 3 %; {where}", "Gamma law", law.mean, sgd.product_mean.item(),
                  sgd.product_mean_stderr.item(), tolerance=0.03 * law.mean),
            Claim(f"Kolmogorov distance of the SDE's product from it; {where}", "Gamma law", 0.08,
                  stats.kstest(last, stats.gamma(law.shape, scale=law.scale).cdf).statistic,
                  0.5 / np.sqrt(len(last)), relation=Relation.BELOW),
        ]
        samples.append(last)
    claims.append(_collapse(size, jax.random.fold_in(key, len(SHARES))))
    return Findings(claims, xarray.Dataset({"product": (("share", "lane"), np.stack(samples))},
                                           {"share": list(SHARES)}))


def _collapse(size: Size, key: Array) -> Claim:
    found = simulate(_two_labels(), SME(1.2 * CRITICAL, Gaussian(1), order=1, substeps=size.substeps),
                     num_seeds=1024, num_steps=10 * size.num_steps, record={"product": _product}, key=key,
                     progress=False).product
    logs = np.log(np.maximum(np.abs(found.isel(step=-1).values.astype(np.float64)), 1e-300))
    return Claim("log |product| of the SDE falls without end; x = 1, T = 1.2 T_c", "phase transition", -4.0,
                 np.median(logs), 1.2533 * _stderr(logs), relation=Relation.BELOW)


def general_law(size: Size, key: Array) -> Findings:
    """Measure the law with Gaussian features (eq. 15), and where SGD itself collapses."""
    import xarray

    features, targets = _gaussian_data(64, 1.0, 1.0, np.random.default_rng(1))
    problem, moments = _problem(features, targets, (1.0, 1.0)), theory.product_moments(features, targets)
    claims = []
    sde_law, sgd_law = (theory.balanced_product_law(moments, heat) for heat in (0.02, 0.005))
    sde = _stationary_product(problem, SME(0.02, Gaussian(1), order=1, substeps=10), size, key)
    sgd = _stationary_product(problem, SGD(0.005, WithReplacement(1)), size, jax.random.fold_in(key, 1))
    for name, found, law in (("the SDE", sde, sde_law), ("SGD", sgd, sgd_law)):
        where = f"N = 64 examples, T = {law.temperature:g}"
        claims += [
            Claim(f"mean of the product, {name}, to 1 %; {where}", "eq. 15", law.mean, found.product_mean.item(),
                  found.product_mean_stderr.item(), tolerance=0.01 * law.mean),
            Claim(f"variance of the product, {name}, to 5 %; {where}", "eq. 15", law.variance,
                  found.product_variance.item(), found.product_variance_stderr.item(),
                  tolerance=0.05 * law.variance),
        ]
    for label_noise, note in ((10.0, ""), (1.0, "the SDE collapses above T_c; with this strong a signal SGD does at no "
                                                "learning rate.")):
        claims.append(_small_product(label_noise, note, size, jax.random.fold_in(key, int(label_noise) + 1)))
    claims += [
        Claim("two-layer ReLU networks balance", "Fig. 2", 0.0, None, note="not tried."),
        Claim("tail exponent of the law, between 7/2 and 5 with depth", "Fig. 5", 3.5, None, note="not tried."),
    ]
    return Findings(claims, xarray.Dataset())


def normal_features(size: Size, key: Array) -> Findings:
    """Measure moments of the law for normal features, y = x + noise of variance 1, over temperatures.

    Twelve examples have the moments that the law knows of: features of 0 and plus or minus sqrt 3.
    """
    import xarray

    features = np.repeat(np.sqrt(3.0) * np.array([1, -1, 0, 0, 0, 0]), 2)
    problem = _problem(features, features + np.tile([1.0, -1.0], 6), (1.0, 1.0))
    claims = []
    for place, heat in enumerate(TEMPERATURES):
        law = theory.balanced_product_law(theory.gaussian_product_moments(1.0, 1.0), heat)
        burn_in, substeps = round(2 / heat), max(10, round(2000 * heat))
        found = simulate(problem, SME(heat, Gaussian(1), order=1, substeps=substeps), num_seeds=size.num_lanes // 2,
                         num_steps=4 * burn_in, record={"product": Moments(_product, every=5, burn_in=burn_in)},
                         key=jax.random.fold_in(key, place), progress=False)
        where = f"y = x + noise, T = {heat:g}"
        claims += [
            Claim(f"mean of the SDE's product, to 1 %; {where}", "eq. 15", law.mean, found.product_mean.item(),
                  found.product_mean_stderr.item(), tolerance=0.01 * law.mean),
            Claim(f"variance of the SDE's product, to 3 %; {where}", "eq. 15", law.variance,
                  found.product_variance.item(), found.product_variance_stderr.item(), tolerance=0.03 * law.variance),
        ]
    return Findings(claims, xarray.Dataset())


def _small_product(label_noise: float, note: str, size: Size, key: Array) -> Claim:
    """Measure how a small balanced product grows per step at 1.2 of the critical temperature."""
    data = _gaussian_data(2**14, 1.0, label_noise, np.random.default_rng(2))
    rate, steps = 1.2 * theory.critical_temperature(theory.gaussian_product_moments(1.0, label_noise)), 8
    found = simulate(_problem(*data, (1e-6, 1e-6)), SGD(rate, WithReplacement(1)), num_seeds=4 * size.num_lanes,
                     num_steps=steps, record={"product": _product}, key=key, progress=False).product
    logs = np.log(np.abs(found.isel(step=-1).values.astype(np.float64)) * 1e12) / steps
    return Claim(f"SGD collapses above T_c: log growth of a small product per step; k = 1, sigma = {label_noise:g}, "
                 "T = 1.2 T_c", "phase transition", 0.0, logs.mean(), _stderr(logs), relation=Relation.BELOW, note=note)


def _stderr(samples: Float[np.ndarray, " n"]) -> float:
    return float(samples.std(ddof=1) / np.sqrt(len(samples)))
