"""Mean escape times of rare events, by splitting: probability of an excursion, times rate of excursions."""

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from sde_sgd._core import checks
from sde_sgd.problems.problem import Problem, float_dtype
from sde_sgd.processes import AbstractProcess
from sde_sgd.results import build, provenance
from sde_sgd.run.basin import Basin, Loops, edges_of, run_loops, settle
from sde_sgd.run.ensemble import check_problem
from sde_sgd.run.excursions import Excursions, Stream
from sde_sgd.run.first_passage import source_of
from sde_sgd.run.fixed_effort import FixedEffort
from sde_sgd.run.method import AbstractSplitting, Estimates
from sde_sgd.run.motion import Iterates
from sde_sgd.run.passage import AbstractSource
from sde_sgd.run.progress import progress_bar
from sde_sgd.run.shares import lane_mesh
from sde_sgd.run.targets import check_regions
from sde_sgd.run.tiles import tile_size

if TYPE_CHECKING:
    import xarray

_NUM_LOOPS = 4
_LARGEST_SHARE = 0.2


def splitting(
    problem: Problem,
    process: AbstractProcess,
    *,
    score: Callable[[PyTree], Array],
    region: Callable[[PyTree], Array],
    method: AbstractSplitting | None = None,
    num_replicas: int = 32,
    basin: tuple[float, float] | None = None,
    max_steps: int = 10_000_000,
    warm_up: int | None = None,
    confidence: float = 0.95,
    params: PyTree = None,
    key: Any,
    progress: bool | None = None,
) -> "xarray.Dataset":
    r"""Estimate the mean time to a region that is entered too rarely for brute force.

    A process in a basin makes loops: from the core of the basin out to its rim, and then either back to the core or,
    with a small probability p, to the region. If loops begin with the law of the returns to the core,

    .. math:: E[\tau] = E[\text{duration of a loop}] / p

    exactly, for a process in discrete time as it is (the Hill relation). Splitting estimates p without bias, as a
    product of probabilities that are not small. State is copied whole: momentum, sampler and all.

    Parameters
    ----------
    problem, process
        What moves and how; any process whose rule does not depend on the step (no schedule), seen at its iterates.
    score
        ``score(params) -> number``: how far a lane has come towards the region. The estimate is unbiased for every
        score; its variance is small when larger scores mean larger chances.
    region
        As for `first_passage`; one region.
    method
        How p is estimated: `FixedEffort`, the default, or `AdaptiveMultilevel`.
    num_replicas
        Independent replicas of the whole estimate, at least 10. The interval comes from them alone.
    basin
        The scores of the core and the rim. By default 0.3 and 1.5 standard deviations of the score above its mean
        within the basin.
    max_steps
        Longest excursion. Reaching it is an error, never an estimate.
    warm_up
        Steps before the basin counts as settled; by default as many as its score takes to become stationary.
    confidence
        Nominal coverage of the interval.
    params
        Start, within the basin; by default ``problem.init(key)`` for every lane.
    key
        Typed key.
    progress
        Whether to show a bar; by default only on a terminal.

    Returns
    -------
    xarray.Dataset
        ``escape_time`` on the process's own clock with ``_stderr``, ``_lower``, ``_upper``; ``probability`` and
        ``loop_time`` with ``_stderr``; over ``replica`` the ``replica_probability`` and ``replica_loop_time``; over
        ``level`` the scores and, for fixed effort, the ``level_probability`` of each from the one before;
        ``num_extinct`` (replicas that found no way, which count as zero), ``largest_share`` (of one replica in the
        sum) and ``lane_steps``, the work done.

    Raises
    ------
    TypeError, ValueError
        On bad input, before anything is compiled; if the start lies in the region, the event is not rare, or the score
        is NaN, constant, or not larger in the region.
    RuntimeError
        If an excursion or the pilot reaches its limit.

    Warns
    -----
    UserWarning
        If one replica carries more than a fifth of the sum: the score hides a path, and the interval is too narrow.

    Notes
    -----
    The core is where loops close; the law of the returns is that of a process that never escapes, which differs from
    the true one by about p. The interval is a Student interval for the logarithm of the ratio of means over replicas.

    References
    ----------
    Cerou, Guyader, Lelievre, Pommier (2011), A multiple replica approach to simulate reactive trajectories, J. Chem.
    Phys. 134. Baudel, Guyader, Lelievre (2020), On the Hill relation and the mean reaction time for metastable
    processes, arXiv:2008.09790.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> well = ss.problems.potential(lambda w: (w**2 - 1) ** 2, start=-1.0)
    >>> rare = ss.splitting(well, ss.Langevin(0.01, temperature=0.125), score=lambda w: w, region=lambda w: w > 0.8,
    ...                     method=ss.FixedEffort(128), num_replicas=20, key=jax.random.key(0))
    >>> bool(rare.escape_time_lower < 3458 < rare.escape_time_upper)
    True
    """
    check_problem(problem)
    if not isinstance(process, AbstractProcess):
        raise TypeError(f"process must be a process such as sde_sgd.SGD, got {type(process).__name__}.")
    method = FixedEffort() if method is None else method
    _check_arguments(score, region, method, num_replicas, basin, max_steps, warm_up, confidence, key)
    process.check(problem)
    check_regions({"region": region}, problem, need_levels=False)
    check_regions({"score": score}, problem, need_levels=True)
    example = jax.eval_shape(problem.init, jax.random.key(0))
    tile = tile_size(problem, example, process, lanes_leave=True)
    run_key, host_key = (jax.random.fold_in(key, number) for number in (0, 1))
    with progress_bar(None, "splitting", progress, "excursions") as report:
        excursions = Excursions(problem, Iterates(process), region, score, key=run_key, max_steps=max_steps,
                                mesh=lane_mesh(), tile=tile, report=report)
        source, _ = source_of(problem, params, 1)
        estimates, loops, basin = _estimated(excursions, source, method, num_replicas, basin, warm_up, host_key)
    config = {"run": "splitting", "problem": problem, "process": process, "score": score, "region": region,
              "method": method, "num_replicas": num_replicas, "basin": basin, "max_steps": max_steps,
              "warm_up": warm_up, "confidence": confidence, "params": params}
    attrs = provenance(config, key, dtype=float_dtype(example), tile_size=tile)
    return _labelled(estimates, loops, excursions, float(process.time_per_step), confidence, attrs)


