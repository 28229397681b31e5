"""The flax modules of `models`. Imported there when first used, since flax takes long to import."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jaxtyping import Array

HE = nn.initializers.he_normal()


def dense(features: int) -> nn.Dense:
    """Return a dense layer with He's initial weights and zero biases."""
    return nn.Dense(features, kernel_init=HE)


def convolution(features: int, size: int, stride: int = 1, padding: str = "SAME") -> nn.Conv:
    """Return a convolution with He's initial weights and zero biases."""
    return nn.Conv(features, (size, size), strides=(stride, stride), padding=padding, kernel_init=HE)


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
            hidden = nn.relu(convolution(features, 5, padding=padding)(hidden))
            hidden = nn.max_pool(hidden, (2, 2), (2, 2))
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
            hidden = convolution(features, self.kernel_size, self.stride)(hidden)
            hidden = nn.relu(nn.GroupNorm(num_groups=self.num_groups)(hidden))
            if self.pool > 1:
                hidden = nn.max_pool(hidden, (self.pool, self.pool), (self.pool, self.pool))
        hidden = flattened(hidden)
        for width in self.widths:
            hidden = nn.relu(dense(width)(hidden))
        return dense(self.num_classes)(hidden)
