"""High-dimensional regression (Sec. 6.1): Proposition 4, Theorem 6 and interpolation (eq. 17)."""

import collections
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from sde_sgd import theory
from sde_sgd.analysis import Claim, Relation
from sde_sgd.noise import WithReplacement
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.finite_data import excess_loss, minimal_loss, regression, seed_of, stderr_of
from sde_sgd.papers.ziyin2021.size import Size
from sde_sgd.problems import Problem, least_squares
from sde_sgd.processes import SGD
from sde_sgd.run import Moments, simulate


class Setting(NamedTuple):
    """Size of a data set, batch size, share of the predicted largest learning rate, and length of the run."""

    num_examples: int
    dim: int
    batch_size: int
    share: float
    length: int = 1

    def __str__(self) -> str:
        """Return the setting as it is printed."""
        return (f"N = {self.num_examples}, D = {self.dim}, S = {self.batch_size}, {self.share:g} of the largest "
                "learning rate")


MAIN = Setting(400, 100, 10, 0.5)
OTHERS = (Setting(200, 50, 5, 0.5), Setting(200, 100, 10, 0.5), Setting(400, 50, 50, 0.7), Setting(100, 50, 1, 0.5, 4))
OVERPARAMETRISED = Setting(50, 100, 10, 0.5)
_LEADING = 10  # eigenvectors
_DESCENT = 60  # steps after which the noise of a descent is looked at


def high_dimension(size: Size, key: Any) -> Findings:
    """Measure noise, fluctuation and threshold at large N and D."""
    import xarray

    claims = _stationary_state(size, key)
    for place, setting in enumerate((MAIN, *OTHERS)[:size.num_settings]):
        claims += _exact(setting, size, jax.random.fold_in(key, 2000 + place))
    claims += _interpolation(size, jax.random.fold_in(key, 3000))
    return Findings(claims, xarray.Dataset())


def _rate(setting: Setting, features: np.ndarray) -> float:
    sample = features.T @ features / len(features)
    return setting.share * theory.max_high_dimensional_learning_rate(sample, setting.batch_size)


def _exact(setting: Setting, size: Size, key: Any) -> list[Claim]:
    """Hold fluctuation and threshold of one data set against the exact theory of finite data."""
    num, dim, batch, *_, length = setting
    features, targets = regression(num, dim, 1.0, np.random.default_rng(seed_of(key)))
    known, rate = theory.least_squares(features, targets), _rate(setting, features)
    exact = float(np.sum(known.hessian * theory.sgd_limit_covariance(known, rate, batch)))
    found, _ = excess_loss(features, targets, rate, batch, size, key, length=length)
    limit = theory.max_mean_square_learning_rate(known, batch)
    return [
        Claim(f"Tr A Sigma; {setting}", "exact recursion of finite data", exact, *found),
        Claim(f"largest learning rate, to 10 %; N = {num}, D = {dim}, S = {batch}", "Theorem 6, stability",
              rate / setting.share, limit, tolerance=0.1 * limit),
    ]


def _noise_spectrum(problem: Problem, params: Array) -> dict[str, Array]:
    """Return the diagonal of the one-example noise and the squared gradient, coordinate by coordinate."""
    features, targets = problem.data
    residuals = features @ params - targets
    gradient = residuals @ features / features.shape[0]
    return {"noise": residuals**2 @ features**2 / features.shape[0] - gradient**2, "gradient": gradient**2}