def _estimated(
    excursions: Excursions,
    source: AbstractSource,
    method: AbstractSplitting,
    num_replicas: int,
    edges: tuple[float, float] | None,
    warm_up: int | None,
    key: Any,
) -> tuple[Estimates, Loops, Basin]:
    """Return the probability and the loops of every replica, and the basin they refer to."""
    streams = [Stream(jax.random.fold_in(key, number)) for number in range(3)]
    num_lanes = num_replicas * -(-method.num_particles // (2 * _NUM_LOOPS))
    states, scores = settle(excursions, source, num_lanes, warm_up, streams[0])
    basin = edges_of(scores) if edges is None else Basin(*map(float, edges))
    loops = run_loops(excursions, states, basin, num_replicas=num_replicas, num_loops=_NUM_LOOPS, stream=streams[1])
    return method.estimate(excursions, loops.states, basin, num_replicas, streams[2]), loops, basin


def _check_arguments(
    score: Any, region: Any, method: Any, num_replicas: Any, basin: Any, max_steps: Any, warm_up: Any,
    confidence: Any, key: Any,
) -> None:  # fmt: skip
    checks.typed_key(key)
    for name, function in (("score", score), ("region", region)):
        if not callable(function):
            raise TypeError(f"{name} must be a function of the params, or of (problem, params), got {function!r}.")
    if not isinstance(method, AbstractSplitting):
        raise TypeError(f"method must be FixedEffort(...) or AdaptiveMultilevel(...), got {method!r}.")
    checks.integer("num_replicas", num_replicas, minimum=10, fix="The interval comes from the replicas alone.")
    checks.integer("max_steps", max_steps, maximum=2**62)
    if warm_up is not None:
        checks.integer("warm_up", warm_up)
    checks.in_half_open_unit("confidence", confidence)
    edges = None if basin is None else np.asarray(basin)
    if edges is not None and not (edges.shape == (2,) and np.all(np.isfinite(edges)) and edges[0] < edges[1]):
        raise ValueError(f"basin must be two increasing scores, (core, rim), got {basin!r}.")


def _labelled(
    estimates: Estimates,
    loops: Loops,
    excursions: Excursions,
    time_per_step: float,
    confidence: float,
    attrs: Mapping[str, str],
) -> "xarray.Dataset":
    time_per_look = time_per_step / excursions.motion.looks_per_step
    loop_time, probability = loops.looks * time_per_look, estimates.probability
    time, stderr, lower, upper = interval(loop_time, probability, confidence)
    total = probability.sum()
    share = float(probability.max() / total) if total else np.nan
    _warn(probability, share)
    own = {"units": "1", "long_name": "mean escape time on the process's own clock"}
    values: dict[str, tuple] = {
        "escape_time": ((), time, own),
        "escape_time_stderr": ((), stderr),
        "escape_time_lower": ((), lower),
        "escape_time_upper": ((), upper),
        "probability": ((), probability.mean()),
        "probability_stderr": ((), _stderr(probability)),
        "loop_time": ((), loop_time.mean()),
        "loop_time_stderr": ((), _stderr(loop_time)),
        "replica_probability": ("replica", probability),
        "replica_loop_time": ("replica", loop_time),
        "num_extinct": ((), int(np.sum(probability == 0))),
        "largest_share": ((), share),
        "lane_steps": ((), excursions.useful / excursions.motion.looks_per_step),
        "time_per_step": ((), time_per_step),
    }
    coords: dict[str, tuple] = {"replica": ("replica", np.arange(len(probability)))}
    if estimates.level_probability is None:
        coords["level"] = ("level", estimates.levels, {"long_name": "score"})
    else:
        all_levels = np.append(estimates.levels, np.inf)[: len(estimates.level_probability)]
        coords["level"] = ("level", all_levels, {"long_name": "score; infinite: the region"})
        values["level_probability"] = ("level", estimates.level_probability)
    return build(values, coords, attrs)


def interval(loop_time: np.ndarray, probability: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
    """Return the mean time, its standard error and the ends of its interval, from paired replicas.

    The interval is Student's for the logarithm of the ratio of the means. If all replicas are extinct, it is endless.
    """
    import scipy.stats

    if not probability.any():
        return np.inf, np.inf, 0.0, np.inf
    time = loop_time.mean() / probability.mean()
    relative = _stderr(loop_time / loop_time.mean() - probability / probability.mean())
    factor = np.exp(scipy.stats.t.ppf((1 + confidence) / 2, len(probability) - 1) * relative)
    return float(time), float(time * relative), float(time / factor), float(time * factor)


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _warn(probability: np.ndarray, share: float) -> None:
    if not probability.any():
        warnings.warn("all replicas are extinct: no way to the region was found, and the escape time is only known to "
                      "be long. Use more particles.", stacklevel=4)
    elif share > _LARGEST_SHARE:
        warnings.warn(f"one of {len(probability)} replicas carries {share:.0%} of the estimate: the score hides a "
                      "path, or there are too few particles, and the interval is too narrow. Use more particles, or "
                      "another score, and compare.", stacklevel=4)
