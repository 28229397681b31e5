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

import jax
import jax.numpy as jnp
import numpy as np

import sde_sgd as ss
from sde_sgd.processes.base import Draws

LANES, STEPS = 2048, 512  # of one chunk
ORDERS = range(1, 9)
SIGMAS = (4.0, 5.0, 6.0)


def lane_words(key):
    """Any 64 bits serve as a lane's key."""
    lanes = jnp.arange(LANES, dtype=jnp.uint32)
    return tuple(jax.random.key_data(jax.vmap(lambda lane: jax.random.fold_in(key, lane))(lanes)).T)


@jax.jit
def chunk_sums(words, first_step):
    """Return the sums over one chunk of steps x lanes that the table is made of, in float64."""
    steps = first_step + jnp.arange(STEPS, dtype=jnp.uint32)
    x = jax.vmap(lambda step: jax.vmap(lambda *key: Draws(key, step).normals(1)[0])(*words))(steps).astype(jnp.float64)
    sums, power = {}, jnp.ones_like(x)
    for order in ORDERS:
        power = power * x
        sums[f"moment {order}"] = jnp.sum(power)
    for c in SIGMAS:
        sums[f"P(x < -{c:g})"], sums[f"P(x > {c:g})"] = jnp.sum(x < -c), jnp.sum(x > c)
    for name, y in (("x", x), ("x^2", (x * x - 1) / math.sqrt(2))):
        for lag in (1, 2):
            sums[f"corr {name}, steps {lag} apart"] = jnp.sum(y[lag:] * y[:-lag])
            sums[f"corr {name}, lanes {lag} apart"] = jnp.sum(y[:, lag:] * y[:, :-lag])
    return sums


def normal_moment(order):
    return math.prod(range(1, order, 2)) if order % 2 == 0 else 0


def expectation(name):
    """Return mean and variance of one term of a sum under the normal law."""
    if name.startswith("moment"):
        order = int(name.split()[1])
        return normal_moment(order), normal_moment(2 * order) - normal_moment(order) ** 2
    if name.startswith("P"):
        p = 0.5 * math.erfc(float(name.strip(")").split()[-1].lstrip("-")) / math.sqrt(2))
        return p, p * (1 - p)
    return 0.0, 1.0


def num_terms(name, num_chunks):
    """Return how many terms a sum has: pairs end at the edges of a chunk."""
    if not name.startswith("corr"):
        return num_chunks * STEPS * LANES
    lag = int(name.split()[-2])
    return num_chunks * ((STEPS - lag) * LANES if "steps" in name else STEPS * (LANES - lag))


def quality(key, num_draws):
    """Return one row (quantity, measured, exact, z) per quantity, and how many numbers were drawn."""
    num_chunks, words = max(1, round(num_draws / (STEPS * LANES))), lane_words(key)
    totals = {}
    for chunk in range(num_chunks):
        for name, value in jax.device_get(chunk_sums(words, jnp.uint32(chunk * STEPS))).items():
            totals[name] = totals.get(name, 0.0) + float(value)
    rows = []
    for name, total in totals.items():
        terms, (mean, variance) = num_terms(name, num_chunks), expectation(name)
        rows.append((name, total / terms, mean, (total / terms - mean) / math.sqrt(variance / terms)))
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
    models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    return {
        "cpu": models[0].split(":")[1].strip() if models else platform.processor(),
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
    jax.config.update("jax_enable_x64", True)  # for the sums; the draws are float32

    began = time.perf_counter()
    rows, num_draws = quality(jax.random.key(options.seed), options.draws)
    print(f"{num_draws:.3g} float32 normals in {time.perf_counter() - began:.0f} s, sums included\n")
    print(f"{'quantity':<28}{'measured':>15}{'exact':>15}{'z':>8}")
    for name, measured, exact, z in rows:
        print(f"{name:<28}{measured:>15.7g}{exact:>15.7g}{z:>8.2f}")

    words, speed = lane_words(jax.random.key(options.seed)), {}
    print(f"\n{'double well, Euler':<28}{'compile (s)':>15}{'lane-steps per CPU second':>30}")
    for name, normal, num_steps in (("sde_sgd", our_normal, 100_000), ("jax.random", jax_normal, 20_000)):
        compile_seconds, rate = lane_steps_per_second(normal, words, num_steps)
        speed[name] = {"compile_seconds": compile_seconds, "lane_steps_per_cpu_second": rate}
        print(f"{name:<28}{compile_seconds:>15.2f}{rate:>30.3g}")

    table = [dict(zip(("quantity", "measured", "exact", "z"), row, strict=True)) for row in rows]
    report = {"machine": machine(), "seed": options.seed, "draws": num_draws, "quality": table, "speed": speed}
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
