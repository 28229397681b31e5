"""A small convolution and a maximum over windows, as matrix products and slices."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_WIDTH = 5  # of the kernel
_WINDOW = 3  # of the pooling


class Convolution(nn.Module):
    r"""A 5 x 5 convolution with padding "SAME", the function of ``flax.linen.Conv``, each row of it a matrix product.

    .. math:: y_{r} = \sum_{i} x_{s r + i} K_i, \qquad
              (K_i)_{(q, c), (p, f)} = k_{i,\, q - s p,\, c,\, f}

    for rows x of the image and a stride s. In tiles of lanes every lane has a kernel of its own, and XLA's convolution
    for that is some ten times slower on CPU.

    Parameters
    ----------
    features
        Filters.
    stride
        s.
    """

    features: int
    stride: int

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n rows columns f"]:
        """Return the filtered images."""
        num, height, width, channels = images.shape
        kernel = self.param("kernel", nn.initializers.he_normal(), (_WIDTH, _WIDTH, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        rows, above, below = _extent(height, self.stride)
        columns, left, _ = _extent(width, self.stride)
        offsets = np.arange(width)[:, None] - self.stride * np.arange(columns) + left
        chosen = (offsets[..., None] == np.arange(_WIDTH)).astype(images.dtype)
        matrix = jnp.einsum("qpj,ijcf->iqcpf", chosen, kernel).reshape(_WIDTH * width * channels, -1)
        padded = jnp.pad(images, ((0, 0), (above, below), (0, 0), (0, 0)))
        last = self.stride * (rows - 1) + 1
        bands = [padded[:, i : i + last : self.stride].reshape(num, rows, -1) for i in range(_WIDTH)]
        return (jnp.concatenate(bands, axis=-1) @ matrix).reshape(num, rows, columns, self.features) + bias


def pooled(images: Float[Array, "n h w c"]) -> Float[Array, "n rows columns c"]:
    """Return the largest value in windows of 3 x 3, every second one in both directions, padding "SAME"."""
    for axis in (1, 2):
        number, before, after = _extent(images.shape[axis], 2, _WINDOW)
        pads = [(before, after) if place == axis else (0, 0) for place in range(4)]
        padded = jnp.moveaxis(jnp.pad(images, pads, constant_values=-jnp.inf), axis, 0)
        windows = [padded[i : i + 2 * number - 1 : 2] for i in range(_WINDOW)]
        images = jnp.moveaxis(functools.reduce(jnp.maximum, windows), 0, axis)
    return images


def _extent(size: int, stride: int, window: int = _WIDTH) -> tuple[Any, int, int]:
    """Return the size of the output along an axis, and the padding before and after with "SAME"."""
    number = -(-size // stride)
    padding = max(stride * (number - 1) + window - size, 0)
    return number, padding // 2, padding - padding // 2
