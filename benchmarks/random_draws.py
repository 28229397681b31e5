"""How normal are 1e9 normals, and how fast? Prints tables and writes JSON with a description of the machine.

    python benchmarks/random_draws.py --draws 1e9 --out random_draws.json

Quality: moments to order 8, tails at 4, 5 and 6 sigma on both sides, correlations between steps and between lanes, each
as a z-score against the normal law. Speed: Euler steps of a double well, one normal per step and lane, beside the
same loop on ``jax.random`` (a key per lane, folded in the step). Per CPU second, so that cores do not enter.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import sde_sgd as ss
from sde_sgd.processes.base import Draws

LANES, STEPS = 2048, 128  # of one chunk


class Quantity(NamedTuple):
    """An average over terms, with the mean and the variance that a term has under the normal law."""

    name: str
    terms: Callable  # of a table (step, lane) of normals
    mean: float
    variance: float


def moment(order):
    def exact(order):
        return math.prod(range(1, order, 2)) if order % 2 == 0 else 0

    return Quantity(f"E x^{order}", lambda x: x**order, exact(order), exact(2 * order) - exact(order) ** 2)


def tail(sigmas, sign):
    p = math.erfc(sigmas / math.sqrt(2)) / 2
    name = f"P(x {'<>'[sign > 0]} {sign * sigmas:g})"
    return Quantity(name, lambda x: (sign * x > sigmas).astype(x.dtype), p, p * (1 - p))


def correlation(name, transform, steps, lanes):
    def products(x):
        y = transform(x)
        return y[steps:, lanes:] * y[: STEPS - steps, : LANES - lanes]

    return Quantity(f"corr of {name}, {steps} steps and {lanes} lanes apart", products, 0.0, 1.0)


QUANTITIES = (
    *(moment(order) for order in range(1, 9)),
    *(tail(sigmas, sign) for sigmas in (4.0, 5.0, 6.0) for sign in (-1, 1)),
    *(correlation("x", lambda x: x, *apart) for apart in ((1, 0), (2, 0), (0, 1), (0, 2))),
    *(correlation("(x^2 - 1) / sqrt 2", lambda x: (x**2 - 1) / math.sqrt(2), *apart) for apart in ((1, 0), (0, 1))),
)


def lane_words(key):
    """Any 64 bits serve as a lane's key."""
    lanes = jnp.arange(LANES, dtype=jnp.uint32)
    return tuple(jax.random.key_data(jax.vmap(lambda lane: jax.random.fold_in(key, lane))(lanes)).T)


@jax.jit
def chunk_means(words, first_step):
    """Return the average of each quantity over one chunk of steps x lanes, in float64."""
    steps = first_step + jnp.arange(STEPS, dtype=jnp.uint32)
    x = jax.vmap(lambda step: jax.vmap(lambda *key: our_normal(key, step))(*words))(steps)
    x = jax.lax.optimization_barrier(x)  # drawn once, not once per quantity
    return jnp.stack([jnp.mean(quantity.terms(x.astype(jnp.float64))) for quantity in QUANTITIES])


def quality(key, num_draws):
    """Return one row (quantity, measured, exact, z) per quantity, and how many numbers were drawn."""
    num_chunks, words = max(1, round(num_draws / (STEPS * LANES))), lane_words(key)
    means = sum(np.asarray(chunk_means(words, jnp.uint32(chunk * STEPS))) for chunk in range(num_chunks)) / num_chunks
    rows = []
    for quantity, mean in zip(QUANTITIES, means.tolist(), strict=True):
        num_terms = num_chunks * jax.eval_shape(quantity.terms, jax.ShapeDtypeStruct((STEPS, LANES), jnp.float64)).size
        z = (mean - quantity.mean) / math.sqrt(quantity.variance / num_terms)
        rows.append({"quantity": quantity.name, "measured": mean, "exact": quantity.mean, "z": z})
    return rows, num_chunks * STEPS * LANES


def our_normal(key, step):
    return Draws(key, step).normals(1)[0]


def jax_normal(key, step):
    return jax.random.normal(jax.random.fold_in(jax.random.wrap_key_data(jnp.stack(key)), step), dtype=jnp.float32)


def lane_steps_per_second(normal, words, num_steps):
    """Return compile seconds and lane-steps per CPU second of an Euler loop in a double well, best of three."""
    size, kick = np.float32(0.01), np.float32(math.sqrt(2 * 0.01 * 0.25))

    def body(step, x):
        noise = jax.vmap(lambda *key: normal(key, step.astype(jnp.uint32)))(*words)
        return x - size * (x * x * x - x) + kick * noise

    start = jnp.ones(LANES, jnp.float32)
    before = time.perf_counter()
    loop = jax.jit(lambda x, n: jax.lax.fori_loop(jnp.int32(0), n, body, x)).lower(start, jnp.int32(1)).compile()
    compile_seconds, cpu_seconds = time.perf_counter() - before, math.inf
    for _ in range(3):
        before = time.process_time()
        loop(start, jnp.int32(num_steps)).block_until_ready()
        cpu_seconds = min(cpu_seconds, time.process_time() - before)
    return compile_seconds, LANES * num_steps / cpu_seconds


def machine():
    """Return what the numbers were measured on."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=float, default=1e9, help="how many normals to draw (1e9)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("random_draws.json"))
    options = parser.parse_args()
    ss.configure(wide_vectors=True)
    jax.config.update("jax_enable_x64", True)  # for the averages; the draws are float32
    key = jax.random.key(options.seed)

    began = time.perf_counter()
    rows, num_draws = quality(key, options.draws)
    print(f"{num_draws:.4g} float32 normals in {time.perf_counter() - began:.0f} s, averages included\n")
    print(f"{'quantity':<56}{'measured':>14}{'exact':>14}{'z':>8}")
    for row in rows:
        print(f"{row['quantity']:<56}{row['measured']:>14.7g}{row['exact']:>14.7g}{row['z']:>8.2f}")

    speed = []
    print(f"\n{'Euler steps of a double well':<56}{'compile (s)':>14}{'lane-steps per CPU s':>22}")
    for name, normal, num_steps in (("sde_sgd", our_normal, 100_000), ("jax.random", jax_normal, 20_000)):
        compile_seconds, rate = lane_steps_per_second(normal, lane_words(key), num_steps)
        speed.append({"normals": name, "compile_seconds": compile_seconds, "lane_steps_per_cpu_second": rate})
        print(f"{name:<56}{compile_seconds:>14.2f}{rate:>22.3g}")

    report = {"machine": machine(), "seed": options.seed, "draws": num_draws, "quality": rows, "speed": speed}
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
