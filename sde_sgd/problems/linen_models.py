"""The flax modules of `models`. Imported there when first used, since flax takes long to import."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

HE = nn.initializers.he_normal()


def dense(features: int) -> nn.Dense:
    """Return a dense layer with He's initial weights and zero biases."""
    return nn.Dense(features, kernel_init=HE)


class Convolution(nn.Module):
    r"""A convolution as one matrix product with the windows of the image; see `models.convolution`."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, images: Any) -> Any:
        """Return the filtered images."""
        if images.ndim != 4:
            raise ValueError(f"images must have the shape (n, height, width, channels), got {images.shape}. Reshape "
                             "the inputs, grey images to one channel.")
        size, channels = self.kernel_size, images.shape[-1]
        shape = (size, size, channels, self.features)
        kernel = self.param("kernel", HE, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        (rows, above, below), (columns, left, right) = (self._extent(length) for length in images.shape[1:3])
        padded = jnp.pad(images, ((0, 0), (above, below), (left, right), (0, 0)))
        down, along = (self.stride * (number - 1) + 1 for number in (rows, columns))
        windows = jnp.concatenate(
            [padded[:, i : i + down : self.stride, j : j + along : self.stride]
             for i in range(size) for j in range(size)], axis=-1)
        filtered = windows.reshape(-1, size * size * channels) @ kernel.reshape(-1, self.features)
        return filtered.reshape(-1, rows, columns, self.features) + bias

    def _extent(self, length: int) -> tuple[int, int, int]:
        """Return the size of the output along an axis, and the padding before and after."""
        if self.padding == "VALID":
            return (length - self.kernel_size) // self.stride + 1, 0, 0
        number = -(-length // self.stride)
        padding = max(self.stride * (number - 1) + self.kernel_size - length, 0)
        return number, padding // 2, padding - padding // 2


def pooled(images: Array, window: int) -> Array:
    """Return the largest value in windows side by side; what is left over at the far border is dropped."""
    rows, columns = (length // window * window for length in images.shape[1:3])
    places = [images[:, i:rows:window, j:columns:window] for i in range(window) for j in range(window)]
    return functools.reduce(jnp.maximum, places)


def flattened(inputs: Array) -> Array:
    """Return a batch with one axis of features."""
    return inputs.reshape(inputs.shape[0], -1)


class MLP(nn.Module):
    """Dense layers with an activation in between; see `models.mlp`."""

    widths: tuple[int, ...]
    num_classes: int
    activation: Callable[[Array], Array]
    layer_norm: bool

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        """Return the logits of a batch."""
        hidden = flattened(inputs)
        for width in self.widths:
            hidden = dense(width)(hidden)
            if self.layer_norm:
                hidden = nn.LayerNorm()(hidden)
            hidden = self.activation(hidden)
        return dense(self.num_classes)(hidden)


class LeNet(nn.Module):
    """Two convolutions of 5 x 5 and three dense layers; see `models.lenet`."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        """Return the logits of a batch."""
        hidden = inputs
        for features, padding in ((6, "SAME"), (16, "VALID")):
            hidden = pooled(nn.relu(Convolution(features, 5, padding=padding)(hidden)), 2)
        hidden = flattened(hidden)
        for width in (120, 84):
            hidden = nn.relu(dense(width)(hidden))
        return dense(self.num_classes)(hidden)


class SmallCNN(nn.Module):
    """Convolutions with group normalisation and pooling, then dense layers; see `models.small_cnn`."""

    num_classes: int
    channels: tuple[int, ...]
    kernel_size: int
    stride: int
    pool: int
    widths: tuple[int, ...]
    num_groups: int

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        """Return the logits of a batch."""
        hidden = inputs
        for features in self.channels:
            hidden = Convolution(features, self.kernel_size, self.stride)(hidden)
            hidden = nn.relu(nn.GroupNorm(num_groups=self.num_groups)(hidden))
            hidden = pooled(hidden, self.pool)
        hidden = flattened(hidden)
        for width in self.widths:
            hidden = nn.relu(dense(width)(hidden))
        return dense(self.num_classes)(hidden)
