"""The loss of one example of a network: a loss of a prediction."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, PyTree


@dataclasses.dataclass(frozen=True)
class NetworkLoss:
    """The loss of one example as a function of a prediction, for what must know the two apart."""

    apply: Callable[[PyTree, Array], PyTree]
    loss: Callable[[PyTree, Array], Array]

    def __call__(self, params: PyTree, example: tuple[Array, Array]) -> Array:
        """Return the loss of one example."""
        inputs, label = example
        return self.loss(self.predict(params, inputs), label)

    def predict(self, params: PyTree, inputs: Array) -> PyTree:
        """Return the prediction for one example, through a batch of one."""
        return jax.tree.map(lambda leaf: leaf[0], self.apply(params, inputs[None]))
