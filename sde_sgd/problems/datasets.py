"""Data sets as NumPy arrays: small ones from scikit-learn, images from OpenML or a local archive."""

import os
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sde_sgd._core import checks

_OPENML_NAMES = ("mnist_784", "Fashion-MNIST")
# Labels read as categories fail with pandas >= 3.1 (scikit-learn/scikit-learn#34892); float32 also halves the memory.
_READ_NUMBERS = {"dtype": np.float32, "quotechar": "'"}

Labels = Int[np.ndarray, " n"]
Images = Float[np.ndarray, "n height width channels"]


def digits() -> tuple[Float[np.ndarray, "1797 64"], Labels]:
    """Load the 1,797 handwritten digits of scikit-learn, 8 x 8 pixels each, with labels 0 to 9.

    Returns
    -------
    features, labels
        Float32 grey values divided by 16, so that they lie in [0, 1], row by row; int32 labels. They are not centred
        and not divided by a standard deviation, which is zero for the constant corner pixels.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> features, labels = ss.problems.digits()
    >>> images = features.reshape(-1, 8, 8, 1)
    >>> images.shape, int(labels.max())
    ((1797, 8, 8, 1), 9)
    """
    from sklearn.datasets import load_digits

    features, labels = map(np.asarray, load_digits(return_X_y=True))
    return (features / 16.0).astype(np.float32), labels.astype(np.int32)


def diabetes() -> tuple[Float[np.ndarray, "442 10"], Float[np.ndarray, " 442"]]:
    r"""Load the diabetes regression data of scikit-learn, 442 examples of 10 features, standardised.

    .. math:: z = \frac{x - \bar x}{s}, \quad s^2 = \frac1N \sum_i (x_i - \bar x)^2

    for every column of the features and for the targets. The Hessian of least squares is then the correlation matrix
    of the features, with largest eigenvalue 4.02: gradient descent is stable for learning rates below 0.497, and loss
    0.5 is that of predicting the mean.

    Returns
    -------
    features, targets
        Float32, every column of mean 0 and variance 1.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> features, targets = ss.problems.diabetes()
    >>> problem = ss.problems.least_squares(features, targets)
    >>> round(float(problem.loss(problem.minimum)), 3)
    0.241
    """
    from sklearn.datasets import load_diabetes

    features, targets = map(np.asarray, load_diabetes(return_X_y=True, scaled=False))
    return _standardised(features), _standardised(targets)


def openml(
    name: str,
    *,
    num_examples: int | None = None,
    data_home: str | os.PathLike | None = None,
    cache: bool = True,
) -> tuple[Images, Labels]:
    """Load MNIST or Fashion-MNIST from OpenML; scikit-learn downloads it once and caches it.

    Parameters
    ----------
    name
        "mnist_784" or "Fashion-MNIST", version 1: 70,000 images of 28 x 28, the 60,000 training images first.
    num_examples
        Keep the first so many; all by default.
    data_home
        Cache folder of scikit-learn; ``~/scikit_learn_data`` by default.
    cache
        Whether to keep the download.

    Returns
    -------
    images, labels
        Float32 in [0, 1] of shape (num_examples, 28, 28, 1); int32 labels 0 to 9.

    Raises
    ------
    TypeError, ValueError
        If the name is another one or ``num_examples`` is not in 1..70000.
    RuntimeError
        If the data set is not in the cache and cannot be downloaded or read.

    Examples
    --------
    >>> images, labels = ss.problems.openml("mnist_784", num_examples=1_000)  # doctest: +SKIP
    """
    checks.one_of("name", name, _OPENML_NAMES)
    if num_examples is not None:
        checks.integer("num_examples", num_examples)
    try:
        from sklearn.datasets import fetch_openml

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A network error occurred")  # said once, below
            pixels, labels = fetch_openml(name, version=1, data_home=data_home, cache=cache, as_frame=False,
                                          return_X_y=True, read_csv_kwargs=_READ_NUMBERS)
    except (ImportError, OSError, ValueError) as error:
        folder = os.path.expanduser(data_home or os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data"))
        raise RuntimeError(
            f"{name} could not be loaded from OpenML or the cache folder {folder}. Go online once to fill the cache, "
            f"or read a local file with sde_sgd.problems.load_npz(path). {type(error).__name__}: {error}") from error
    return _images(np.reshape(pixels, (-1, 28, 28)), labels, num_examples)


def load_npz(
    path: str | os.PathLike, split: str = "train", num_examples: int | None = None
) -> tuple[Images, Labels]:
    """Load images from a local NumPy archive with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Parameters
    ----------
    path
        An ``.npz`` file. Images are uint8 of shape (n, height, width) or (n, height, width, channels), labels are
        integers of shape (n,).
    split
        "train" or "test".
    num_examples
        Keep the first so many; all by default.

    Returns
    -------
    images, labels
        Float32 in [0, 1] of shape (num_examples, height, width, channels), with one channel for grey images; int32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is truncated or not an archive, lacks the arrays, or holds others than described; if ``split`` or
        ``num_examples`` is none of the above.

    Examples
    --------
    >>> images, labels = ss.problems.load_npz("mnist.npz", "test", num_examples=500)  # doctest: +SKIP
    """
    checks.one_of("split", split, ("train", "test"))
    pixels, labels = _read_npz(Path(path), f"x_{split}", f"y_{split}")
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise ValueError(f"x_{split} in {path} must be uint8 images with 3 or 4 axes, got {pixels.dtype} of shape "
                         f"{pixels.shape}. Save them as (n, height, width, channels) with values 0..255.")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != pixels.shape[:1]:
        raise ValueError(f"y_{split} in {path} must be integers of shape {pixels.shape[:1]}, one for each image, got "
                         f"{labels.dtype} of shape {labels.shape}.")
    return _images(pixels, labels, num_examples)


def _standardised(columns: np.ndarray) -> np.ndarray:
    return ((columns - columns.mean(axis=0)) / columns.std(axis=0)).astype(np.float32)


def _images(pixels: np.ndarray, labels: np.ndarray, num_examples: int | None) -> tuple[Images, Labels]:
    """Return the first images, scaled from 0..255 to [0, 1] and with a channel axis, and their labels."""
    if num_examples is not None:
        checks.integer("num_examples", num_examples, maximum=len(pixels))
    images = pixels[:num_examples].astype(np.float32) / np.float32(255)
    return images.reshape(*images.shape[:3], -1), labels[:num_examples].astype(np.int32)


def _read_npz(path: Path, *names: str) -> list[np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"path must be an existing .npz file, got {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is truncated or not an .npz archive. Copy it again, or write it with numpy.savez.")
    try:
        with np.load(path) as archive:
            missing = [name for name in names if name not in archive]
            if not missing:
                return [archive[name] for name in names]
            found = ", ".join(archive) or "nothing"
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}. Copy it again, or write it with numpy.savez.") from error
    raise ValueError(f"{path} must hold {' and '.join(names)}, got {found}. Save the arrays under those names.")
