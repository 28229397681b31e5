"""Random transformations of one labelled image, for `Augmented`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sde_sgd._core import checks
from sde_sgd._core.functions import as_pytree

Image = Float[Array, "height width channels"]
Example = tuple[Image, Int[Array, ""]]
Transform = Callable[[Any, Any], Any]


class Shifts(eqx.Module):
    """Random shifts by whole pixels; made by `shifts`."""

    fraction: Any

    def __call__(self, key: Any, example: Example) -> Example:
        """Return a shifted image with its label."""
        image, label = example
        size = jnp.asarray(_size_of(image), jnp.float32)
        most = jnp.floor(jnp.asarray(self.fraction, jnp.float32) * size + 1e-4).astype(jnp.int32)
        rows, columns = (jax.random.randint(one, (), -limit, limit + 1)
                         for one, limit in zip(jax.random.split(key), most, strict=True))
        image = jnp.take(image, jnp.arange(image.shape[0]) - rows, axis=0, mode="clip")
        return jnp.take(image, jnp.arange(image.shape[1]) - columns, axis=1, mode="clip"), label


class Rotations(eqx.Module):
    """Random rotations about the middle; made by `rotations`."""

    degrees: Any

    def __call__(self, key: Any, example: Example) -> Example:
        """Return a rotated image with its label."""
        image, label = example
        angle = jnp.deg2rad(jax.random.uniform(key, (), jnp.float32, -1.0, 1.0) * self.degrees).astype(image.dtype)
        middle = [(size - 1) / 2 for size in _size_of(image)]
        rows, columns = jnp.meshgrid(*(jnp.arange(size, dtype=image.dtype) for size in image.shape[:2]), indexing="ij")
        up, right = rows - middle[0], columns - middle[1]
        places = [jnp.cos(angle) * up - jnp.sin(angle) * right + middle[0],
                  jnp.sin(angle) * up + jnp.cos(angle) * right + middle[1]]
        turned = jax.vmap(lambda channel: jax.scipy.ndimage.map_coordinates(channel, places, 1, mode="nearest"), 2, 2)
        return turned(image), label


class Flips(eqx.Module):
    """Random flips from left to right; made by `flips`."""

    def __call__(self, key: Any, example: Example) -> Example:
        """Return an image, flipped or not, with its label."""
        image, label = example
        _size_of(image)
        return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image), label


class FreshLabels(eqx.Module):
    """Labels redrawn now and then; made by `fresh_labels`."""

    fraction: Any
    num_classes: int = eqx.field(static=True)

    def __call__(self, key: Any, example: tuple[Any, Int[Array, ""]]) -> tuple[Any, Int[Array, ""]]:
        """Return the input with its label or a random one."""
        inputs, label = example
        chosen, drawn = jax.random.split(key)
        new = jax.random.randint(drawn, label.shape, 0, self.num_classes, label.dtype)
        return inputs, jnp.where(jax.random.bernoulli(chosen, self.fraction), new, label)


class Composed(eqx.Module):
    """Several transformations in turn; made by `composed`."""

    transforms: tuple[Transform, ...]

    def __call__(self, key: Any, example: Any) -> Any:
        """Return the example after all transformations, each with a key of its own."""
        for number, transform in enumerate(self.transforms):
            example = transform(jax.random.fold_in(key, number), example)
        return example


def shifts(fraction: float) -> Shifts:
    """Shift images by whole pixels, up to a fraction of height and width either way; the border is repeated.

    Parameters
    ----------
    fraction
        In (0, 1); Keskar et al. take 0.2.

    Returns
    -------
    Shifts
        For `Augmented`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, sde_sgd as ss
    >>> image, label = ss.noise.shifts(0.25)(jax.random.key(0), (jnp.ones((8, 8, 1)), jnp.int32(3)))
    >>> image.shape
    (8, 8, 1)
    """
    checks.in_open_unit("fraction", fraction)
    return Shifts(np.float64(fraction))


def rotations(degrees: float) -> Rotations:
    """Rotate images about their middle by up to so many degrees either way, bilinearly; the border is repeated.

    Parameters
    ----------
    degrees
        Positive; Keskar et al. take 10.

    Returns
    -------
    Rotations
        For `Augmented`.
    """
    checks.positive("degrees", degrees)
    return Rotations(np.float64(degrees))


def flips() -> Flips:
    """Flip every other image, at random, from left to right.

    Returns
    -------
    Flips
        For `Augmented`.
    """
    return Flips()


def fresh_labels(fraction: float, num_classes: int) -> FreshLabels:
    """Redraw labels uniformly over the classes with some probability, anew whenever an example is drawn.

    Labels that are noisy once and for all: `sde_sgd.problems.with_label_noise`.

    Parameters
    ----------
    fraction
        Probability in (0, 1).
    num_classes
        Number of classes.

    Returns
    -------
    FreshLabels
        For `Augmented`.
    """
    checks.in_open_unit("fraction", fraction)
    checks.integer("num_classes", num_classes, minimum=2)
    return FreshLabels(np.float64(fraction), int(num_classes))


def composed(*transforms: Transform) -> Composed:
    """Apply several transformations in turn.

    Parameters
    ----------
    *transforms
        As made by the functions above, or equinox modules of one's own.

    Returns
    -------
    Composed
        For `Augmented`.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> keskar = ss.noise.composed(ss.noise.flips(), ss.noise.rotations(10.0), ss.noise.shifts(0.2))
    """
    return Composed(tuple(map(as_pytree, transforms)))


def _size_of(image: Any) -> tuple[int, int]:
    if image.ndim != 3:
        raise ValueError(f"an image must have the shape (height, width, channels), got {image.shape}. Keep the images "
                         "whole: the ready-made networks flatten them where needed.")
    return image.shape[:2]
