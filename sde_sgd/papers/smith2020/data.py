"""The data of all experiments: handwritten digits with clean or with partly redrawn training labels, and a test set."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from sde_sgd.problems import Problem, accuracy, digits, from_flax, mlp, on, standardised, with_data, with_label_noise

_NUM_TEST = 797
NUM_CLASSES = 10
NOISE = 0.2  # share of the training labels drawn anew


class Task(NamedTuple):
    """A network on its training set, and what is recorded: the training loss, and loss and accuracy on the test set."""

    problem: Problem
    record: dict


@functools.cache
def task(num_examples: int, label_noise: float = 0.0, widths: tuple[int, ...] = (64, 64, 64)) -> Task:
    """Return digits in a fixed order, the first for training, the last 797 for the test; a multilayer perceptron.

    The data are the same for every seed of a run and for every run; seeds differ in the initial weights and in the
    order of the batches. Test labels are clean.
    """
    import optax

    features, labels = digits()
    order = np.asarray(jax.random.permutation(jax.random.key(0), len(labels)))
    train, test = order[:num_examples], order[-_NUM_TEST:]
    inputs, test_inputs = standardised(features[train], features[test])
    noisy = with_label_noise(labels[train], label_noise, num_classes=NUM_CLASSES, key=jax.random.key(5))
    network = from_flax(mlp(widths, NUM_CLASSES), inputs, noisy, optax.softmax_cross_entropy_with_integer_labels)
    held_out = with_data(network, test_inputs, labels[test])
    return Task(network, {"loss": Problem.loss, "accuracy": on(held_out, accuracy),
                          "test_loss": on(held_out, Problem.loss)})
