"""SGD on a 784-64-10 network, batch size 32, 32 lanes: sde_sgd beside PyTorch training one model at a time.

    python benchmarks/network.py --out results [--quick]

Synthetic data labelled by a random linear teacher. The unit is one step of one model; beside each speed stands the
mean over the models of the loss at the end, on the first 256 examples so that looking costs little. Every contender
starts its models from the same initialiser.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import machine
from machine import Contender, Estimate

import sde_sgd as ss

INPUTS, HIDDEN, CLASSES, EXAMPLES, BATCH, LEARNING_RATE, SHOWN = 784, 64, 10, 4096, 32, 0.05, 256


@dataclasses.dataclass(frozen=True)
class Size:
    """How many models, for how many steps."""

    lanes: int
    steps: int
    cores: int

    @property
    def work(self) -> float:
        """Model-steps."""
        return float(self.lanes * self.steps)


def make_problem() -> Any:
    """Return the network as a problem."""
    import flax.linen as nn
    import jax.numpy as jnp
    import numpy as np
    import optax

    class Network(nn.Module):
        @nn.compact
        def __call__(self, batch: Any) -> Any:
            hidden = nn.relu(nn.Dense(HIDDEN, name="hidden")(batch))
            return nn.Dense(CLASSES, name="out")(hidden)

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(EXAMPLES, INPUTS)).astype(np.float32)
    labels = np.argmax(inputs @ rng.normal(size=(INPUTS, CLASSES)) / INPUTS**0.5, axis=1)
    return ss.problems.from_flax(Network(), jnp.asarray(inputs), jnp.asarray(labels, jnp.int32),
                                 optax.softmax_cross_entropy_with_integer_labels)


def shown_loss(problem: Any, params: Any) -> Any:
    """Return the mean loss of the first examples."""
    import jax

    shown = jax.tree.map(lambda leaf: leaf[:SHOWN], problem.data)
    return jax.vmap(problem.example_loss, in_axes=(None, 0))(params, shown).mean()


def sde_sgd(problem: Any, size: Size) -> Callable[[], Any]:
    """All models at once."""
    import jax

    process = ss.SGD(LEARNING_RATE, ss.WithReplacement(BATCH))

    def run() -> dict[str, Estimate]:
        ds = ss.simulate(problem, process, num_seeds=size.lanes, num_steps=size.steps, progress=False,
                         record={"loss": ss.EnsembleMoments(shown_loss)}, key=jax.random.key(1))
        end = ds.isel(step=-1)
        return {"loss": Estimate(float(end["loss_mean"]), float(end["loss_mean_stderr"]))}

    return run


def natural_jax(problem: Any, size: Size) -> Callable[[], Any]:
    """`vmap` over models of a scan with randint, a gather and `grad` of the batch loss."""
    import jax
    import jax.numpy as jnp

    inputs, labels = problem.data

    def batch_loss(params: Any, x: Any, y: Any) -> Any:
        return jnp.mean(jax.vmap(problem.example_loss, in_axes=(None, 0))(params, (x, y)))

    def lane(key: Any) -> Any:
        def step(params: Any, number: Any) -> Any:
            rows = jax.random.randint(jax.random.fold_in(key, number), (BATCH,), 0, EXAMPLES)
            slopes = jax.grad(batch_loss)(params, inputs[rows], labels[rows])
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, slopes), None

        end = jax.lax.scan(step, problem.init(key), jnp.arange(size.steps, dtype=jnp.uint32))[0]
        return shown_loss(problem, end)

    simulate = jax.jit(jax.vmap(lane))
    keys = jax.random.split(jax.random.key(2), size.lanes)
    return lambda: machine.mean_of(jax.block_until_ready(simulate(keys)), "loss")


def pytorch(problem: Any, size: Size, threads: int) -> Callable[[], Any]:
    """One model after the other, as a training loop is written."""
    import jax
    import numpy as np
    import torch

    inputs, labels = (torch.from_numpy(np.array(leaf)) for leaf in problem.data)
    labels = labels.long()

    def start(seed: int) -> Any:
        params = problem.init(jax.random.key(seed))
        model = torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
        with torch.no_grad():
            for layer, name in ((model[0], "hidden"), (model[2], "out")):
                layer.weight.copy_(torch.from_numpy(np.array(params[name]["kernel"])).T)
                layer.bias.copy_(torch.from_numpy(np.array(params[name]["bias"])))
        return model

    models = [start(seed) for seed in range(size.lanes)]
    states = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]

    def run() -> dict[str, Estimate]:
        torch.set_num_threads(threads)
        losses = []
        for model, state in zip(models, states, strict=True):
            model.load_state_dict(state)
            optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
            for _ in range(size.steps):
                rows = torch.randint(0, EXAMPLES, (BATCH,))
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
                optimiser.step()
            with torch.no_grad():
                losses.append(float(torch.nn.functional.cross_entropy(model(inputs[:SHOWN]), labels[:SHOWN])))
        return machine.mean_of(losses, "loss")

    return run


def main() -> None:
    parsed = machine.arguments(__doc__.splitlines()[0], lambda parser: [
        parser.add_argument("--lanes", type=int, default=32),
        parser.add_argument("--steps", type=int, default=1000),
    ])
    ss.configure(cpu_devices=parsed.cores, wide_vectors=True)
    size = Size(parsed.lanes, 20 if parsed.quick else parsed.steps, parsed.cores)
    few = dataclasses.replace(size, lanes=min(size.lanes, 4))
    about = machine.describe(parsed.date)
    machine.print_machine(about)
    problem = make_problem()
    rows = machine.compare(
        [
            Contender("sde_sgd simulate", size.work, lambda: sde_sgd(problem, size)),
            Contender("JAX vmap of grad, randint gather", size.work, lambda: natural_jax(problem, size)),
            Contender("PyTorch, one model, all threads", few.work, lambda: pytorch(problem, few, parsed.cores),
                      "one model at a time, 4 of them"),
            Contender("PyTorch, one model, one thread", few.work, lambda: pytorch(problem, few, 1),
                      "one model at a time, 4 of them"),
        ],
        parsed.repeats,
        parsed.only,
    )
    title = f"SGD on a {INPUTS}-{HIDDEN}-{CLASSES} network, B={BATCH}, {size.lanes} lanes, {size.steps} steps, float32"
    machine.print_table(title, "model-steps", rows)
    machine.write(parsed.out, "network", about,
                  [machine.as_json(title, "model-steps", rows, dataclasses.asdict(size))])


if __name__ == "__main__":
    main()
