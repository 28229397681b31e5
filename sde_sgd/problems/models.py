"""Ready-made networks for images: flax modules for `from_flax`, none with batch statistics, He's initial weights."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array

from sde_sgd._core import checks


def mlp(
    widths: Sequence[int] = (64, 64, 64),
    num_classes: int = 10,
    *,
    activation: Callable[[Array], Array] | None = None,
    layer_norm: bool = False,
) -> Any:
    """Make a multilayer perceptron; inputs of any shape are flattened.

    Parameters
    ----------
    widths
        Units of the hidden layers. ``(512,) * 5`` with ``layer_norm`` is Keskar's F1, its batch normalisation replaced.
    num_classes
        Units of the last layer.
    activation
        Between the layers; ReLU by default.
    layer_norm
        Whether every hidden layer is normalised before its activation.

    Returns
    -------
    flax.linen.Module
        For `from_flax`.

    References
    ----------
    He, Zhang, Ren, Sun (2015), Delving deep into rectifiers, ICCV: the variance 2/fan-in of the initial weights.

    Examples
    --------
    >>> import jax.numpy as jnp, optax, sde_sgd as ss
    >>> net = ss.problems.from_flax(ss.problems.mlp((16,), 3), jnp.ones((5, 8, 8, 1)), jnp.arange(5) % 3,
    ...                             optax.softmax_cross_entropy_with_integer_labels)
    """
    from flax.linen import relu

    from sde_sgd.problems.linen_models import MLP

    return MLP(_counts("widths", widths, 0), _count("num_classes", num_classes), activation or relu, bool(layer_norm))


def lenet(num_classes: int = 10) -> Any:
    """Make LeNet-5 with ReLU and max pooling, for images of 28 x 28 (61,706 parameters with one channel) and larger.

    Parameters
    ----------
    num_classes
        Units of the last layer.

    Returns
    -------
    flax.linen.Module
        For `from_flax`.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document recognition, Proc. IEEE 86.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.problems.lenet().num_classes
    10
    """
    from sde_sgd.problems.linen_models import LeNet

    return LeNet(_count("num_classes", num_classes))


def small_cnn(
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (16, 32),
    kernel_size: int = 3,
    stride: int = 1,
    pool: int = 2,
    widths: Sequence[int] = (64,),
    num_groups: int = 4,
) -> Any:
    """Make a small convolutional network with group normalisation.

    Parameters
    ----------
    num_classes
        Units of the last layer.
    channels
        Channels of the convolutions; each is normalised, rectified and pooled.
    kernel_size, stride
        Of the convolutions.
    pool
        Width and stride of the max pooling after each; 1 for none.
    widths
        Units of the dense layers in front of the last.
    num_groups
        Groups of the normalisation; it must divide every number of channels.

    Returns
    -------
    flax.linen.Module
        For `from_flax`. ``channels=(64, 64), kernel_size=5, widths=(384, 192)`` is shaped like Keskar's C1.

    Raises
    ------
    TypeError, ValueError
        If a number is no positive int or the groups do not divide the channels.

    References
    ----------
    Wu, He (2018), Group normalization, ECCV.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> ss.problems.small_cnn(channels=(8, 16)).channels
    (8, 16)
    """
    from sde_sgd.problems.linen_models import SmallCNN

    channels = _counts("channels", channels, 1)
    for name, value in {"kernel_size": kernel_size, "stride": stride, "pool": pool, "num_groups": num_groups}.items():
        _count(name, value)
    if any(features % num_groups for features in channels):
        raise ValueError(f"num_groups must divide every number of channels, got {num_groups} and {channels}. Pass a "
                         "common divisor.")
    return SmallCNN(num_classes=_count("num_classes", num_classes), channels=channels, kernel_size=kernel_size,
                    stride=stride, pool=pool, widths=_counts("widths", widths, 0), num_groups=num_groups)


def convolution(features: int, kernel_size: int, *, stride: int = 1, padding: str = "SAME") -> Any:
    """Make a convolution for networks of one's own: the function of ``flax.linen.Conv``, faster on CPUs.

    It is one matrix product with all windows of the image. XLA's own convolution takes three to thirty times as long on
    a CPU, differentiated, and most where every lane has a kernel of its own.

    Parameters
    ----------
    features
        Number of filters.
    kernel_size
        Height and width of the windows.
    stride
        Distance between two windows.
    padding
        "SAME" or "VALID".

    Returns
    -------
    flax.linen.Module
        From images of shape (n, height, width, channels) to (n, rows, columns, features), with params "kernel" and
        "bias" like those of ``flax.linen.Conv``.

    Examples
    --------
    >>> import jax, sde_sgd as ss
    >>> layer = ss.problems.convolution(4, 5, stride=2)
    >>> layer.init_with_output(jax.random.key(0), jax.numpy.ones((3, 8, 8, 1)))[0].shape
    (3, 4, 4, 4)
    """
    from sde_sgd.problems.linen_models import Convolution

    checks.one_of("padding", padding, ("SAME", "VALID"))
    for name, value in {"features": features, "kernel_size": kernel_size, "stride": stride}.items():
        _count(name, value)
    return Convolution(features, kernel_size, stride, padding)


def _count(name: str, value: Any) -> int:
    checks.integer(name, value)
    return int(value)


def _counts(name: str, values: Any, fewest: int) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) < fewest:
        raise TypeError(f"{name} must be a sequence of at least {fewest} ints, got {values!r}.")
    return tuple(_count(name, value) for value in values)
