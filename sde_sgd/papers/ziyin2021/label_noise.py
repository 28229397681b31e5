"""Noise and fluctuation under label noise (Sec. 4.2), and the figures 3 left, 4a, 4b and 4c."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from sde_sgd import theory
from sde_sgd.analysis import Claim, Measured, Relation
from sde_sgd.papers.paper import Findings
from sde_sgd.papers.ziyin2021.fresh_data import FreshData, stationary
from sde_sgd.papers.ziyin2021.recursion import Recursion, measured_recursion
from sde_sgd.papers.ziyin2021.size import Size

if TYPE_CHECKING:
    import xarray

BY_RECURSION = "by recursion: no fourth moment exists, so the second's recursion was measured, by single steps."


class Setting(NamedTuple):
    """Feature variances, learning rate, momentum and batch size."""

    variances: tuple[float, ...]
    learning_rate: float
    momentum: float
    batch_size: int

    def __str__(self) -> str:
        """Return the setting as it is printed."""
        variances = ", ".join(f"{variance:g}" for variance in self.variances)
        momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        return f"a = {variances}, rate {self.learning_rate:g}{momentum}, S = {self.batch_size}"


SETTINGS = (
    Setting((1.0,), 0.5, 0.0, 4),
    Setting((1.0, 0.5), 0.6, 0.5, 5),
    Setting((1.0, 0.5, 0.25), 0.4, 0.9, 16),
    Setting((1.5,), 1.0, 0.0, 40),
    Setting((1.0, 0.5), 1.5, 0.0, 50),
    Setting((1.0,), 0.3, 0.9, 8),
)
FIGURE_3_BATCHES = (5, 6, 8, 10, 16, 20, 30, 50, 100)
FIGURE_4_RATES = (0.2, 0.5, 0.8, 1.0, 1.2, 1.3, 1.4, 1.5, 1.6)


def general_theory(size: Size, key: Any) -> Findings:
    """Measure fluctuation, noise and training loss (Theorems 2 and 3) and the relation of the first two (Lemma 1)."""
    import xarray

    claims: list[Claim] = []
    for place, setting in enumerate(SETTINGS[:size.num_settings]):
        variances, rate, momentum, batch = setting
        found = stationary(FreshData(variances, label_noise=1.0), rate, batch, size, jax.random.fold_in(key, place),
                           momentum=momentum, noise=True)
        exact = theory.online_regression(np.diag(variances), rate, batch, label_noise=1.0, momentum=momentum)
        claims += [
            _entry(f"fluctuation along a = {variances[index]:g}; {setting}", "Theorem 2, eq. 6", exact.covariance,
                   found["fluctuation"], index) for index in sorted({0, len(variances) - 1})
        ]
        claims += [
            _entry(f"noise along a = {variances[0]:g}; {setting}", "Theorem 3, eq. 8", exact.noise_covariance,
                   found["noise"], 0),
            Claim(f"training loss; {setting}", "appendix", exact.training_loss, *found["training_loss"]),
            _lemma(setting, found),
        ]
    claims += _small_rate(size, jax.random.fold_in(key, len(SETTINGS)))
    return Findings(claims, xarray.Dataset())


def _entry(statement: str, source: str, exact: np.ndarray, found: Measured, index: int) -> Claim:
    return Claim(statement, source, exact[index, index], *found.at(index, index))


def _lemma(setting: Setting, found: dict[str, Measured]) -> Claim:
    """Hold the measured noise against the formula at the measured fluctuation."""
    features = np.diag(setting.variances)
    moment, noise = found["fluctuation"], found["noise"]
    weights = 2 * features[0, 0] ** 2 * np.eye(len(features))[0] + features[0, 0] * np.diag(features)
    weights[0] -= features[0, 0] ** 2
    given = (weights @ np.diag(moment.value) + features[0, 0]) / setting.batch_size
    stderr = np.hypot(noise.stderr[0, 0], weights @ np.diag(moment.stderr) / setting.batch_size)
    return Claim(f"noise along a = {features[0, 0]:g} from the measured fluctuation; {setting}", "Lemma 1, eq. 5",
                 given, noise.value[0, 0], stderr)


def _small_rate(size: Size, key: Any) -> list[Claim]:
    """Measure the isotropic limit of small learning rates where it holds and where it does not."""
    claims = []
    for rate, batch, tolerance, note in ((0.05, 16, 0.05, ""), (1.0, 16, 0.05, "the limit is one of small learning "
                                         "rates; at rate 1 the exact value is {:.4f}.")):
        found = stationary(FreshData((1.0, 0.5), label_noise=1.0), rate, batch, size, key)["fluctuation"].at(0, 0)
        exact = theory.label_noise_covariance(np.diag([1.0, 0.5]), 1.0, rate, batch)[0, 0]
        limit = rate / (2 * batch)
        claims.append(Claim(f"fluctuation is rate / 2S within 5 %; rate {rate:g}, S = {batch}", "eq. 7", limit, *found,
                            tolerance=tolerance * limit, note=note.format(exact)))
    return claims


def has_fourth_moment(variance: float, learning_rate: float, batch_size: int) -> bool:
    """Return whether an ensemble can measure the variance in one dimension."""
    return learning_rate < theory.max_moment_learning_rate(variance, batch_size, 4)


def _variance(data: FreshData, rate: float, batch: int, size: Size, key: Any) -> tuple[Measured, bool]:
    """Return the stationary variance in one dimension, and whether it is that of an ensemble."""
    if has_fourth_moment(data.feature_variances[0], rate, batch):
        return stationary(data, rate, batch, size, key)["fluctuation"].at(0, 0), True
    recursion = measured_recursion(data, batch, size, key)
    return recursion.expectation(lambda point: float(point.second[0, 0]), rate), False


def _fluctuation(where: str, source: str, exact: float, found: Measured, ensemble: bool) -> Claim:
    how = "" if ensemble else " by recursion"
    return Claim(f"fluctuation{how}; {where}", source, exact, *found, note="" if ensemble else BY_RECURSION)


def figure_3_left(size: Size, key: Any) -> Findings:
    """Measure the fluctuation against the batch size at a large learning rate (Fig. 3, left)."""
    variance, rate = 1.5, 1.0
    data = FreshData((variance,), label_noise=1.0)
    rows, claims = [], []
    for place, batch in enumerate(FIGURE_3_BATCHES):
        own = jax.random.fold_in(key, place)
        exact = 2 / (batch - 6) if batch > 6 else math.inf
        if batch == 6:
            growth = measured_recursion(data, batch, size, own).growth(rate)
            claims.append(Claim("at S = 6 the second moment neither grows nor shrinks; a = 1.5, rate 1", "Fig. 3 left",
                                1.0, *growth))
            continue
        found, ensemble = _variance(data, rate, batch, size, own)
        claims.append(_fluctuation(f"a = 1.5, rate 1, S = {batch}", "Fig. 3 left", exact, found, ensemble))
        rows.append((batch, exact, found, ensemble))
        if batch in (16, 30):
            claims += _comparisons(f"a = 1.5, rate 1, S = {batch}", "Fig. 3 left", found, 2 / batch, 1 / (2 * batch))
    return Findings(claims, _curve("batch_size", rows))


def figure_4a(size: Size, key: Any) -> Findings:
    """Measure the fluctuation against the learning rate (Fig. 4a)."""
    batch = 10
    data = FreshData((1.0,), label_noise=1.0)
    rows, claims = [], []
    for place, rate in enumerate(FIGURE_4_RATES):
        found, ensemble = _variance(data, rate, batch, size, jax.random.fold_in(key, place))
        exact = rate / (10 * (2 - 1.2 * rate))
        claims.append(_fluctuation(f"a = 1, S = 10, rate {rate:g}", "Fig. 4a", exact, found, ensemble))
        rows.append((rate, exact, found, ensemble))
    threshold = measured_recursion(data, batch, size, jax.random.fold_in(key, len(rows))).threshold(1.0, 2.0)
    claims.append(Claim("learning rate at which it diverges; a = 1, S = 10", "Fig. 4a", 5 / 3, *threshold))
    claims += _comparisons("a = 1, S = 10, rate 1", "Fig. 4a", rows[3][2], 0.1, 0.05)
    return Findings(claims, _curve("learning_rate", rows))


def _comparisons(where: str, source: str, found: Measured, hessian_noise: float, continuous: float) -> list[Claim]:
    return [
        Claim(f"above discrete time with noise A/S; {where}", source, hessian_noise, *found, relation=Relation.ABOVE),
        Claim(f"above the first-order SDE with noise A/S; {where}", source, continuous, *found,
              relation=Relation.ABOVE),
    ]


def _curve(name: str, rows: "list[tuple[float, float, Measured, bool]]") -> "xarray.Dataset":
    import xarray

    abscissa, exact, found, ensemble = zip(*rows, strict=True)
    return xarray.Dataset(
        {"theory": (name, np.asarray(exact)), "measured": (name, np.array([row.value for row in found])),
         "measured_stderr": (name, np.array([row.stderr for row in found])),
         "by_ensemble": (name, np.array(ensemble))}, {name: np.asarray(abscissa)})


def figures_4bc(size: Size, key: Any) -> Findings:
    """Measure the shape of the fluctuation in two dimensions (Figs. 4b and 4c)."""
    import xarray

    variances, rate = (1.0, 0.5), 1.5
    data = FreshData(variances, label_noise=1.0)
    claims, matrices, exacts = [], [], []
    for place, (batch, source) in enumerate(((50, "Fig. 4b"), (10, "Fig. 4c"))):
        own = jax.random.fold_in(key, place)
        exact = theory.label_noise_covariance(np.diag(variances), 1.0, rate, batch)
        if batch == 50:
            found = stationary(data, rate, batch, size, own)["fluctuation"]
        else:
            found = _matrix(measured_recursion(data, batch, size, own), rate)
        claims += [_fluctuation(f"along a = {variances[index]:g}, rate 1.5, S = {batch}", source, exact[index, index],
                                found.at(index, index), batch == 50) for index in range(2)]
        matrices.append(found.value)
        exacts.append(exact)
    return Findings(claims, xarray.Dataset(
        {"theory": (("batch_size", "row", "column"), np.stack(exacts)),
         "measured": (("batch_size", "row", "column"), np.stack(matrices))}, {"batch_size": [50, 10]}))


def _matrix(recursion: Recursion, rate: float) -> Measured:
    entries = [[recursion.expectation(lambda point, i=i, j=j: float(point.second[i, j]), rate) for j in range(2)]
               for i in range(2)]
    return Measured(*(np.array([[getattr(entry, part) for entry in row] for row in entries])
                      for part in ("value", "stderr")))