def _in_own_axes(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set in the coordinates in which its sample covariance is diagonal, the largest entry first."""
    features, targets = regression(setting.num_examples, setting.dim, 1.0, rng)
    return features @ np.linalg.eigh(features.T @ features)[1][:, ::-1], targets


def _stationary_state(size: Size, key: Any) -> list[Claim]:
    """Hold fluctuation and noise in the stationary state against the formulas, over data sets."""
    num, dim, batch, *_ = MAIN
    rows = collections.defaultdict(list)
    for place in range(size.num_data_sets):
        features, targets = _in_own_axes(MAIN, np.random.default_rng((seed_of(key), place)))
        problem, minimal = least_squares(features, targets), minimal_loss(features, targets)
        rate = _rate(MAIN, features)
        kept = {"every": size.num_data_steps // 100, "burn_in": size.num_data_steps // 4}
        found = simulate(problem, SGD(rate, WithReplacement(batch)), num_seeds=size.num_seeds,
                         num_steps=size.num_data_steps, params=problem.minimum,
                         record={"at": Moments(_noise_spectrum, **kept), "loss": Moments(Problem.loss, **kept)},
                         key=jax.random.fold_in(key, place), progress=False)
        excess, noise = 2 * (found.loss_mean.item() - minimal), found["at.noise_mean"].values
        variances = np.mean(features**2, axis=0)
        at_minimum = excess * variances - found["at.gradient_mean"].values  # of the one-example noise
        for name, residual in (("", 2 * minimal), (" ensemble", 1 - dim / num)):
            predicted = theory.high_dimensional_covariance(np.diag(variances), residual, rate, batch).diagonal()
            rows[f"sigma{name}"].append(excess / (variances @ predicted))
            rows[f"noise{name}"].append(noise.sum() / np.sum(at_minimum + residual * variances))
        expected = at_minimum + 2 * minimal * variances
        rows["share"].append((noise[:_LEADING].sum() / noise.sum()) / (expected[:_LEADING].sum() / expected.sum()))
    ensemble = "the prediction from sigma\N{SUPERSCRIPT TWO} (1 - 1/alpha), to 10 %"
    texts = {
        "sigma": ("Theorem 6", "Tr A Sigma over the prediction from the realised residual, to 7 %", 0.07),
        "sigma ensemble": ("Theorem 6", f"Tr A Sigma over {ensemble}", 0.1),
        "noise": ("Proposition 4", "trace of the noise over the prediction from the realised residual, to 5 %", 0.05),
        "noise ensemble": ("Proposition 4", f"trace of the noise over {ensemble}", 0.1),
        "share": ("Proposition 4", f"share of the noise along {_LEADING} leading eigenvectors over that predicted, to "
                  "5 %", 0.05),
    }
    means = {name: np.array(values) for name, values in rows.items()}
    return [Claim(f"{text}; {MAIN}", source, 1.0, means[name].mean(), stderr_of(means[name]), tolerance=tolerance)
            for name, (source, text, tolerance) in texts.items()]


def _interpolation(size: Size, key: Any) -> list[Claim]:
    """Measure the noise on the way to a perfect fit, and what is left of the loss."""
    num, dim, batch, *_ = OVERPARAMETRISED
    ratios, shares = [], np.empty(0)
    for place in range(size.num_data_sets):
        features, targets = regression(num, dim, 1.0, np.random.default_rng((seed_of(key), place)))
        rate, problem = _rate(OVERPARAMETRISED, features), least_squares(features, targets)
        found = simulate(problem, SGD(rate, WithReplacement(batch)), num_seeds=size.num_seeds, num_steps=_DESCENT,
                         record={"at": _noise_spectrum, "loss": Problem.loss}, key=jax.random.fold_in(key, place),
                         progress=False).isel(step=-1).mean("seed")
        predicted = 2 * found.loss * np.mean(np.sum(features**2, axis=1)) - found["at.gradient"].sum()
        ratios.append((found["at.noise"].sum() / predicted).item())
        if place == 0:
            loss = simulate(problem, SGD(rate, WithReplacement(batch)), num_seeds=size.num_seeds, num_steps=2000,
                            record={"loss": Problem.loss}, key=key, progress=False).loss
            shares = (loss.isel(step=-1) / loss.isel(step=0)).values.astype(np.float64)
    means = np.array(ratios)
    return [
        Claim("trace of the noise over that of (Tr[H Sigma] - H Sigma) H / S, to 5 %; regression on its way to a "
              f"perfect fit, {OVERPARAMETRISED}", "Corollary 2, eq. 17", 1.0, means.mean(), stderr_of(means),
              tolerance=0.05),
        Claim(f"final loss over the initial one is zero; {OVERPARAMETRISED}", "Theorem 6", 1e-6, shares.mean(),
              stderr_of(shares), relation=Relation.BELOW),
    ]
