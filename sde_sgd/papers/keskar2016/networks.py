"""The networks and the data: F1 and C1 of the paper at an eighth of its widths, digits or images of one's own."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from sde_sgd.problems import (
    Problem,
    convolution,
    digits,
    from_flax,
    load_npz,
    mlp,
    standardised,
    with_data,
    with_label_noise,
)

NUM_TRAIN, NUM_TEST = 500, 797
LABEL_NOISE = 0.2  # share of training labels drawn anew
_COARSE = 16  # images narrower than this keep their resolution in C1
_WINDOW = 3  # of the pooling


class C1(nn.Module):
    """Two convolutions of 5 x 5 with pooling, two dense layers, softmax of ten classes, after AlexNet.

    The paper has 64 filters, a stride of 2, dense layers of 384 and 192 with batch normalisation and dropout of 0.5.
    Here layer normalisation stands for the first; dropout, which draws random numbers inside the loss, is left out.
    On digits of 8 x 8 pixels the stride is 1, as it is in the authors' code.
    """

    filters: int = 8
    dense: tuple[int, ...] = (48, 24)

    @nn.compact
    def __call__(self, inputs: Float[np.ndarray, "n h w c"]) -> Any:
        """Return the logits."""
        hidden: Any = inputs
        stride = 1 if inputs.shape[1] < _COARSE else 2
        for _ in range(2):
            hidden = pooled(nn.relu(convolution(self.filters, 5, stride=stride)(hidden)))
        hidden = hidden.reshape(hidden.shape[0], -1)
        for width in self.dense:
            hidden = nn.relu(nn.LayerNorm()(nn.Dense(width, kernel_init=nn.initializers.he_normal())(hidden)))
        return nn.Dense(10, kernel_init=nn.initializers.he_normal())(hidden)


# F1: 512 neurons in the paper, with batch normalisation. A normalisation by batches has no loss per example; the layer
# normalisation that stands for it sees one example at a time and leaves the network as indifferent to the scale of its
# weights.
NETWORKS: dict[str, Any] = {"F1": mlp((64,) * 5, layer_norm=True), "C1": C1()}


def pooled(images: Float[Array, "n h w c"]) -> Float[Array, "n rows columns c"]:
    """Return the largest value in windows of 3 x 3, every second one in both directions, padding "SAME"."""
    for axis in (1, 2):
        number = -(-images.shape[axis] // 2)
        padding = max(2 * (number - 1) + _WINDOW - images.shape[axis], 0)
        before, after = padding // 2, padding - padding // 2
        pads = [(before, after) if place == axis else (0, 0) for place in range(4)]
        padded = jnp.moveaxis(jnp.pad(images, pads, constant_values=-jnp.inf), axis, 0)
        windows = [padded[i : i + 2 * number - 1 : 2] for i in range(_WINDOW)]
        images = jnp.moveaxis(functools.reduce(jnp.maximum, windows), 0, axis)
    return images


class Setting(NamedTuple):
    """A network on its training set and on its test set, whose labels are clean."""

    train: Problem
    test: Problem


class Images(NamedTuple):
    """Images and labels of training and test."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def digit_images(label_noise: float = LABEL_NOISE) -> Images:
    """Return 500 digits to train on, ``label_noise`` of their labels drawn anew, and 797 to test on."""
    features, labels = digits()
    order = np.asarray(jax.random.permutation(jax.random.key(0), len(labels)))
    pixels, labels = features.reshape(-1, 8, 8, 1)[order], labels[order]
    return _prepared(pixels[:NUM_TRAIN], labels[:NUM_TRAIN], pixels[-NUM_TEST:], labels[-NUM_TEST:], label_noise)


def file_images(path: str, num_train: int, num_test: int) -> Images:
    """Return the first images of a local archive, the labels of the training set as noisy as those of the digits."""
    return _prepared(*load_npz(path, "train", num_train), *load_npz(path, "test", num_test), LABEL_NOISE)


def setting(network: Any, images: Images) -> Setting:
    """Return the training and the test problem of a network."""
    train = from_flax(network, *images.train, optax.softmax_cross_entropy_with_integer_labels)
    return Setting(train, with_data(train, *images.test))


def _prepared(
    pixels: np.ndarray, labels: np.ndarray, test_pixels: np.ndarray, test_labels: np.ndarray, label_noise: float
) -> Images:
    pixels, test_pixels = standardised(pixels, test_pixels)
    noisy = with_label_noise(labels, label_noise, num_classes=10, key=jax.random.key(5))
    return Images((pixels, noisy), (test_pixels, test_labels))
