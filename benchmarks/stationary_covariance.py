"""Stationary covariances of large problems: seconds, and by how much the result misses its equation.

    python benchmarks/stationary_covariance.py --out results [--quick]

The closed forms in the eigenbasis of the Hessian, H and C not commuting, beside scipy's general Lyapunov solvers on a
quarter of the dimension; a minimum projected onto what its noise reaches, in more dimensions than a matrix has room
for; and finite data, where the noise depends on the fluctuation. Residuals are relative to the noise of the equation,
in the Frobenius norm.
"""

import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
from machine import Contender, Estimate

import sde_sgd as ss

FRACTION, MOMENTUM, BATCH = 0.5, 0.9, 8


def make_minimum(dim: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a Hessian of condition 100 and a noise covariance that does not commute with it, and a learning rate."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    root = rng.normal(size=(dim, dim)) / np.sqrt(dim)
    return basis * np.geomspace(0.01, 1.0, dim) @ basis.T, root @ root.T, FRACTION * 2.0


def residual(hessian: np.ndarray, noise: np.ndarray, covariance: np.ndarray, rate: float, momentum: float = 0.0,
             discrete: bool = True) -> dict[str, Estimate]:
    """Return the residual of the stationary equation, written with matrix products alone."""
    b, product = momentum, hessian @ covariance
    left = (1 - b) * (product + product.T)
    if discrete:
        left -= rate * (1 + b**2) / (1 - b**2) * product @ hessian
    if b:
        twice = hessian @ product
        left += rate * b / (1 - b**2) * (twice + twice.T)
    return {"residual": Estimate(float(np.linalg.norm(left - rate * noise) / np.linalg.norm(rate * noise)), 0.0)}


def dense(dim: int) -> list[Contender]:
    """Return the closed forms on the whole dimension and the general solvers on a quarter of it."""

    def way(name: str, size: int, solve: Callable[..., Any], **options: Any) -> Contender:
        def prepare() -> Callable[[], Any]:
            hessian, noise, rate = make_minimum(size)

            def run() -> machine.Timed:
                wall, cpu = time.perf_counter(), time.process_time()
                covariance = solve(hessian, noise, rate)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                # The residual takes matrix products of its own: not part of the time.
                return machine.Timed(wall, cpu, residual(hessian, noise, covariance, rate, **options))

            return run

        return Contender(name, float(size**2), prepare)

    def discrete(hessian: np.ndarray, noise: np.ndarray, rate: float) -> np.ndarray:
        import scipy.linalg

        return scipy.linalg.solve_discrete_lyapunov(np.eye(len(hessian)) - rate * hessian, rate**2 * noise, "bilinear")

    def continuous(hessian: np.ndarray, noise: np.ndarray, rate: float) -> np.ndarray:
        import scipy.linalg

        return scipy.linalg.solve_continuous_lyapunov(hessian, rate * noise)

    theory, quarter = ss.theory, dim // 4
    return [
        way(f"SGD, d = {dim}", dim, theory.sgd_stationary_covariance),
        way(f"heavy ball, d = {dim}", dim, lambda *args: theory.sgd_stationary_covariance(*args, MOMENTUM),
            momentum=MOMENTUM),
        way(f"first-order SDE, d = {dim}", dim, theory.ou_stationary_covariance, discrete=False),
        way(f"scipy, discrete, d = {quarter}", quarter, discrete),
        way(f"scipy, continuous, d = {quarter}", quarter, continuous, discrete=False),
    ]


def projected(dim: int, rank: int) -> list[Contender]:
    """Return the projection at growing depth, on a diagonal Hessian of which only products are used."""

    def way(depth: int) -> Contender:
        def prepare() -> Callable[[], Any]:
            factor = np.random.default_rng(1).normal(size=(dim, rank))
            curvatures = np.geomspace(0.01, 1.0, dim)[:, None]

            def run() -> dict[str, Estimate]:
                reduced = ss.theory.krylov_minimum(lambda block: curvatures * block, factor, depth)
                rate = FRACTION * 2.0
                small = ss.theory.sgd_stationary_covariance(reduced.hessian, reduced.noise_covariance, rate)
                return {"residual": Estimate(reduced.residual(small, rate), 0.0)}

            return run

        return Contender(f"{depth} blocks of {rank}", float(dim), prepare)

    return [way(depth) for depth in (10, 20, 30)]


def finite(num_examples: int, dim: int) -> list[Contender]:
    """Return threshold and limit covariance of SGD on a data set."""
    rng = np.random.default_rng(2)
    problem = ss.theory.least_squares(rng.normal(size=(num_examples, dim)), rng.normal(size=num_examples))
    rate = 0.4 * ss.theory.max_mean_square_learning_rate(problem, BATCH)

    def threshold() -> dict[str, Estimate]:
        return {"threshold": Estimate(ss.theory.max_mean_square_learning_rate(problem, BATCH), 0.0)}

    def limit() -> dict[str, Estimate]:
        covariance = ss.theory.sgd_limit_covariance(problem, rate, BATCH)
        minimum = np.linalg.solve(problem.hessian, problem.offset)
        step = ss.theory.sgd_moments(problem, rate, BATCH, 1, start=minimum, start_covariance=covariance).covariance
        change = np.linalg.norm(step - covariance) / np.linalg.norm(rate**2 / BATCH * problem.noise_covariance(minimum))
        return {"residual": Estimate(float(change), 0.0)}

    return [Contender("mean-square threshold", float(dim**2), lambda: threshold),
            Contender("limit covariance", float(dim**2), lambda: limit)]


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0])
    dim, large, data = (200, 2_000, (90, 30)) if parsed.quick else (2_000, 20_000, (600, 200))
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    cases = [
        (f"Dense, H and C not commuting, d = {dim}", "entries", dense(dim), {"dim": dim}),
        (f"Projected onto what the noise reaches, d = {large}", "parameters", projected(large, 16), {"dim": large}),
        (f"Finite data, N = {data[0]}, d = {data[1]}, B = {BATCH}", "entries", finite(*data),
         {"num_examples": data[0], "dim": data[1], "batch_size": BATCH}),
    ]
    tables = []
    for title, unit, contenders, settings in cases:
        rows = machine.compare(contenders, parsed.repeats, parsed.only)
        machine.print_table(title, unit, rows)
        print("seconds a run:", ", ".join(f"{row.name} {min(row.wall):.3g}" for row in rows if row.wall))
        tables.append(machine.as_json(title, unit, rows, settings))
    machine.write(parsed.out, "stationary_covariance", about, tables)


if __name__ == "__main__":
    main()
